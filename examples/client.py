"""Ask a running service for genres: ``python examples/client.py song.mp3 more.flac --timeline``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import httpx

TRIES = 5


def ask(client: httpx.Client, file: Path, timeline: bool = False) -> dict:
    """The service's answer to one file; a busy service is asked again when it said so.

    Raises:
        httpx.HTTPStatusError: the file was refused; ``error.response.json()["error"]`` has a code and a message.
    """
    for _ in range(TRIES):
        with file.open("rb") as audio:
            response = client.post(
                "/predict", files={"audio": (file.name, audio)}, data={"timeline": str(timeline).lower()}
            )
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(int(response.headers.get("Retry-After", 1)))
    response.raise_for_status()
    return response.json()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--timeline", action="store_true", help="each part of a song, too")
    parser.add_argument("--url", default="http://localhost:3000")
    options = parser.parse_args()
    key, wrong = os.environ.get("MUSIC_GENRE_API_KEY"), 0
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=options.url, headers=headers, timeout=60) as client:
        for file in options.files:
            try:
                answer = ask(client, file, options.timeline)
            except httpx.HTTPStatusError as refused:
                print(f"{file}: {refused.response.json()['error']['message']}", file=sys.stderr)
                wrong += 1
                continue
            sure = "" if answer["confident"] else ", not sure"
            print(f"{file}: {answer['genre']} ({answer['confidence']:.0%}{sure})")
            for part in answer.get("segments", []):
                print(f"  {part['start_seconds']:7.1f} - {part['end_seconds']:.1f} s  {part['genre']}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
