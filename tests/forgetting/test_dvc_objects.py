"""DVC's cache is found wherever it is configured, and what other recordings need in it is kept."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd

from music_genre.forgetting.dvc_objects import ObjectCache, find_shards, known_stores, object_holders
from music_genre.forgetting.recording import Recording


def dvc(folder: Path, *arguments: str) -> None:
    subprocess.run(["dvc", *arguments, "--quiet"], cwd=folder, check=True, capture_output=True)


def add(cache: ObjectCache, digest: str) -> Path:
    path = cache.path(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def add_folder(cache: ObjectCache, digest: str, files: dict[str, str]) -> None:
    rows = [{"relpath": name, "md5": md5} for name, md5 in files.items()]
    add(cache, digest).write_text(json.dumps(rows), encoding="utf-8")


def test_shared_cache_and_remotes_are_found(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    assert ObjectCache.open(project) is None
    dvc(project, "init", "--no-scm")
    dvc(project, "cache", "dir", "../shared")
    dvc(project, "remote", "add", "--default", "storage", "s3://bucket/data")
    found = ObjectCache.open(project)
    assert found == ObjectCache(tmp_path / "shared/files/md5", ("storage",))


def test_objects_of_every_revision_are_told_by_their_content(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, ())
    # In the first revision another recording had the name.
    for revision, digest in (("1", "other"), ("2", "ours")):
        add(cache, f"{revision}manifest").write_text(f"path,size,sha256\nfolder/a.mp3,1,{digest}\n", encoding="utf-8")
        add_folder(
            cache, f"{revision}audio.dir", {"manifest.csv": f"{revision}manifest", "folder/a.mp3": f"{revision}song"}
        )
        add(cache, f"{revision}song").touch()
        ids = [7, 8] if digest == "ours" else [8]
        table = pd.DataFrame({"track_id": ids, "split": "test", "shard": "test-00000.npy", "row": range(len(ids))})
        table.to_parquet(add(cache, f"{revision}index"))
        with add(cache, f"{revision}shard").open("wb") as file:
            np.save(file, np.arange(len(ids)))
        files = {"index.parquet": f"{revision}index", "test-00000.npy": f"{revision}shard"}
        add_folder(cache, f"{revision}data.dir", files)
    recording = Recording("7", 7, ("folder/a.mp3",), "audio", ("ours",))
    (shard,) = find_shards(cache, 7)
    assert (shard.digest, shard.split, shard.read()) == ("2data.dir", "test", 0)
    for holder in object_holders(cache, tmp_path / "dvc.lock", recording):
        holder.remove()
    gone = {"2song", "2index", "2shard"}
    names = {"audio.dir", "manifest", "song", "data.dir", "index", "shard"}
    every = {f"{revision}{name}" for revision in "12" for name in names}
    assert {name for name in every if not cache.path(name).exists()} == gone
    assert known_stores(cache) == {"1data.dir"}
    assert list(object_holders(cache, tmp_path / "dvc.lock", recording)) == []
