"""Commands in processes of their own, and what these have loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LIBRARIES = (
    *("numpy", "scipy", "pandas", "pyarrow", "sklearn", "skops", "onnx", "onnxruntime", "tensorflow", "keras"),
    *("mlflow", "sqlalchemy", "alembic", "distributed", "dask", "librosa", "numba", "matplotlib", "soundfile", "av"),
    *("great_expectations", "bentoml", "fastapi", "dvc", "httpx", "requests", "scipy.signal", "scipy.stats"),
)
SCRIPT = f"""
import sys
from music_genre.cli.main import main
try:
    main()
except SystemExit as end:
    code = end.code or 0
print("LOADED", code, *(name for name in {LIBRARIES!r} if name in sys.modules), file=sys.stderr)
"""


def run(folder: Path, *arguments: object) -> tuple[int, str, str, set[str]]:
    """The exit code, stdout, stderr, and the libraries that are loaded at the end of a command's process."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    call = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True)
    *err, last = done.stderr.splitlines()
    assert last.startswith("LOADED "), done.stderr
    code, *loaded = last.split()[1:]
    return int(code), done.stdout, "\n".join(err), set(loaded)
