"""Map over clips on every core or on a Dask cluster, in order, with progress, also past clips that crash a worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from music_genre.cluster import Cluster, connect
from music_genre.errors import MusicGenreError

if TYPE_CHECKING:
    from distributed import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK_SIZE = 8  # clips of a task
PREFETCH_CHUNKS = 4  # tasks of a worker that wait or are done: memory stays flat when results are taken slowly
IN_PROCESS_CLIPS = 16  # so many are done here before workers have started

_limit_threads = cache(partial(threadpool_limits, 1))


def map_clips(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    description: str,
    on_crash: Callable[[Item], Result] | None = None,
    journal: Path | None = None,
) -> Iterator[Result]:
    """Results of ``function`` in the order of ``items``.

    They are computed by one worker process per core of this machine, or by those of the Dask scheduler that
    ``DASK_SCHEDULER_ADDRESS`` names. Up to ``IN_PROCESS_CLIPS`` items are not worth the start of workers: this process
    computes them, unless one may crash (``on_crash``) and there is nothing that would remember it (``journal``).

    Args:
        function: importable by name, as are its arguments' types: workers are other processes.
        items: what to map over; their ``repr`` tells them apart.
        description: shown in front of the progress bar; without one there is none.
        on_crash: gives the result of an item that ends its worker, as a decoder may on a hostile file.
        journal: a file that names the item which this process computes. What it names at the start ended this process
            in a run before, and is left to a worker. There is no such file after a map that finishes.

    Raises:
        MusicGenreError: an item ends its worker and there is no ``on_crash``; or there is no scheduler, or none of its
            workers can be used, at the start or later.
    """
    if not items:
        return
    on_cluster = partial(_map_on_cluster, function, description=description, on_crash=on_crash)
    here = len(items) <= IN_PROCESS_CLIPS and (on_crash is None or journal is not None)
    results = _map_here(function, items, on_cluster, journal) if here else on_cluster(items)
    with tqdm(total=len(items), desc=description, unit="clip", mininterval=1, disable=not description) as progress:
        for result in results:
            progress.update()  # before the yield, after which a caller who has the last result may not return
            yield result
    if journal is not None:
        journal.unlink(missing_ok=True)


def _map_here(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    on_cluster: Callable[[Sequence[Item]], Iterator[Result]],
    journal: Path | None,
) -> Iterator[Result]:
    suspects = journal.read_text().split() if journal is not None and journal.exists() else []
    for item in items:
        name = sha256(repr(item).encode()).hexdigest()
        if name in suspects:
            yield from on_cluster([item])
            continue
        # One thread, as in a worker: results do not differ.
        with nullcontext() if journal is None else _journaled(journal, suspects, name), threadpool_limits(1):
            result = function(item)
        yield result


@contextmanager
def _journaled(journal: Path, suspects: Sequence[str], name: str) -> Iterator[None]:
    """Name an item in the journal, beside those that ended a run before, until it is done."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.write_text("\n".join([*suspects, name]))
    try:
        yield
    finally:
        journal.write_text("\n".join(suspects))


def _map_on_cluster(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    description: str,
    on_crash: Callable[[Item], Result] | None,
) -> Iterator[Result]:
    cluster = connect(-(-len(items) // CHUNK_SIZE), announce=bool(description))

    def submit(items: Sequence[Item]) -> Future:
        # Dask looks for tasks in arguments, so there are none.
        return cluster.submit(description, partial(_map_chunk, function, items))

    pending: deque[tuple[Sequence[Item], Future]] = deque()
    try:
        for start in range(0, len(items), CHUNK_SIZE):
            chunk = items[start : start + CHUNK_SIZE]
            pending.append((chunk, submit(chunk)))
            if len(pending) >= PREFETCH_CHUNKS * cluster.threads():  # now: workers come and go
                yield from _take(cluster, submit, pending, on_crash)
        while pending:
            yield from _take(cluster, submit, pending, on_crash)
    finally:
        for _, future in pending:
            future.release()  # cancels it, as no one else waits for it


def _take(
    cluster: Cluster,
    submit: Callable[[Sequence[Item]], Future],
    pending: deque[tuple[Sequence[Item], Future]],
    on_crash: Callable[[Item], Result] | None,
) -> Iterator[Result]:
    """The results of the oldest task; one by one where a worker ended, for all that waited at it is blamed."""
    from distributed import KilledWorker

    chunk, future = pending.popleft()
    try:
        yield from cluster.result(future)
        return
    except KilledWorker:
        cluster.wait([other for _, other in pending])  # so that each item below is alone
    for item in chunk:
        try:
            (result,) = cluster.result(submit([item]))
        except KilledWorker as error:
            if on_crash is None:
                raise MusicGenreError(f"{item!r} ends the worker process that computes it") from error
            result = on_crash(item)
        yield result


def _map_chunk(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    _limit_threads()  # of what is loaded with the function; what is loaded later has THREAD_LIMITS
    return [function(item) for item in items]
