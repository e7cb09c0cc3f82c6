"""Mapping over clips in this process, on workers of its own and on a Dask scheduler: order, errors, crashes, losses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from music_genre import cluster
from music_genre.audio.decoding import decode
from music_genre.audio.folder import AudioFolder
from music_genre.cluster import ADDRESS_VARIABLE
from music_genre.compute import CHUNK_SIZE, IN_PROCESS_CLIPS, PREFETCH_CHUNKS, map_clips
from music_genre.errors import AudioError, MusicGenreError
from music_genre.features.extraction import SpectrogramExtractor, extract_files
from music_genre.features.params import MelConfig
from music_genre.runtime import THREAD_LIMITS, cores

CRASH = "__import__('os')._exit(11)"
PID = "__import__('os').getpid()"
MANY = range(IN_PROCESS_CLIPS + 1)  # the fewest items that are left to workers


@pytest.fixture(autouse=True)
def own_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)


def crashed(item: str) -> str:
    return f"crashed: {item}"


def test_results_are_in_the_order_of_items() -> None:
    assert list(map_clips(str, range(100), "Counting")) == [str(number) for number in range(100)]


def test_no_items_give_no_results() -> None:
    assert list(map_clips(str, [], "Counting")) == []


def test_workers_have_one_thread_and_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(THREAD_LIMITS[0], raising=False)
    monkeypatch.setenv(THREAD_LIMITS[1], "3")
    before = {name: value for name, value in os.environ.items() if not name.startswith("__DASK")}
    limits = f"[__import__('os').environ[name] for name in {THREAD_LIMITS}]"
    pools = "[pool['num_threads'] for pool in __import__('threadpoolctl').threadpool_info()]"
    import_numpy = "__import__('numpy') and None"
    found = list(map_clips(eval, [CRASH, import_numpy, limits, pools], "Mapping", on_crash=crashed))
    assert found[2] == ["1"] * len(THREAD_LIMITS)
    assert set(found[3]) == {1}
    assert {name: value for name, value in os.environ.items() if not name.startswith("__DASK")} == before


def test_progress_is_complete_once_every_result_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    results = map_clips(abs, MANY, "Counting")
    assert [next(results) for _ in MANY] == list(MANY)
    results.close()
    assert f"{len(MANY)}/{len(MANY)}" in capsys.readouterr().err.split("\r")[-1]


@pytest.mark.parametrize("n_files", [1, len(MANY)])
def test_audio_error_keeps_reason_and_detail(tmp_path: Path, n_files: int) -> None:
    empty = tmp_path / "clip.mp3"
    empty.touch()
    with pytest.raises(AudioError) as caught:
        list(map_clips(partial(decode, max_seconds=1.0), [empty] * n_files, "Decoding"))
    assert (caught.value.reason, caught.value.detail) == ("empty", "0 bytes")


def test_system_error_in_a_worker_keeps_its_number_and_file(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(FileNotFoundError) as caught:
        list(map_clips(os.stat, [missing] * len(MANY), "Looking"))
    assert caught.value.filename == str(missing)


def test_timeout_that_the_function_raises_is_not_taken_for_a_lost_worker() -> None:
    with pytest.raises(TimeoutError, match="of the function"):
        list(map_clips(exec, ["raise TimeoutError('of the function')"] * len(MANY), "Raising"))


def test_many_run_in_one_process_a_core_which_the_next_map_uses_again() -> None:
    first, second = ({*map_clips(eval, [f"__import__('time').sleep(0.01) or {PID}"] * 50, "Mapping")} for _ in "12")
    assert len(first) == cores()
    assert os.getpid() not in first
    assert second == first


def test_workers_wait_when_results_are_taken_slowly(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:05d}" for number in range(600)]
    ahead = CHUNK_SIZE * PREFETCH_CHUNKS * cores()
    assert ahead < len(paths) / 2, "too few clips to tell"
    results = map_clips(Path.touch, paths, "Touching")
    next(results)
    touched = stable_file_count(tmp_path)
    assert 0 < touched <= ahead
    for _ in range(100):
        next(results)
    assert touched < stable_file_count(tmp_path) <= ahead + 100 + CHUNK_SIZE
    assert len(list(results)) == 499
    assert stable_file_count(tmp_path) == 600


def test_closed_map_cancels_its_tasks_and_no_task_is_kept(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:05d}" for number in range(600)]
    results = map_clips(Path.touch, paths, "Touching")
    next(results)
    results.close()
    assert stable_file_count(tmp_path) < 300
    list(map_clips(abs, range(1000), "Counting"))
    (scheduler,) = (started.client.cluster.scheduler for address, started in cluster._clusters.items() if not address)
    wait_until(lambda: not scheduler.tasks)


def stable_file_count(folder: Path) -> int:
    """The number of files once it no longer grows."""
    counts = [-1, len(list(folder.iterdir()))]
    while counts[-1] != counts[-2]:
        time.sleep(0.3)
        counts.append(len(list(folder.iterdir())))
    return counts[-1]


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("did not happen in time")


@pytest.mark.parametrize(
    "hostile", [[0], pytest.param([9, 10, 18], marks=pytest.mark.slow), pytest.param([19], marks=pytest.mark.slow)]
)
def test_item_that_crashes_its_worker_is_reported_and_others_are_mapped(hostile: list[int]) -> None:
    items = [CRASH if number in hostile else str(number) for number in range(20)]
    results = list(map_clips(eval, items, "Mapping", on_crash=crashed))
    assert results == [f"crashed: {CRASH}" if number in hostile else number for number in range(20)]


def test_crash_without_on_crash_ends_the_map_with_its_item() -> None:
    with pytest.raises(MusicGenreError, match=r"_exit\(11\)\W+ends the worker"):
        list(map_clips(eval, [*map(str, MANY), CRASH], "Mapping"))


@pytest.mark.slow
def test_killed_worker_of_this_process_costs_nothing() -> None:
    results = map_clips(eval, [f"__import__('time').sleep(0.01) or {PID}"] * 100, "Mapping")
    os.kill(next(results), 9)
    assert len(list(results)) == 99


def test_nothing_but_loopback_is_listened_to_and_only_those_with_a_certificate_can_connect() -> None:
    list(map_clips(abs, MANY, "Counting"))
    workers = psutil.Process().children(recursive=True)  # and what other tests of this process have started
    sockets = [socket for process in [psutil.Process(), *workers] for socket in process.net_connections()]
    listening = [socket.laddr for socket in sockets if socket.status == psutil.CONN_LISTEN]
    assert len(listening) >= 3  # scheduler, dashboard, workers
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert cluster._clusters[""].address.startswith("tls://")


# A whole run of Python that maps over the arguments, which `eval` evaluates.
SCRIPT = """
import sys
from pathlib import Path
from music_genre.compute import map_clips

journal = Path(sys.argv[1]) if sys.argv[1] else None
print(list(map_clips(eval, sys.argv[2:], "Mapping", lambda item: "crashed" if journal else None, journal)))
print("distributed" in sys.modules)
"""


def run_script(journal: Path | str, *items: str, script: str = SCRIPT, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", script, str(journal), *items]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, timeout=60)


def test_a_handful_runs_in_this_process_without_a_cluster(tmp_path: Path) -> None:
    run = run_script(tmp_path / "journal", *map(str, range(IN_PROCESS_CLIPS)))
    assert run.stdout.splitlines() == [str(list(range(IN_PROCESS_CLIPS))), "False"]
    assert "Dask" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_handful_that_may_crash_is_left_to_workers_where_no_journal_would_tell() -> None:
    (worker,) = map_clips(eval, [PID], "Mapping", on_crash=crashed)
    (here,) = map_clips(eval, [PID], "Mapping")
    assert worker != os.getpid() == here


@pytest.mark.slow
def test_items_that_ended_a_run_are_left_to_workers_by_the_next(tmp_path: Path) -> None:
    journal = tmp_path / "cache" / "journal"
    crash, kill = "0 or __import__('os')._exit(11)", "1 and __import__('os').kill(__import__('os').getpid(), 11)"
    ends = []
    while not ends or ends[-1].returncode:
        ends.append(run_script(journal, "1", crash, "2", kill, "3"))
        assert len(ends) < 4
    assert [run.returncode for run in ends] == [11, -11, 0]
    assert ends[-1].stdout.splitlines()[0] == "[1, 'crashed', 2, 'crashed', 3]"
    assert not journal.exists()


def test_journal_names_no_item_that_only_raises(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with pytest.raises(ZeroDivisionError):
        list(map_clips(eval, ["1/0"], "Mapping", crashed, journal))
    assert journal.read_text() == ""


@pytest.mark.slow
def test_a_run_tells_where_the_dashboard_is_and_leaves_nothing_behind(tmp_path: Path) -> None:
    run = run_script("", *["1"] * 20, CRASH, TMPDIR=str(tmp_path))
    assert run.returncode == 0
    assert run.stdout.splitlines() == [str([1] * 20 + [None]), "True"]
    (said,) = not_progress(run.stderr)
    assert said.startswith("Dask dashboard: http://127.0.0.1:")
    assert list(tmp_path.iterdir()) == []


def not_progress(printed: str) -> list[str]:
    """What was printed besides the progress bar."""
    return [line for line in printed.replace("\r", "\n").splitlines() if line.strip() and "%|" not in line]


@pytest.mark.slow
def test_a_long_map_after_a_short_one_starts_the_workers_that_are_missing() -> None:
    script = f"""
from music_genre.compute import map_clips
for count in 1, 200:
    print(len(set(map_clips(eval, ["__import__('time').sleep(0.01) or {PID}"] * count, "Mapping", str))))
"""
    run = run_script("", script=script)
    assert [int(line) for line in run.stdout.split()] == [1, cores()], run.stderr
    assert len(not_progress(run.stderr)) == 1


def test_workers_load_neither_tensorflow_nor_mlflow() -> None:
    loaded = "{name.partition('.')[0] for name in __import__('sys').modules}"
    probe = f"__import__('music_genre.pipeline.inspect') and {loaded}"
    (found,) = map_clips(eval, [probe], "Mapping", on_crash=crashed)
    assert "music_genre" in found
    assert not found & {"tensorflow", "keras", "mlflow"}


@pytest.mark.slow
def test_workers_exit_when_their_parent_is_killed(tmp_path: Path) -> None:
    work = f"open({str(tmp_path / 'started')!r}, 'w') and __import__('time').sleep(60)"
    script = f"from music_genre.compute import map_clips; list(map_clips(eval, [{work!r}] * 20, 'Sleeping'))"
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as process:
        wait_until((tmp_path / "started").exists)
        workers = psutil.Process(process.pid).children(recursive=True)
        assert workers
        process.kill()
    _, left = psutil.wait_procs(workers, timeout=10)
    assert left == []


@pytest.fixture
def dask(hand_started_dask: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A scheduler without workers that ``map_clips`` uses."""
    monkeypatch.setattr(cluster, "NO_WORKER_S", 5.0)
    monkeypatch.setenv(ADDRESS_VARIABLE, hand_started_dask.address)
    return hand_started_dask


@pytest.mark.slow
def test_named_scheduler_computes_past_a_file_that_crashes_and_workers_that_are_lost(
    dask: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = dask.start_worker(), dask.start_worker()
    items = [CRASH if number == 9 else f"({number}, {PID})" for number in range(40)]
    results = list(map_clips(eval, items, "Mapping", on_crash=crashed))
    assert results.pop(9) == f"crashed: {CRASH}"
    assert [number for number, _ in results] == [number for number in range(40) if number != 9]
    assert os.getpid() not in {pid for _, pid in results}

    slow = map_clips(eval, [f"__import__('time').sleep(0.02) or {number}" for number in range(400)], "Mapping")
    assert next(slow) == 0
    dask.kill(first)
    assert next(slow) == 1
    dask.kill(second)
    dask.start_worker()
    assert list(slow) == list(range(2, 400))
    assert [line.partition(":")[0] for line in not_progress(capfd.readouterr().err)] == ["Dask dashboard"]


@pytest.mark.slow
def test_map_ends_when_all_workers_or_the_scheduler_are_lost(dask: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MusicGenreError, match=f"{dask.address} has had no worker for 5 s; start one with `dask worker"):
        list(map_clips(abs, MANY, "Counting"))

    worker = dask.start_worker()
    slow = map_clips(time.sleep, [0.02] * 400, "Sleeping")
    next(slow)
    dask.kill(worker)
    with pytest.raises(MusicGenreError, match="has had no worker for 5 s"):
        list(slow)

    dask.start_worker()
    slow = map_clips(time.sleep, [0.02] * 400, "Sleeping")
    next(slow)
    dask.kill(dask.scheduler)
    killed = time.monotonic()
    with pytest.raises(MusicGenreError, match=f"the Dask scheduler at {dask.address} is lost; start it, run again"):
        list(slow)
    assert time.monotonic() - killed < 10
    assert {line.partition(":")[0] for line in not_progress(capfd.readouterr().err)} == {"Dask dashboard"}


@pytest.mark.slow
def test_worker_that_lacks_this_version_is_named(dask: Any) -> None:
    metadata = dask.folder / "older" / "music_genre-0.0.1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: music-genre\nVersion: 0.0.1\n")
    package = dask.folder / "none" / "music_genre" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("raise ImportError('no such package')")
    for path, problem in ((dask.folder / "older", "0.0.1"), (dask.folder / "none", "no such package")):
        worker = dask.start_worker(path)
        with pytest.raises(MusicGenreError, match=rf"worker at tcp://\S+ lacks music-genre \S+ \(.*{problem}"):
            list(map_clips(abs, MANY, "Counting"))
        dask.kill(worker)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "tls://127.0.0.1:9", "127.0.0.1", "file://here"])
def test_missing_scheduler_is_one_line(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    monkeypatch.setenv(ADDRESS_VARIABLE, address)
    with pytest.raises(MusicGenreError, match=f"{ADDRESS_VARIABLE}: no Dask scheduler at {address} ") as caught:
        list(map_clips(abs, MANY, "Counting"))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_spectrograms_do_not_depend_on_where_they_are_made(dask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    transform = MelConfig(sample_rate_hz=22050, n_fft=2048, hop_length=1024, n_mels=128, n_frames=64, clip_duration_s=4)
    files = [f"{number:02d}.wav" for number in MANY]
    for number, file in enumerate(files):
        samples = np.random.default_rng(number).standard_normal((44100 * 4, 2)) * 0.1
        soundfile.write(dask.folder / file, samples, 44100)
    dask.start_worker()
    extractor = SpectrogramExtractor(transform)
    made = [list(extract_files(AudioFolder(dask.folder), files, extractor))]
    monkeypatch.delenv(ADDRESS_VARIABLE)
    made.append(list(extract_files(AudioFolder(dask.folder), files, extractor)))
    made.append([next(extract_files(AudioFolder(dask.folder), [file], extractor)) for file in files])
    for clips in zip(*made, strict=True):
        assert len({np.asarray(clip).tobytes() for clip in clips}) == 1
