"""Recordings as spans."""

from __future__ import annotations

import numpy as np
import pytest

from music_genre.audio.signal import AudioSignal
from music_genre.encoders.description import EncoderConfig
from music_genre.features.mel import extract_clips, log_mel
from music_genre.features.params import SPECTROGRAMS, MelConfig
from music_genre.inference import timeline
from music_genre.inference.predictor import extract_clip_batch, format_prediction
from music_genre.inference.timeline import Timeline, make_mel_timeline, make_window_timeline
from music_genre.models.bundle import Answer, BundledMember, BundleManifest

RATE = 8000
TRANSFORM = MelConfig(sample_rate_hz=RATE, n_fft=512, hop_length=400, n_mels=16, n_frames=36, clip_duration_s=2.0)
CLIP_SAMPLES = 36 * 400  # of the frames: 1.8 s
MANIFEST = BundleManifest("crnn", (BundledMember("crnn", 1.0, 1.0, "f"),), 1.0, ("A", "B"), (36, 16), TRANSFORM, 1, 1.0)


def noise(seconds: float, rate: int = RATE) -> AudioSignal:
    rng = np.random.default_rng(1)
    loudness = np.repeat(rng.uniform(0.01, 0.3, int(seconds * 20)), rate // 20)
    return AudioSignal((rng.normal(0, 1, len(loudness)) * loudness).astype(np.float32), rate)


def timeline_of(recording: AudioSignal) -> Timeline:
    spans = extract_clip_batch(recording, MANIFEST, timeline=True).timeline
    assert spans is not None
    return spans


@pytest.mark.parametrize("seconds", [2.05, 2.4, 3.0, 9.0, 9.55])
def test_spans_are_at_least_a_third_of_a_clip_and_follow_each_other(seconds: float) -> None:
    spans = timeline_of(noise(seconds))
    starts, ends = spans.start_seconds, spans.end_seconds
    assert (starts[0], ends[-1]) == (0, pytest.approx(seconds))
    np.testing.assert_allclose(starts[1:], ends[:-1])
    assert (ends - starts).min() > 0.6 - 1e-9
    assert (ends - starts).max() < 0.8
    assert spans.inputs[SPECTROGRAMS].shape == (len(starts), 36, 16)
    assert spans.inputs[SPECTROGRAMS].dtype == np.float32


@pytest.mark.parametrize("seconds", [2.05, 3.0, 9.55])
def test_only_the_first_and_the_last_span_are_edges(seconds: float) -> None:
    assert timeline_of(noise(seconds)).is_edge.tolist()[1:-1] == [False] * (
        len(timeline_of(noise(seconds)).is_edge) - 2
    )
    assert timeline_of(noise(seconds)).is_edge[[0, -1]].all()


def test_each_span_has_the_spectrogram_of_a_clip_about_its_middle() -> None:
    recording = noise(9)
    spans = timeline_of(recording)
    for number in range(1, len(spans.start_seconds) - 1):
        middle = (spans.start_seconds[number] + spans.end_seconds[number]) / 2
        first = int(middle * RATE - CLIP_SAMPLES / 2)
        expected = log_mel(recording.samples[first : first + 2 * RATE], TRANSFORM)
        np.testing.assert_array_equal(spans.inputs[SPECTROGRAMS][number], expected)


def test_first_and_last_span_have_the_first_and_last_clip() -> None:
    recording = noise(9)
    spans, (_, clips) = timeline_of(recording), extract_clips(recording, TRANSFORM)
    np.testing.assert_array_equal(spans.inputs[SPECTROGRAMS][[0, -1]], clips[[0, -1]])


def test_recording_at_another_rate_is_resampled_first() -> None:
    recording = noise(4, 16_000)
    (_, clips) = extract_clips(recording, TRANSFORM)
    np.testing.assert_array_equal(timeline_of(recording).inputs[SPECTROGRAMS][0], clips[0])


@pytest.mark.parametrize("seconds", [1.0, 1.9, 2.0])
def test_recording_of_one_clip_has_no_spans(seconds: float) -> None:
    assert extract_clip_batch(noise(seconds), MANIFEST, timeline=True).timeline is None


def test_no_timeline_unless_asked_for() -> None:
    assert extract_clip_batch(noise(9), MANIFEST).timeline is None


def test_spans_in_silence_are_left_out() -> None:
    recording = noise(12)
    recording.samples[4 * RATE : 9 * RATE] = 0
    spans = timeline_of(recording)
    assert (spans.inputs[SPECTROGRAMS].max(axis=(1, 2)) > -80).all()
    middles = (spans.start_seconds + spans.end_seconds) / 2
    assert not ((middles > 5) & (middles < 8)).any()
    assert (middles < 4).sum() > 4
    assert (middles > 9).sum() > 3


def test_spans_of_long_recordings_are_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MAX_SPANS", 5)
    spans = timeline_of(noise(9))
    np.testing.assert_allclose(spans.end_seconds - spans.start_seconds, 9 / 5)


def test_segments_are_the_spans_and_say_which_are_edges() -> None:
    clips = extract_clip_batch(noise(3), MANIFEST, timeline=True)
    answer = Answer(np.array([[0.4, 0.6]] * len(clips.mel), np.float32), np.empty((len(clips.mel), 0), np.float32))
    rows = np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.2, 0.8], [0.3, 0.7]], np.float32)
    prediction = format_prediction(clips, answer, MANIFEST, 0.5, timeline=True, span_probabilities=rows)
    assert prediction["confidence"] == pytest.approx(0.6), "the answer is that of the clips"
    segments = prediction["segments"]
    assert [segment["genre"] for segment in segments] == ["A", "B", "B", "B", "B"]
    assert ["edge" in segment for segment in segments] == [True, False, False, False, True]
    assert segments[0]["edge"] is True


def test_timeline_of_silence_is_none() -> None:
    silence = AudioSignal(np.zeros(5 * RATE, np.float32), RATE)
    assert make_mel_timeline(silence, silence.samples, TRANSFORM) is None


def test_windows_of_an_encoder_are_about_the_middle_of_spans_of_half_a_window() -> None:
    encoder = EncoderConfig(
        name="test",
        sample_rate_hz=1000,
        window_length=300,
        hop_length=200,
        dimension=6,
        level_dbfs=None,
        license="none",
        trained_on="nothing",
        source="here",
        sha256="0" * 64,
    )
    audio = np.arange(3000, dtype=np.float32)
    spans = make_window_timeline(audio, "test", encoder)
    windows = spans.inputs["test"]
    assert windows.shape == (20, 1, 300)
    middles = 500 * (spans.start_seconds + spans.end_seconds)
    np.testing.assert_allclose(windows[1:-1, 0, 150], middles[1:-1], atol=1)
    assert (windows[0, 0, 0], windows[-1, 0, -1]) == (0, 2999)
    assert spans.is_edge.tolist() == [True, *[False] * 18, True]
