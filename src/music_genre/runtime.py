"""The process: its cores, and the variables that the libraries read from the environment."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

# Since version 2.9 TensorFlow turns oneDNN on by itself where a processor has instructions for neural networks
# (AVX512_VNNI, AVX512_BF16, AMX). The convolutions here gain from it with AVX2 alone, too.
LIBRARY_VARIABLES = {
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "BENTOML_DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
}


def configure_libraries() -> None:
    """Turn off start-up messages and usage reports of the libraries, and turn oneDNN on in TensorFlow.

    Takes effect on libraries that are not imported yet. What the environment says already stands.
    """
    for name, value in LIBRARY_VARIABLES.items():
        os.environ.setdefault(name, value)
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] != "0" and _QUIET_TENSORFLOW not in sys.meta_path:
        sys.meta_path.insert(0, _QUIET_TENSORFLOW)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every store that MLflow opens
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)  # libraries about each other: no user can act on them
    # MLflow may be imported already, with the level that the environment had then.
    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])


class _QuietTensorFlow(MetaPathFinder):
    """Finds TensorFlow, and closes standard error while it is imported: its C++ libraries tell there that oneDNN is on,
    whatever level the log has. Failures are exceptions, which are told later.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == "tensorflow" else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_quietly(module: ModuleType) -> None:
            with _closed_stderr():
                execute(module)

        spec.loader.exec_module = execute_quietly  # type: ignore[method-assign]
        return spec


_QUIET_TENSORFLOW = _QuietTensorFlow()


@contextmanager
def _closed_stderr() -> Iterator[None]:
    """Standard error goes nowhere during the block, also that of C++."""
    if sys.stderr is None:  # the process was started with it closed
        yield
        return
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(nowhere)
        os.close(stderr)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
