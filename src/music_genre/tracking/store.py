"""Where the tracking store is. Nothing here needs MLflow."""

from __future__ import annotations

import os
from pathlib import Path

STORE_FILE = "mlflow.db"


def store_root(root: Path) -> Path:
    """The folder that holds the store: DVC's root, so that experiments in temporary copies share the project's."""
    return Path(os.environ.get("DVC_ROOT") or root).absolute()


def store_uri(root: Path) -> str:
    """``MLFLOW_TRACKING_URI``, else ``mlflow.db`` in ``store_root``."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store_root(root) / STORE_FILE}"
