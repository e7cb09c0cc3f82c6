"""From a recording to its prediction."""

from __future__ import annotations

import json

import numpy as np
import pytest

from music_genre.audio.signal import AudioNote, AudioSignal
from music_genre.errors import AudioError, IssueReason
from music_genre.features.mel import extract_first_clip
from music_genre.features.params import MelConfig
from music_genre.inference.predictor import (
    CONFIDENCE_THRESHOLD_TAG,
    DEFAULT_CONFIDENCE_THRESHOLD,
    ClipBatch,
    extract_clip_batch,
    feature_notes,
    format_prediction,
    threshold_from_tags,
)
from music_genre.models.bundle import Answer, BundleManifest

RATE = 8000
TRANSFORM = MelConfig(sample_rate_hz=RATE, n_fft=512, hop_length=400, n_mels=16, n_frames=40, clip_duration_s=2.5)
CLIP_DURATION_S = 2.0  # of the frames: 40 hops of 400 samples
GENRES = ("Blues", "R&B", "Rock")


def manifest(transform: MelConfig | None = TRANSFORM, min_duration_s: float = 1.0) -> BundleManifest:
    return BundleManifest("crnn", (), 1.0, GENRES, (40, 16), transform, 1, min_duration_s)


def noise(seconds: float, rate: int = RATE) -> AudioSignal:
    samples = np.random.default_rng(1).normal(0, 0.1, int(seconds * rate)).astype(np.float32)
    return AudioSignal(samples, rate)


def intervals(clips: ClipBatch) -> list[tuple[float, float]]:
    return list(zip(clips.start_seconds.tolist(), clips.end_seconds.tolist(), strict=True))


def clips_at(*seconds: float) -> ClipBatch:
    """Clips that begin at ``seconds``, of a recording of 9 s."""
    starts = np.array(seconds)
    rising = np.broadcast_to(np.linspace(-60, -20, 40)[:, None], (len(starts), 40, 16))
    return ClipBatch(rising, starts, starts + CLIP_DURATION_S, 9.0)


def answer(probabilities: list[list[float]]) -> Answer:
    return Answer(np.array(probabilities, np.float32), np.empty((len(probabilities), 0), np.float32))


def predict(clips: ClipBatch, probabilities: list[list[float]], timeline: bool = False) -> dict:
    return format_prediction(clips, answer(probabilities), manifest(), DEFAULT_CONFIDENCE_THRESHOLD, timeline)


@pytest.mark.parametrize("seconds", [0.0125, 0.5, 0.999])
def test_recording_below_the_minimum_duration_is_short(seconds: float) -> None:
    with pytest.raises(AudioError, match=f"{seconds:.1f} s; the minimum duration is 1 s") as error:
        extract_clip_batch(noise(seconds), manifest())
    assert error.value.reason == IssueReason.SHORT


def test_minimum_duration_is_the_models() -> None:
    assert len(extract_clip_batch(noise(1.0), manifest(min_duration_s=1.0)).mel) == 1
    with pytest.raises(AudioError) as error:
        extract_clip_batch(noise(1.0), manifest(min_duration_s=10.0))
    assert error.value.reason == IssueReason.SHORT


def test_silence_is_silent() -> None:
    with pytest.raises(AudioError) as error:
        extract_clip_batch(AudioSignal(np.zeros(5 * RATE, np.float32), RATE), manifest())
    assert error.value.reason == IssueReason.SILENT


def test_model_without_transform_takes_no_audio() -> None:
    with pytest.raises(AudioError, match="ready spectrograms") as error:
        extract_clip_batch(noise(5), manifest(transform=None))
    assert error.value.reason == IssueReason.UNSUPPORTED


@pytest.mark.parametrize("rate", [RATE, 11_025])
def test_recording_of_one_clip_has_the_features_of_training(rate: int) -> None:
    recording = noise(2.4, rate)
    clips = extract_clip_batch(recording, manifest())
    np.testing.assert_array_equal(clips.mel, extract_first_clip(recording, TRANSFORM)[None])
    assert clips.mel.dtype == np.float32
    assert intervals(clips) == [(0.0, CLIP_DURATION_S)]
    assert clips.duration_s == pytest.approx(2.4)


def test_last_clip_ends_with_the_recording() -> None:
    assert intervals(extract_clip_batch(noise(1.5), manifest())) == [(0.0, 1.5)]


def test_clips_cover_a_song_without_gaps() -> None:
    clips = extract_clip_batch(noise(9), manifest())
    starts, ends = clips.start_seconds, clips.end_seconds
    assert starts[0] == 0
    assert ends[-1] == pytest.approx(9)
    np.testing.assert_allclose(ends - starts, CLIP_DURATION_S)
    assert (starts[1:] < ends[:-1]).all()
    assert clips.mel.shape == (len(starts), 40, 16)


def test_silent_clips_are_left_out() -> None:
    # The clips begin at 0, 1, ... 10 s. Those from 4 to 7 s are silent in all their frames; that of 7 s has sound only
    # after its frames: a clip is longer than the frames that are kept of it.
    recording = noise(12)
    recording.samples[4 * RATE : 9 * RATE] = 0
    clips = extract_clip_batch(recording, manifest())
    assert clips.start_seconds.tolist() == [0, 1, 2, 3, 8, 9, 10]
    assert (clips.mel.max(axis=(1, 2)) > -80).all()
    assert clips.end_seconds[-1] == pytest.approx(12)


def test_prediction_is_the_mean_over_clips() -> None:
    result = predict(clips_at(0, 3, 6), [[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.1, 0.1, 0.8]])
    assert result["genre"] == "Rock"
    assert result["probabilities"] == pytest.approx({"Blues": 0.8 / 3, "R&B": 0.6 / 3, "Rock": 1.6 / 3})
    assert result["confidence"] == result["probabilities"]["Rock"]
    assert result["duration_seconds"] == 9.0
    assert "segments" not in result


def test_probabilities_are_in_label_order_and_sum_to_one() -> None:
    result = predict(clips_at(0), [[0.2, 0.3, 0.5]], timeline=True)
    assert list(result["probabilities"]) == list(GENRES)
    assert list(result["segments"][0]["probabilities"]) == list(GENRES)
    assert sum(result["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("row", "confident"), [([0.5, 0.25, 0.25], True), ([0.49, 0.48, 0.03], False), ([0.0, 0.0, 1.0], True)]
)
def test_default_confidence_threshold_is_one_half(row: list[float], confident: bool) -> None:
    assert predict(clips_at(0), [row])["confident"] is confident


def test_confidence_threshold_of_a_version_is_in_its_tags() -> None:
    confident = [
        format_prediction(clips_at(0), answer([[0.62, 0.3, 0.08]]), manifest(), threshold_from_tags(tags))["confident"]
        for tags in ({}, {CONFIDENCE_THRESHOLD_TAG: "0.61"}, {CONFIDENCE_THRESHOLD_TAG: "0.63"})
    ]
    assert confident == [True, True, False]


def test_timeline_has_the_prediction_of_each_clip() -> None:
    segments = predict(clips_at(0, 3.33333), [[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]], timeline=True)["segments"]
    assert [(s["start_seconds"], s["end_seconds"], s["genre"]) for s in segments] == [
        (0.0, 2.0, "Blues"),
        (3.333, 5.333, "Rock"),
    ]
    assert segments[1]["probabilities"] == pytest.approx({"Blues": 0.1, "R&B": 0.2, "Rock": 0.7})
    assert set(segments[0]) == {"start_seconds", "end_seconds", "genre", "probabilities"}


def test_prediction_is_plain_json() -> None:
    result = predict(clips_at(0, 3), [[1 / 3] * 3] * 2, timeline=True)
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize(("level_std_db", "confident"), [(0.3, False), (0.7, True)])
def test_prediction_of_a_steady_level_is_noted_and_not_confident(level_std_db: float, confident: bool) -> None:
    level = -40 + level_std_db * np.where(np.arange(40) % 2, 1.0, -1.0)
    mel = np.broadcast_to(level[:, None], (1, 40, 16))
    result = predict(ClipBatch(mel, np.zeros(1), np.ones(1), 1.0, feature_notes(mel, TRANSFORM)), [[0.0, 0.0, 1.0]])
    assert (result["confident"], "notes" in result) == (confident, not confident)


def test_one_varied_clip_is_enough_for_confidence() -> None:
    varied, steady = np.linspace(-60, -20, 40), np.full(40, -40.0)
    mel = np.repeat(np.stack([varied, steady])[:, :, None], 16, axis=2)
    notes = feature_notes(mel, TRANSFORM)
    assert predict(ClipBatch(mel, np.zeros(2), np.ones(2), 2.0, notes), [[0.0, 0.0, 1.0]] * 2)["confident"]


@pytest.mark.parametrize(("highest_hz", "confident"), [(1_500, False), (3_500, True)])
def test_prediction_without_the_upper_half_of_the_frequencies_is_noted_and_not_confident(
    highest_hz: int, confident: bool
) -> None:
    # The transform looks at 0 to 4 kHz.
    n = int(2.4 * RATE)  # one clip
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(0, 0.1, n) * np.linspace(0.1, 1, n))
    spectrum[np.fft.rfftfreq(n, 1 / RATE) > highest_hz] = 0
    samples = np.fft.irfft(spectrum) * np.hanning(n)  # without the edges, which reach every band
    clips = extract_clip_batch(AudioSignal(samples.astype(np.float32), RATE), manifest())
    result = predict(clips, [[0.0, 0.0, 1.0]] * len(clips.mel))
    assert result["confident"] == confident
    assert [note["code"] for note in result.get("notes", [])] == ([] if confident else ["band_limited"])


def test_notes_of_the_decoder_are_sentences_and_leave_confidence_alone() -> None:
    note = AudioNote(IssueReason.DAMAGED, "a damaged part was skipped; 2.0 s could be decoded")
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE) * np.linspace(0.1, 1, 3 * RATE)
    clips = extract_clip_batch(AudioSignal(noise.astype(np.float32), RATE, notes=(note,)), manifest())
    result = predict(clips, [[0.0, 0.0, 1.0]] * len(clips.mel))
    assert result["confident"]
    message = "A damaged part was skipped; 2.0 s could be decoded."
    assert result["notes"] == [{"code": "damaged", "message": message}]
