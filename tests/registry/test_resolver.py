"""A local store that is read without MLflow says what MLflow says, or leaves the word to MLflow."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

import music_genre
from music_genre.errors import MusicGenreError
from music_genre.registry import versions
from music_genre.registry.history import champion_periods, periods_of
from music_genre.registry.listing import describe_versions, list_versions
from music_genre.registry.resolver import RegistrySnapshot, local_bundle, read_registry
from music_genre.tracking import BUNDLE_ARTIFACT, runs

NAME = "music-genre"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The root of a store, and the id of a model in it that is logged with a bundle of two files."""
    root = tmp_path_factory.mktemp("a store") / "50% of it"
    bundle = root / "made/bundle"
    bundle.mkdir(parents=True)
    for name in ("manifest.json", "crnn.onnx"):
        (bundle / name).write_text(name)
    pyfunc = Path(music_genre.__file__).parent / "tracking/pyfunc.py"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
            patch.delenv(name, raising=False)
        runs.connect(root)
        with mlflow.start_run():
            artifacts = {BUNDLE_ARTIFACT: str(bundle)}
            info = mlflow.pyfunc.log_model(
                name="crnn", python_model=str(pyfunc), artifacts=artifacts, pip_requirements=[]
            )
        yield root, info.model_id


@pytest.fixture
def root(store: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the store with six versions: aliases, tags, a deleted version, a rollback; beside it another model."""
    shutil.copy(store[0] / "mlflow.db", tmp_path)
    client = runs.connect(tmp_path)
    source = {"source": f"models:/{store[1]}", "model_id": store[1]}
    for name, count in ((NAME, 6), ("another", 2)):
        client.create_registered_model(name)
        for number in range(count):
            tags = {"model": f"{name} {number}", "validation_macro_f1": f"0.{number}", "criteria": "[]", "text": "ä\n'"}
            client.create_model_version(name, tags=tags, **source)
    client.create_model_version("another", **source)  # without tags
    for version in ("1", "2", "5", "6"):
        versions.set_champion(client, NAME, version, f"reason {version}")
    versions.rollback(client, NAME, "of a test")
    client.delete_model_version(NAME, "4")
    client.delete_model_version(NAME, "6")
    client.set_registered_model_alias(NAME, "challenger", "3")
    client.set_registered_model_alias(NAME, "second", "3")
    client.set_registered_model_alias(NAME, "gone", "2")
    client.delete_registered_model_alias(NAME, "gone")
    client.delete_model_version_tag(NAME, "3", "text")
    client.set_registered_model_alias("another", "champion", "1")
    return tmp_path


def local_registry(root: Path, name: str = NAME) -> RegistrySnapshot:
    registry = read_registry(root, name)
    assert registry is not None
    return registry


def by_mlflow(root: Path, name: str = NAME) -> tuple[MlflowClient, RegistrySnapshot]:
    client = runs.connect(root)
    return client, versions.take_snapshot(client, name)


def without_locations(registry: RegistrySnapshot) -> RegistrySnapshot:
    return replace(registry, versions=tuple(replace(version, location=None) for version in registry.versions))


@pytest.mark.parametrize("name", [NAME, "another", "unknown"])
def test_versions_aliases_and_tags_are_those_of_mlflow(root: Path, name: str) -> None:
    client, expected = by_mlflow(root, name)
    registry = local_registry(root, name)
    assert without_locations(registry) == expected
    assert describe_versions(registry) == list_versions(client, name)
    assert periods_of(registry) == champion_periods(client, name)


def test_there_is_something_to_compare(root: Path) -> None:
    registry = local_registry(root)
    assert [version.version for version in registry.versions] == ["5", "3", "2", "1"]
    assert registry.aliases == {"champion": "5", "challenger": "3", "second": "3"}
    assert [period.version for period in periods_of(registry)] == ["1", "2", "5", "6", "5"]


@pytest.mark.parametrize("which", ["champion", "challenger", "second", "1", "003", "5"])
def test_version_and_its_bundle_are_those_of_mlflow(root: Path, which: str) -> None:
    client, _ = by_mlflow(root)
    version, expected = local_registry(root).resolve(which), versions.resolve(client, NAME, which)
    assert (version.version, version.tags) == (str(expected.version), expected.tags)
    bundle = local_bundle(version)
    assert bundle is not None
    assert bundle == versions.download_bundle(expected)
    assert {file.name for file in bundle.iterdir()} == {"manifest.json", "crnn.onnx"}


@pytest.mark.parametrize("which", ["4", "6", "7", "0", "²", "99999999999999999999", "gone", "newest", "Champion"])
def test_missing_version_has_the_message_of_mlflow(root: Path, which: str) -> None:
    client, _ = by_mlflow(root)
    with pytest.raises(MusicGenreError) as expected:
        versions.resolve(client, NAME, which)
    with pytest.raises(MusicGenreError) as error:
        local_registry(root).resolve(which)
    assert str(error.value) == str(expected.value)


def test_renamed_model_is_found_under_its_new_name(root: Path) -> None:
    runs.connect(root).rename_registered_model(NAME, "renamed")
    assert without_locations(local_registry(root, "renamed")) == by_mlflow(root, "renamed")[1]
    assert local_registry(root).versions == ()


def test_each_change_is_seen_at_once(root: Path) -> None:
    client = runs.connect(root)
    for version in ("1", "2", "3"):
        client.set_registered_model_alias(NAME, "champion", version)
        assert local_registry(root).resolve("champion").version == version


def test_store_that_was_not_made_yet_is_empty_and_is_not_made(tmp_path: Path) -> None:
    registry = local_registry(tmp_path)
    assert (registry.versions, registry.aliases) == ((), {})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MusicGenreError, match=r"no champion: `dvc repro`"):
        registry.resolve("champion")


def test_store_is_not_written_to(root: Path) -> None:
    before = (root / "mlflow.db").read_bytes()
    (root / "mlflow.db").chmod(0o444)
    assert local_registry(root).versions
    assert (root / "mlflow.db").read_bytes() == before
    assert not list(root.glob("mlflow.db-*"))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:1"),
        ("MLFLOW_TRACKING_URI", "sqlite://"),
        ("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db?timeout=3"),
        ("MLFLOW_REGISTRY_URI", "http://127.0.0.1:1"),
        ("MLFLOW_WORKSPACE", "mine"),
    ],
)
def test_store_elsewhere_is_left_to_mlflow(
    root: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert read_registry(root, NAME) is None


def test_store_of_the_variable_is_read(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
    assert local_registry(Path("/nowhere")).versions
    monkeypatch.chdir(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert local_registry(Path("/nowhere")).versions


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE alembic_version SET version_num = 'older'",
        "DROP TABLE alembic_version",
        "DROP TABLE registered_model_aliases",
        "ALTER TABLE model_versions RENAME COLUMN source TO origin",
    ],
)
def test_store_with_other_tables_is_left_to_mlflow(root: Path, change: str) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as store, store:
        store.execute(change)
    assert read_registry(root, NAME) is None


@pytest.mark.parametrize("content", [b"", b"no database at all", bytes(100)])
def test_file_that_is_no_store_is_left_to_mlflow(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    assert read_registry(tmp_path, NAME) is None


def test_locked_store_is_left_to_mlflow(root: Path) -> None:
    with closing(sqlite3.connect(root / "mlflow.db", isolation_level=None)) as store:
        store.execute("BEGIN EXCLUSIVE")
        assert read_registry(root, NAME) is None
    assert local_registry(root).versions


def test_store_whose_writer_was_killed_is_left_to_mlflow_which_mends_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, killed = local_registry(root), root / "killed"
    killed.mkdir()
    with closing(sqlite3.connect(root / "mlflow.db", isolation_level=None)) as store:
        store.execute("PRAGMA cache_size = 1")  # changes are written to the file before they are committed
        store.execute("BEGIN")
        store.execute("UPDATE registered_model_aliases SET version = 1")
        store.execute("CREATE TABLE large AS SELECT randomblob(20000) FROM alembic_version")
        for _ in range(8):
            store.execute("INSERT INTO large SELECT randomblob(20000) FROM large")
        for file in root.glob("mlflow.db*"):
            shutil.copy(file, killed)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # MLflow set it for this process
    assert read_registry(killed, NAME) is None
    assert by_mlflow(killed)[1] == without_locations(expected)
    assert local_registry(killed) == expected


def test_files_that_are_lost_elsewhere_or_of_another_program_are_left_to_mlflow(root: Path, tmp_path: Path) -> None:
    version = local_registry(root).resolve("champion")
    for location in (None, "", "mlartifacts", "mlflow-artifacts:/1", "s3://bucket/1", "file://server/1", "/nowhere"):
        assert local_bundle(replace(version, location=location)) is None
    for text in ("", "flavors: {}", "flavors: {python_function: {artifacts: {bundle: {path: none}}}}", "{", "[1]"):
        (tmp_path / "MLmodel").write_text(text)
        assert local_bundle(replace(version, location=str(tmp_path))) is None
