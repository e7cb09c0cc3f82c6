"""From a recording to an answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from music_genre.errors import AudioError
from music_genre.features.audio import AudioSignal
from music_genre.features.mel import MelConfig, extract_first_clip
from music_genre.inference.predictor import CONFIDENT, Clips, answer, clips_of, confident_from
from music_genre.models.bundle import BundleManifest

RATE = 8000
TRANSFORM = MelConfig(sample_rate_hz=RATE, n_fft=512, hop_length=400, n_mels=16, frames=40, clip_duration_s=2.5)
WINDOW = 2.0
GENRES = ("Blues", "R&B", "Rock")


def packing(transform: MelConfig | None = TRANSFORM, min_duration_s: float = 1.0) -> BundleManifest:
    return BundleManifest("crnn", (), 1.0, GENRES, (40, 16), transform, min_duration_s)


def noise(seconds: float, rate: int = RATE) -> AudioSignal:
    samples = np.random.default_rng(1).normal(0, 0.1, int(seconds * rate)).astype(np.float32)
    return AudioSignal(samples, rate)


def spans(clips: Clips) -> list[tuple[float, float]]:
    return list(zip(clips.start_seconds.tolist(), clips.end_seconds.tolist(), strict=True))


def clips(*seconds: float) -> Clips:
    """Clips that begin at ``seconds``, of a recording of 9 s."""
    starts = np.array(seconds)
    return Clips(np.zeros((len(starts), 40, 16)), starts, starts + WINDOW, 9.0)


@pytest.mark.parametrize("seconds", [0.0125, 0.5, 0.999])
def test_a_recording_shorter_than_training_allowed_is_too_short(seconds: float) -> None:
    with pytest.raises(AudioError, match=f"{seconds:.1f} s; at least 1 s") as fault:
        clips_of(noise(seconds), packing())
    assert fault.value.reason == "too_short"


def test_the_model_decides_what_is_too_short() -> None:
    assert len(clips_of(noise(1.0), packing(min_duration_s=1.0)).mel) == 1
    with pytest.raises(AudioError) as fault:
        clips_of(noise(1.0), packing(min_duration_s=10.0))
    assert fault.value.reason == "too_short"


def test_a_recording_without_sound_is_silent() -> None:
    with pytest.raises(AudioError) as fault:
        clips_of(AudioSignal(np.zeros(5 * RATE, np.float32), RATE), packing())
    assert fault.value.reason == "silent"


def test_a_model_of_ready_spectrograms_does_not_hear_audio() -> None:
    with pytest.raises(AudioError, match="ready spectrograms") as fault:
        clips_of(noise(5), packing(transform=None))
    assert fault.value.reason == "unsupported"


@pytest.mark.parametrize("rate", [RATE, 11_025])
def test_what_one_clip_spans_is_heard_as_training_heard_it(rate: int) -> None:
    recording = noise(2.4, rate)
    heard = clips_of(recording, packing())
    np.testing.assert_array_equal(heard.mel, extract_first_clip(recording, TRANSFORM)[None])
    assert heard.mel.dtype == np.float32
    assert spans(heard) == [(0.0, WINDOW)]
    assert heard.seconds == pytest.approx(2.4)


def test_a_clip_ends_with_its_recording_at_the_latest() -> None:
    assert spans(clips_of(noise(1.5), packing())) == [(0.0, 1.5)]


def test_a_song_is_heard_from_its_first_to_its_last_second() -> None:
    heard = clips_of(noise(9), packing())
    starts, ends = heard.start_seconds, heard.end_seconds
    assert starts[0] == 0
    assert ends[-1] == pytest.approx(9)
    np.testing.assert_allclose(ends - starts, WINDOW)
    assert (starts[1:] < ends[:-1]).all(), "a part of the song lies between two clips"
    assert heard.mel.shape == (len(starts), 40, 16)


def test_a_clip_of_which_nothing_is_seen_but_silence_is_left_out() -> None:
    # The clips lie at 0, 1, ... 10 s. Those from 4 to 7 s are silent; the last of them would hear, and not see, what
    # begins at 9 s: a clip spans more audio than its frames show.
    recording = noise(12)
    recording.samples[4 * RATE : 9 * RATE] = 0
    heard = clips_of(recording, packing())
    assert heard.start_seconds.tolist() == [0, 1, 2, 3, 8, 9, 10]
    assert (heard.mel.max(axis=(1, 2)) > -80).all()
    assert heard.end_seconds[-1] == pytest.approx(12)


def test_the_answer_is_the_mean_over_the_clips() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.1, 0.1, 0.8]], np.float32)
    result = answer(clips(0, 3, 6), probabilities, GENRES, CONFIDENT, timeline=False)
    assert result["genre"] == "Rock"
    assert result["probabilities"] == pytest.approx({"Blues": 0.8 / 3, "R&B": 0.6 / 3, "Rock": 1.6 / 3})
    assert result["confidence"] == result["probabilities"]["Rock"]
    assert result["seconds"] == 9.0
    assert "segments" not in result


def test_probabilities_come_in_label_order_and_sum_to_one() -> None:
    result = answer(clips(0), np.array([[0.2, 0.3, 0.5]], np.float32), GENRES, CONFIDENT, timeline=True)
    assert list(result["probabilities"]) == list(GENRES)
    assert list(result["segments"][0]["probabilities"]) == list(GENRES)
    assert sum(result["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("row", "confident"), [([0.5, 0.25, 0.25], True), ([0.49, 0.48, 0.03], False), ([0.0, 0.0, 1.0], True)]
)
def test_an_answer_is_confident_from_a_half(row: list[float], confident: bool) -> None:
    assert answer(clips(0), np.array([row]), GENRES, CONFIDENT, timeline=False)["confident"] is confident


def test_a_version_that_validation_has_set_a_threshold_for_keeps_to_it() -> None:
    probabilities = np.array([[0.62, 0.3, 0.08]])
    told = [
        answer(clips(0), probabilities, GENRES, confident_from(tags), timeline=False)["confident"]
        for tags in ({}, {"validation_confident_from": "0.61"}, {"validation_confident_from": "0.63"})
    ]
    assert told == [True, True, False]


def test_the_timeline_says_when_what_is_heard() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]], np.float32)
    segments = answer(clips(0, 3.33333), probabilities, GENRES, CONFIDENT, timeline=True)["segments"]
    assert [(s["start_seconds"], s["end_seconds"], s["genre"]) for s in segments] == [
        (0.0, 2.0, "Blues"),
        (3.333, 5.333, "Rock"),
    ]
    assert segments[1]["probabilities"] == pytest.approx({"Blues": 0.1, "R&B": 0.2, "Rock": 0.7})
    assert set(segments[0]) == {"start_seconds", "end_seconds", "genre", "probabilities"}


def test_an_answer_is_plain_json() -> None:
    result = answer(clips(0, 3), np.full((2, 3), 1 / 3, np.float32), GENRES, CONFIDENT, timeline=True)
    assert json.loads(json.dumps(result)) == result
