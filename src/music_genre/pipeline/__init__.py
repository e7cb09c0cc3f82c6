"""One module a stage of ``dvc.yaml``, under the stage's name: load, call, save."""

from __future__ import annotations

import errno
import gc
import sys
from collections.abc import Callable
from pathlib import Path

from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths
from music_genre.runtime import configure_libraries

# A full disk, a used-up quota, what may not be written or read: a traceback would not help to fix these.
USER_ACTIONABLE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def stage(work: Callable[[ProjectPaths], None]) -> Callable[[], None]:
    """A stage's entry point: it runs ``work`` on the checkout around the working directory. A known failure, or a disk
    that is full or may not be written, is one line and exit code 1.
    """

    def main() -> None:
        configure_libraries()
        # TensorFlow makes a million objects that stay: collecting garbage among them takes a tenth of a stage's time.
        gc.set_threshold(50_000)
        try:
            work(ProjectPaths.find())
        except MusicGenreError as error:
            sys.exit(f"{Path(sys.argv[0]).stem}: {error}")
        except OSError as error:
            if error.errno not in USER_ACTIONABLE_ERRNOS:
                raise
            sys.exit(f"{Path(sys.argv[0]).stem}: {error}; fix this and run again")

    return main
