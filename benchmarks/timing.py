"""What the benchmarks share: interleaved rounds, quartiles, tables, and processes whose memory is measured.

Every benchmark takes ``--quick``: one round of the least work, to see that it runs; nothing is written.
"""

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
class ProcessResult:
    """Of a finished process: the numbers that it printed, and the peak memory of it and its workers together."""

    values: dict[str, float]
    peak_mb: float


def interleaved(routes: dict[str, Callable[[], float]], n_rounds: int) -> dict[str, list[float]]:
    """Every route's values, one a round; each round runs all routes, so that a busy moment affects all of them."""
    values: dict[str, list[float]] = {name: [] for name in routes}
    for _ in range(n_rounds):
        for name, route in routes.items():
            values[name].append(route())
    return values


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_process(
    script: str,
    *arguments: str,
    cores: int | None = None,
    folder: Path | None = None,
    variables: dict[str, str] | None = None,
    poll_s: float = 0.2,
) -> ProcessResult:
    """Run a script in a process of its own; the last line that it prints is a JSON object of numbers.

    Args:
        script: path.
        arguments: of it.
        cores: how many it may use; None: all.
        folder: its working directory.
        variables: of its environment.
        poll_s: between two looks at its memory, which cost it time.
    """
    command = [sys.executable, script, *arguments]
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | (variables or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),  # there are no threads yet
    ) as process:
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, memory_mb(process.pid))
            time.sleep(poll_s)
        printed = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return ProcessResult(json.loads(printed.splitlines()[-1]), peak)


def memory_mb(pid: int) -> float:
    """Proportional set size of a process and its descendants: pages that they share count once."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            total += process.memory_full_info().pss
    except psutil.Error:  # one of them has just ended
        return 0.0
    return total / 2**20


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The median, followed by the quartiles where there are several values."""
    if len(values) == 1:
        return f"{values[0]:.{digits}g}"
    low, median, high = statistics.quantiles(values, n=4)
    return f"{median:.{digits}g} ({low:.{digits}g} to {high:.{digits}g})"


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Round by round."""
    return [numerator / denominator for numerator, denominator in zip(numerators, denominators, strict=True)]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(part: str, *blocks: str, quick: bool = False) -> None:
    """Print the results and, unless ``quick``, write them to ``results/<part>.md`` under a line that says how they were
    measured.
    """
    computer = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    text = "\n\n".join([f"{computer}; median (quartiles). `make bench PART={part}` makes this page.", *blocks])
    print(text)
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{part}.md").write_text(text + "\n", encoding="utf-8")
