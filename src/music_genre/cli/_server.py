"""Predictions of a running service, by its API."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from music_genre.audio.folder import check_file
from music_genre.errors import AudioError, IssueReason, MusicGenreError
from music_genre.paths import ProjectPaths

if TYPE_CHECKING:
    import httpx

    from music_genre.cli._predictions import Predicted

API_KEY_VARIABLE = "MUSIC_GENRE_API_KEY"
MAX_REQUESTS = 4  # at a time
MAX_TRIES = 8  # of a request that finds the service busy
MAX_WAIT_S = 30.0  # between two tries, whatever the service asks for
CONNECT_TIMEOUT_S = 10.0
TIMEOUT_S = 120.0  # without data: the service gives up a prediction after 30 s
BUSY = 503
PREDICTION_KEYS = ("genre", "confidence", "confident", "probabilities", "duration_seconds", "notes", "tags", "segments")
REASONS = {reason.value: reason for reason in IssueReason} | {"too_short": IssueReason.SHORT}  # by codes of the API


def find_api_key() -> str | None:
    """The key of the variable, else of the checkout's ``settings.toml``, if the working directory is in a checkout."""
    if key := os.environ.get(API_KEY_VARIABLE):
        return key
    try:
        root = ProjectPaths.find().root
    except MusicGenreError:
        return None
    if not (root / "settings.toml").is_file():
        return None
    from music_genre.settings import load_settings

    secret = load_settings(root).api_key
    return secret.get_secret_value() if secret else None


class PredictionServer:
    """A service that runs.

    Args:
        url: its address; the API is below it.
        api_key: that it asks for; None: none.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        import httpx

        self.url = url.rstrip("/")
        headers = {b"Authorization": b"Bearer " + api_key.encode()} if api_key else {}
        self.client = httpx.Client(headers=headers, timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S))

    def read_genres(self) -> list[str]:
        """The genres of the model that is served.

        Raises:
            MusicGenreError: there is no such service, or it does not accept the key.
        """
        import httpx

        try:
            response = self._request("GET", "/model")
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        genres = self._body(response).get("genres")
        if not isinstance(genres, list):
            raise self._refused(response)
        return genres

    def predict_files(
        self, files: Sequence[Path], timeline: bool = False, description: str = ""
    ) -> Iterator[tuple[Path, Predicted]]:
        """Each file with its prediction, as ``inference.predict_files`` gives it, or with the reason why there is none,
        in order; ``MAX_REQUESTS`` at a time.

        Args:
            files: to send.
            timeline: whether to predict each segment, too.
            description: of the progress bar; without one there is none.

        Raises:
            MusicGenreError: the service is gone, or does not accept the key.
        """
        from tqdm import tqdm

        with ThreadPoolExecutor(MAX_REQUESTS) as pool:
            results = pool.map(partial(self._predict, timeline=timeline), files)
            progress = tqdm(results, description, len(files), unit="clip", mininterval=1, disable=not description)
            yield from zip(files, progress, strict=True)

    def _predict(self, file: Path, timeline: bool) -> Predicted:
        import httpx

        try:
            check_file(file)
            response = self._request("POST", "/predict", file, {"timeline": "true"} if timeline else {})
        except AudioError as error:
            return error
        except OSError as error:
            return AudioError(IssueReason.UNREADABLE, error.strerror or str(error))
        except httpx.HTTPError as error:
            return MusicGenreError(f"the connection to {self.url} broke off ({_one_line(error)})")
        body = self._body(response)
        if response.is_success and {"genre", "confidence", "confident", "probabilities"} <= body.keys():
            return {key: body[key] for key in PREDICTION_KEYS if key in body}
        error_body = body.get("error")
        if response.is_success or not isinstance(error_body, dict) or not {"code", "message"} <= error_body.keys():
            raise self._refused(response)
        code, message = str(error_body["code"]), _one_line(error_body["message"])
        return AudioError(REASONS[code], message) if code in REASONS else MusicGenreError(f"{code}: {message}")

    def _request(
        self, method: str, path: str, file: Path | None = None, fields: dict[str, str] | None = None
    ) -> httpx.Response:
        """The response to a request, tried again as long as the service is busy.

        Raises:
            MusicGenreError: the service cannot be reached, does not accept the key, or is another one.
            OSError: the file cannot be read.
            httpx.HTTPError: the connection broke off.
        """
        import httpx

        for is_last in (*[False] * (MAX_TRIES - 1), True):
            try:
                response = self._send(method, path, file, fields)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
                raise self._unreachable(error) from error
            if response.status_code != BUSY or is_last:
                break
            time.sleep(_retry_after_s(response))
        if response.status_code in (401, 403):
            raise MusicGenreError(f"{self.url} does not accept the API key: {API_KEY_VARIABLE} must have the right one")
        if response.status_code in (404, 405):
            raise self._refused(response)
        return response

    def _send(self, method: str, path: str, file: Path | None, fields: dict[str, str] | None) -> httpx.Response:
        if file is None:
            return self.client.request(method, self.url + path)
        with file.open("rb") as audio:
            return self.client.request(method, self.url + path, data=fields, files={"audio": ("audio", audio)})

    def _body(self, response: httpx.Response) -> dict[str, Any]:
        """The JSON object of a response."""
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise self._refused(response)
        return body

    def _refused(self, response: httpx.Response) -> MusicGenreError:
        request = response.request
        return MusicGenreError(
            f"{self.url} is no music-genre service that can predict: {request.method} {request.url.path} gave"
            f" {response.status_code} {response.reason_phrase}"
        )

    def _unreachable(self, error: Exception) -> MusicGenreError:
        return MusicGenreError(f"no service answers at {self.url} ({_one_line(error)}): start it, or correct --server")


def _retry_after_s(response: httpx.Response) -> float:
    """How long the service asks to wait, within reason."""
    seconds = response.headers.get("Retry-After", "")
    return min(float(seconds), MAX_WAIT_S) if seconds.isdecimal() else 1.0


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300] or type(text).__name__
