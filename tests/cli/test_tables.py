"""Tables show every cell whole, on a terminal and elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from music_genre.cli._tables import print_table

COLUMNS = ("name", "macro-F1", "reason")
REASON = "a reason of many words " * 10


def test_long_cells_stay_on_one_line_outside_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, [("one", 0.5, REASON), ("[bold]two", None, "")])
    heading, first, second = (re.split(r"  +", line.strip()) for line in capsys.readouterr().out.splitlines())
    assert tuple(heading) == COLUMNS
    assert first == ["one", "0.500", REASON.strip()]
    assert second == ["[bold]two", "-"]


def test_numbers_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("n",), [(0.5,), (10.25,), (None,)])
    assert capsys.readouterr().out.splitlines() == ["     n", " 0.500", "10.250", "     -"]


def test_long_cells_are_folded_on_a_narrow_terminal() -> None:
    script = f"from music_genre.cli._tables import print_table\nprint_table({COLUMNS!r}, [('one', 0.5, {REASON!r})])"
    reader, writer = os.openpty()
    environment = os.environ | {"COLUMNS": "40", "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", script], stdout=writer, env=environment, check=True)
    os.close(writer)
    with os.fdopen(reader, "rb") as terminal:
        shown = terminal.read1().decode()
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert plain != shown
    assert max(map(len, plain.splitlines())) <= 40
    assert re.findall(r"[\w.]+", plain.split("\n", 1)[1].replace("0.500", "").replace("one", "")) == REASON.split()
