"""Map over clips on every core, in order, with progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def map_clips(function: Callable[[Item], Result], items: Sequence[Item], description: str) -> Iterator[Result]:
    """Results of ``function`` in the order of ``items``, computed by a process a core.

    Args:
        function: importable by name, as are its arguments' types: workers are spawned, not forked.
        items: what to map over.
        description: said in front of the progress bar.
    """
    if not items:
        return
    # Read by the libraries when the workers import them: a thread a worker, or the cores are shared twice.
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))
    workers = max(1, min(os.cpu_count() or 1, len(items)))
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            results = pool.map(function, items, chunksize=8)
            yield from tqdm(results, total=len(items), desc=description, unit="clip", mininterval=1)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
