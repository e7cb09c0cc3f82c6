"""Save trained models so that the same model is the same bytes: DVC and the registry know a model by its digest."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

if TYPE_CHECKING:
    import keras
    from sklearn.pipeline import Pipeline

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date a zip archive can hold, written in place of the time of saving."""


def save_network(model: keras.Model, path: Path) -> None:
    """Write a ``.keras`` archive without optimizer state, date of saving and memory addresses."""
    import keras

    with tempfile.TemporaryDirectory() as folder:
        compiled, dated = Path(folder) / "compiled.keras", Path(folder) / "model.keras"
        model.save(compiled, include_optimizer=False)
        # Keras still writes the optimizer's configuration and learning rate; a model that is loaded has neither.
        keras.models.load_model(compiled, compile=False).save(dated)
        entries = _entries(dated)
    metadata = json.loads(entries["metadata.json"])
    entries["metadata.json"] = json.dumps({"keras_version": metadata["keras_version"]}).encode()
    config = entries["config.json"].decode()
    count = _counted(re.findall(r'"shared_object_id": (\d+)', config))
    entries["config.json"] = count(config).encode()
    _write(path, entries)


def save_classifier(classifier: Pipeline, path: Path) -> None:
    """Write a ``.skops`` archive without dates of saving and memory addresses."""
    from skops.io import dump

    with tempfile.TemporaryDirectory() as folder:
        addressed = Path(folder) / "model.skops"
        dump(classifier, addressed)
        entries = _entries(addressed)
    schema = entries["schema.json"].decode()
    # skops names arrays after the addresses that its schema lists.
    count = _counted(re.findall(r'"__id__": (\d+)', schema) + re.findall(r'"file": "(\d+)\.npy"', schema))
    renamed = {count(name): content for name, content in entries.items()}
    _write(path, {**renamed, "schema.json": count(schema).encode()})


def _counted(addresses: list[str]) -> Callable[[str], str]:
    """A function that replaces memory addresses in a text by 1, 2, 3 in the order given."""
    numbers = {address: str(number) for number, address in enumerate(dict.fromkeys(addresses), start=1)}
    pattern = re.compile(r"\b(" + "|".join(numbers) + r")\b")
    return lambda text: pattern.sub(lambda found: numbers[found[0]], text) if numbers else text


def _entries(archive: Path) -> dict[str, bytes]:
    with ZipFile(archive) as content:
        return {name: content.read(name) for name in content.namelist()}


def _write(path: Path, entries: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name in sorted(entries):
            archive.writestr(ZipInfo(name, ZIP_EPOCH), entries[name], ZIP_DEFLATED)
