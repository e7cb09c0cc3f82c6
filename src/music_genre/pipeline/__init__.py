"""One module a stage of ``dvc.yaml``, under the stage's name: load, call, save."""

from __future__ import annotations

import errno
import gc
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths

DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""A full disk, a used-up quota, what may not be written or read: nothing that a traceback would help to mend."""


def configure_libraries() -> None:
    """Keep start-up chatter and usage reports of the libraries out of people's way, and ask TensorFlow for oneDNN
    before it is there; what the environment says already stands.

    Since version 2.9 TensorFlow turns oneDNN on by itself where a processor has instructions for neural networks
    (AVX512_VNNI, AVX512_BF16, AMX). The convolutions here gain by it with AVX2 alone, too.
    """
    for name, value in {
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "GX_ANALYTICS_ENABLED": "false",
    }.items():
        os.environ.setdefault(name, value)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # It may be imported already, and with it the level that the environment asked for.
    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])


def stage(work: Callable[[ProjectPaths], None]) -> Callable[[], None]:
    """A stage's entry point: runs ``work`` on the checkout it is called in; a known failure, or what
    the disk refuses, is one line and exit code 1.
    """

    def main() -> None:
        configure_libraries()
        # TensorFlow makes a million objects that stay: to look through them for rubbish is a tenth of a stage's time.
        gc.set_threshold(50_000)
        try:
            work(ProjectPaths.find())
        except MusicGenreError as error:
            sys.exit(f"{Path(sys.argv[0]).stem}: {error}")
        except OSError as error:
            if error.errno not in DISK_FAULTS:
                raise
            sys.exit(f"{Path(sys.argv[0]).stem}: {error}; mend that and run again")

    return main
