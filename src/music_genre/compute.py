"""Map over clips on every core, in order, with progress, also past clips that crash a worker."""

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

from music_genre.runtime import THREAD_LIMITS, cores

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK_SIZE = 8  # clips of a task
PREFETCH_CHUNKS = 4  # tasks of a worker that wait or are done: memory stays flat when results are taken slowly


def map_clips(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    description: str,
    on_crash: Callable[[Item], Result] | None = None,
) -> Iterator[Result]:
    """Results of ``function`` in the order of ``items``, computed by one process per core.

    Args:
        function: importable by name, as are its arguments' types: workers are spawned, not forked.
        items: what to map over.
        description: shown in front of the progress bar.
        on_crash: gives the result of an item that ends its worker, as a decoder may on a hostile file; without it, the
            map ends with ``BrokenProcessPool``.
    """
    if not items:
        return
    with tqdm(total=len(items), desc=description, unit="clip", mininterval=1) as progress:
        done = 0
        while done < len(items):
            try:
                for result in _stream(function, items[done:]):
                    done += 1
                    progress.update()  # before the yield, after which a caller who has the last result may not return
                    yield result
            except BrokenProcessPool:
                if on_crash is None:
                    raise
                # A worker has several items: whether the first of them crashed it shows only when it runs alone.
                result = _run_isolated(function, items[done], on_crash)
                done += 1
                progress.update()
                yield result


def _stream(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    workers = min(cores(), -(-len(items) // CHUNK_SIZE))
    with _limit_worker_threads(), ProcessPoolExecutor(workers, get_context("spawn"), _exit_with_parent) as pool:
        chunks: deque[Future[list[Result]]] = deque()
        for start in range(0, len(items), CHUNK_SIZE):
            chunks.append(pool.submit(_map_chunk, function, items[start : start + CHUNK_SIZE]))
            if len(chunks) >= PREFETCH_CHUNKS * workers:
                yield from chunks.popleft().result()
        while chunks:
            yield from chunks.popleft().result()


def _exit_with_parent() -> None:
    """End this worker when its parent is killed; else it would wait for its next task for ever."""
    parent = parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        Thread(target=watch, daemon=True).start()


def _map_chunk(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def _run_isolated(function: Callable[[Item], Result], item: Item, on_crash: Callable[[Item], Result]) -> Result:
    try:
        return next(_stream(function, [item]))
    except BrokenProcessPool:
        return on_crash(item)


@contextmanager
def _limit_worker_threads() -> Iterator[None]:
    """Limit numerical libraries in new workers to one thread, as each core has a worker already."""
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
