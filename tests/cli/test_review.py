"""``music-genre review``, as far as it does not start a server; see ``integration/browser/test_review.py``."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def test_port_that_is_taken_is_one_line(command: Command, writable_checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = command("review", "--port", port)
    assert refused.code == 1
    assert f"port {port}: Address already in use; choose another with --port" in refused.reason


def test_missing_table_says_how_to_make_it(command: Command, writable_checkout: Path) -> None:
    (writable_checkout / "reports/label_issues.csv").unlink()
    refused = command("review")
    assert refused.code == 1
    assert "`dvc repro label_quality` makes it" in refused.reason


def test_ready_spectrograms_cannot_be_listened_to(command: Command, writable_checkout: Path) -> None:
    params = writable_checkout / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("source: folder", "source: arrays", 1), "utf-8")
    refused = command("review")
    assert refused.code == 1
    assert "no recordings to listen to" in refused.reason
