"""Get predictions from a running service: ``python examples/client.py song.mp3 more.flac --timeline``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import httpx

MAX_TRIES = 5


def predict(client: httpx.Client, file: Path, timeline: bool = False) -> dict:
    """The prediction of one file; a request to a busy service is repeated when the response says so.

    Raises:
        httpx.HTTPStatusError: an error; ``error.response.json()["error"]`` has a code and a message.
        httpx.TransportError: the service does not answer.
        OSError: the file cannot be read.
    """
    for _ in range(MAX_TRIES):
        with file.open("rb") as audio:
            response = client.post(
                "/predict", files={"audio": (file.name, audio)}, data={"timeline": str(timeline).lower()}
            )
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(int(response.headers.get("Retry-After", 1)))
    response.raise_for_status()
    return response.json()


def send_feedback(client: httpx.Client, request_id: str, genre: str) -> dict:
    """Tell the service the right genre of a recording that it predicted; ``right``: the predicted one.

    Raises:
        httpx.HTTPStatusError: an error, such as an unknown request or genre.
        httpx.TransportError: the service does not answer.
    """
    response = client.post("/feedback", json={"request_id": request_id, "genre": genre})
    response.raise_for_status()
    return response.json()


def print_prediction(file: Path, prediction: dict) -> None:
    """Print a prediction, its notes and its segments, if there are any."""
    hint = "" if prediction["confident"] else ", low confidence"
    print(f"{file}: {prediction['genre']} ({prediction['confidence']:.0%}{hint})")
    for note in prediction.get("notes", []):
        print(f"  {note['message']}")
    for segment in prediction.get("segments", []):
        print(f"  {segment['start_seconds']:7.1f} - {segment['end_seconds']:.1f} s  {segment['genre']}")


def main() -> int:
    """Print the prediction or the error of each file; 1 where there is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--timeline", action="store_true", help="print the prediction of each segment, too")
    parser.add_argument("--feedback", metavar="GENRE", help='tell the service the right genre of the files, or "right"')
    parser.add_argument("--url", default="http://localhost:3000")
    options = parser.parse_args()
    key, n_errors = os.environ.get("MUSIC_GENRE_API_KEY"), 0
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=options.url, headers=headers, timeout=60) as client:
        for file in options.files:
            try:
                prediction = predict(client, file, options.timeline)
                print_prediction(file, prediction)
                if options.feedback:
                    send_feedback(client, prediction["request_id"], options.feedback)
            except httpx.HTTPStatusError as error:
                print(f"{file}: {error.response.json()['error']['message']}", file=sys.stderr)
                n_errors += 1
            except (httpx.TransportError, OSError) as error:
                print(f"{file}: {error}", file=sys.stderr)
                n_errors += 1
    return 1 if n_errors else 0


if __name__ == "__main__":
    sys.exit(main())
