"""What the benchmarks share: turns, spreads, tables, and processes whose memory is watched."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Measured:
    """What a route printed at its end, and the most memory that it and its workers held."""

    figures: dict[str, float]
    peak_mb: float


def in_turns(routes: dict[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """Every route's figure, a turn at a time, so that a busy moment of the machine hits all of them."""
    figures: dict[str, list[float]] = {name: [] for name in routes}
    for _ in range(turns):
        for name, route in routes.items():
            figures[name].append(route())
    return figures


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_process(script: str, *arguments: str, cores: int | None = None) -> Measured:
    """Run a script in a process of its own; its last line is a JSON object of figures.

    Args:
        script: path.
        arguments: of it.
        cores: it may use; all where None.
    """
    command = [sys.executable, script, *arguments]
    mine = sorted(os.sched_getaffinity(0))[:cores]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, mine),  # there are no threads yet
    ) as process:
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, memory_mb(process.pid))
            time.sleep(0.2)
        printed = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Measured(json.loads(printed.splitlines()[-1]), peak)


def memory_mb(pid: int) -> float:
    """Proportional set size of a process and its descendants: what they share counts once."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            total += process.memory_full_info().pss
    except psutil.Error:  # one of them has just ended
        return 0.0
    return total / 2**20


def spread(figures: Sequence[float], digits: int = 3) -> str:
    """Median, with the quartiles behind it."""
    low, middle, high = statistics.quantiles(figures, n=4)
    return f"{middle:.{digits}g} ({low:.{digits}g} to {high:.{digits}g})"


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Turn by turn."""
    return [first / second for first, second in zip(over, under, strict=True)]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(part: str, *blocks: str) -> None:
    """``results/<part>.md``, under a line that says what made it."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    text = "\n\n".join([f"{machine}; median (quartiles). `make bench PART={part}` makes this page.", *blocks])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{part}.md").write_text(text + "\n", encoding="utf-8")
    print(text)
