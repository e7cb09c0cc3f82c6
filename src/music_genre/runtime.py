"""The process: its cores, and the variables that the libraries read from the environment."""

from __future__ import annotations

import logging
import os

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
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # MLflow may be imported already, with the level that the environment had then.
    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
