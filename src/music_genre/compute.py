"""Map over clips on every core, in order, with progress, whatever a clip does to its worker."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK, CHUNKS_AHEAD = 8, 4
"""Clips a task, and tasks a worker that wait or are done: memory stays flat however slow the taker is."""

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def map_clips(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    description: str,
    on_crash: Callable[[Item], Result] | None = None,
) -> Iterator[Result]:
    """Results of ``function`` in the order of ``items``, computed by a process a core.

    Args:
        function: importable by name, as are its arguments' types: workers are spawned, not forked.
        items: what to map over.
        description: said in front of the progress bar.
        on_crash: the result of an item that kills its worker, as a decoder may that meets a hostile file; without it,
            the map ends with ``BrokenProcessPool``.
    """
    if not items:
        return
    with tqdm(total=len(items), desc=description, unit="clip", mininterval=1) as progress:
        done = 0
        while done < len(items):
            try:
                for result in _stream(function, items[done:]):
                    done += 1
                    progress.update()  # before the yield: who takes the last one may not ask again
                    yield result
            except BrokenProcessPool:
                if on_crash is None:
                    raise
                # Chunks share workers: only alone does an item show whether it is the one.
                result = _alone(function, items[done], on_crash)
                done += 1
                progress.update()
                yield result


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _stream(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    workers = min(cores(), -(-len(items) // CHUNK))
    with _one_thread_each(), ProcessPoolExecutor(workers, get_context("spawn"), _end_with_parent) as pool:
        ahead: deque[Future[list[Result]]] = deque()
        for start in range(0, len(items), CHUNK):
            ahead.append(pool.submit(_each, function, items[start : start + CHUNK]))
            if len(ahead) >= CHUNKS_AHEAD * workers:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()


def _end_with_parent() -> None:
    """A worker waits for ever for the next task of a process that was killed: watch that process instead."""
    parent = parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        Thread(target=watch, daemon=True).start()


def _each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def _alone(function: Callable[[Item], Result], item: Item, on_crash: Callable[[Item], Result]) -> Result:
    try:
        return next(_stream(function, [item]))
    except BrokenProcessPool:
        return on_crash(item)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit the libraries that workers will import to one thread, or the cores are shared out twice."""
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
