"""Map over clips on every core or on a Dask cluster, in order, with progress, also past clips that crash a worker."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from music_genre.errors import MusicGenreError
from music_genre.runtime import THREAD_LIMITS, cores

if TYPE_CHECKING:
    from distributed import Client, Future

Item = TypeVar("Item")
Result = TypeVar("Result")

ADDRESS_VARIABLE = "DASK_SCHEDULER_ADDRESS"
CHUNK_SIZE = 8  # clips of a task
PREFETCH_CHUNKS = 4  # tasks of a worker that wait or are done: memory stays flat when results are taken slowly
IN_PROCESS_CLIPS = 16  # so many are done here before workers have started
CONNECT_S = 5.0  # a scheduler has this long to answer
NO_WORKER_S = 60.0  # a scheduler may be without workers for this long
GATHER_S = 300.0  # the results of a task are here after this long, or their worker is lost

_clusters: dict[str, _Cluster] = {}  # by the value of the variable, "" for this machine's
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
    cluster = _connect(-(-len(items) // CHUNK_SIZE))
    submit = partial(cluster.submit, description, function)
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
    cluster: _Cluster,
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


def package_version() -> str:
    """The version of this package, which workers are asked for."""
    return version("music-genre")


@dataclass(frozen=True)
class _Cluster:
    """A connection to a scheduler."""

    address: str
    client: Client

    def check_workers(self) -> None:
        """Wait for a worker, and raise a ``MusicGenreError`` where one has another version of this package, or none."""
        self.wait([self.client.submit(int, pure=False)])
        for worker, found in self.client.run(package_version, on_error="return").items():
            if found != package_version() and not isinstance(found, OSError):  # OSError: the worker is gone
                raise MusicGenreError(
                    f"the Dask worker at {worker} lacks music-genre {package_version()} ({found}): install it there and"
                    " start the worker again"
                )

    def submit(self, description: str, function: Callable[[Item], Result], items: Sequence[Item]) -> Future:
        """Start to compute a chunk. Dask looks for tasks in arguments, so there are none; its dashboard has the key."""
        return self.client.submit(partial(_map_chunk, function, items), key=f"{description}-{uuid4().hex}", pure=False)

    def result(self, future: Future) -> Any:
        """The result of a task, which is then released, or the exception that ``function`` raised."""
        try:
            while True:
                self.wait([future])
                try:
                    return future.result(timeout=GATHER_S)
                except (OSError, CancelledError):
                    if future.status == "error":  # else the worker is lost, which had the result, or the scheduler
                        raise
        finally:
            future.release()

    def wait(self, futures: Sequence[Future]) -> None:
        """Wait until tasks are done, whatever came of them, or raise a ``MusicGenreError`` where nothing can come."""
        from distributed import wait

        last_seen = monotonic()
        while futures:
            try:
                with self.client.as_current():
                    wait(futures, timeout=1)
                return
            except TimeoutError:
                last_seen = monotonic() if self.threads() else last_seen
            except CancelledError:
                raise self._lost() from None
            if monotonic() - last_seen > NO_WORKER_S:
                raise MusicGenreError(
                    f"the Dask scheduler at {self.address} has had no worker for {NO_WORKER_S:g} s; start one with"
                    f" `dask worker {self.address}` and run again: what is done stays"
                )

    def threads(self) -> int:
        """The number of tasks that all workers run at a time; 0 where there is no worker now."""
        with suppress(OSError):
            if self.client.status == "running":
                return int(self.client.scheduler_info(n_workers=0)["total_threads"])
        raise self._lost()

    def _lost(self) -> MusicGenreError:
        self.client.close()
        return MusicGenreError(f"the Dask scheduler at {self.address} is lost; start it, run again: what is done stays")


def _connect(n_chunks: int) -> _Cluster:
    """The scheduler that the environment names, or one of this process, which has a worker a core."""
    address, n_workers = os.environ.get(ADDRESS_VARIABLE, ""), min(cores(), n_chunks)
    cluster = _clusters.get(address)
    if cluster is None or cluster.client.status != "running":
        client = _join(address) if address else _start(n_workers)
        atexit.register(client.close)
        cluster = _Cluster(client.scheduler.address, client)
        cluster.check_workers()
        tqdm.write(f"Dask dashboard: {client.dashboard_link}", file=sys.stderr)
        _clusters[address] = cluster
    elif not address and n_workers > len(cluster.client.cluster.worker_spec):
        cluster.client.cluster.scale(n_workers)
    return cluster


def _join(address: str) -> Client:
    from distributed import Client

    _silence()
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TypeError, ValueError) as error:  # TypeError: TLS without certificates
        problem = f"{ADDRESS_VARIABLE}: no Dask scheduler at {address} ({error}); start it, or unset the variable"
        raise MusicGenreError(problem) from error


def _start(n_workers: int) -> Client:
    """Start a scheduler and workers that end with this process. Other users of this machine only see the dashboard."""
    import dask
    from distributed import Client, LocalCluster, Nanny

    class Starter(Nanny):  # type: ignore[misc]  # starts a worker, and starts it again
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.pre_spawn_env.clear()  # would be set in this process, and stay

    _silence()
    scratch = TemporaryDirectory(ignore_cleanup_errors=True)
    atexit.register(scratch.cleanup)
    # A cluster gives up a worker that restarts when another loss of it is this old.
    dask.config.set({"temporary-directory": scratch.name, "distributed.deploy.lost-worker-timeout": "1000 days"})
    cluster = LocalCluster(
        host="127.0.0.1",
        n_workers=n_workers,
        threads_per_worker=1,
        memory_limit=None,
        dashboard_address="127.0.0.1:0",
        security=True,
        silence_logs=logging.CRITICAL,
        worker_class=Starter,
        env=dict.fromkeys(THREAD_LIMITS, "1"),
        scheduler_kwargs={"allowed_failures": 0},
    )
    atexit.register(cluster.close)
    # A result may be asked of a worker that ends just now: three seconds are lost, not thirty.
    return Client(cluster, timeout=3, direct_to_workers=True, set_as_default=False)


def _silence() -> None:
    """Keep Dask from telling what is handled here: workers that end, and a scheduler that does not answer."""
    for name in ("distributed", "distributed.client", "distributed.gc", "tornado.application"):  # these have levels
        logging.getLogger(name).setLevel(logging.CRITICAL)
