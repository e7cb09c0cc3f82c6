"""A Dask cluster of this machine, which starts when it is needed, or the scheduler that the environment names."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from tempfile import TemporaryDirectory
from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tqdm import tqdm

from music_genre.errors import MusicGenreError
from music_genre.runtime import THREAD_LIMITS, cores

if TYPE_CHECKING:
    from distributed import Client, Future

ADDRESS_VARIABLE = "DASK_SCHEDULER_ADDRESS"
CONNECT_S = 5.0  # a scheduler has this long to answer
NO_WORKER_S = 60.0  # a scheduler may be without workers for this long
GATHER_S = 300.0  # the results of a task are here after this long, or their worker is lost

_clusters: dict[str, Cluster] = {}  # by the value of the variable, "" for this machine's


def package_version() -> str:
    """The version of this package, which workers are asked for."""
    return version("music-genre")


@dataclass(frozen=True)
class Cluster:
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

    def submit(self, description: str, work: Callable[[], Any]) -> Future:
        """Start a task; Dask's dashboard shows its description."""
        return self.client.submit(work, key=f"{description}-{uuid4().hex}", pure=False)

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


def connect(n_tasks: int, announce: bool) -> Cluster:
    """The scheduler that the environment names, or one of this process, which has a worker a core.

    Args:
        n_tasks: that will be submitted.
        announce: whether to print the address of the dashboard, where a connection is new.
    """
    address, n_workers = os.environ.get(ADDRESS_VARIABLE, ""), min(cores(), n_tasks)
    cluster = _clusters.get(address)
    if cluster is None or cluster.client.status != "running":
        client = _join(address) if address else _start(n_workers)
        atexit.register(client.close)
        cluster = Cluster(client.scheduler.address, client)
        cluster.check_workers()
        if announce:
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

    class Starter(Nanny):  # type: ignore[misc]  # distributed has no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.pre_spawn_env.clear()  # would be set in this process, and stay

    _silence()
    scratch = TemporaryDirectory(ignore_cleanup_errors=True)
    atexit.register(scratch.cleanup)
    # A cluster gives up a worker that restarts when another loss of it is this old.
    dask.config.set({"temporary-directory": scratch.name, "distributed.deploy.lost-worker-timeout": "1000 days"})
    with _hidden_main():
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


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Let processes that start meanwhile not import this process' main module first: workers need nothing of it."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _silence() -> None:
    """Keep Dask from telling what is handled here: workers that end, and a scheduler that does not answer."""
    for name in ("distributed", "distributed.client", "distributed.gc", "tornado.application"):  # these have levels
        logging.getLogger(name).setLevel(logging.CRITICAL)
