"""A model's card: everything a stranger asks, from nothing but facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from music_genre.features.mel import MelConfig
from music_genre.models.bundle import BundleManifest, Member
from music_genre.reporting import model_card as card
from music_genre.reporting.model_card import Facts

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TRANSFORM = MelConfig(sample_rate_hz=22050, n_fft=2048, hop_length=1024, n_mels=128, frames=640, clip_duration_s=31)


def facts(genres: tuple[str, ...] = ("Folk", "Rock")) -> Facts:
    members = tuple(Member(name, 0.5, 1.2, f"{name}.keras") for name in ("crnn", "parallel"))
    figures = {
        "accuracy": 0.5,
        "accuracy_low": 0.4,
        "accuracy_high": 0.6,
        "macro_f1": 0.45,
        "macro_f1_low": 0.35,
        "macro_f1_high": 0.55,
        "log_loss": 1.25,
        "ece": 0.05,
    }
    tracks = pd.DataFrame(
        [(genre, split, artist, "CC BY 4.0") for genre in genres for split in SPLITS for artist in (1, 2)],
        columns=["genre", "split", "artist_id", "license"],
    )
    tracks.loc[0, "license"] = None
    return Facts(
        registered="music-genre",
        packing=BundleManifest("ensemble", members, 0.9, genres, (640, 128), TRANSFORM, 10.0),
        digest="d" * 64,
        parameters=218_680,
        run_id="r" * 32,
        tags={
            "data_source": "fma",
            "data_digest": "0123.dir",
            "params_digest": "abcdef012345",
            "git_commit": COMMIT,
            "git_dirty": "false",
        },
        tracks=tracks,
        metrics={"validation": figures, "test": figures | {"accuracy": 0.44}},
        classes=pd.DataFrame([(g, 0.25, 0.75, 0.375, 2) for g in genres], columns=COLUMNS),
        predictions=pd.DataFrame(
            {"actual": [genres[0]] * 3 + [genres[1]], "predicted": [genres[1], genres[1], genres[0], genres[1]]}
        ),
    )


SPLITS = ("training", "validation", "test")
COLUMNS = ["genre", "precision", "recall", "f1", "support"]


@pytest.mark.parametrize(
    "told",
    [
        "# music-genre: ensemble\n",
        "one of 2, with a probability for each: Folk, Rock",
        "29.7 s of mono sound at 22050 Hz",
        "crnn (weight 0.50), parallel (weight 0.50)",
        "218,680 trained figures",
        "calibrated on the validation clips",
        "| training | 4 | 2 |",
        "| CC BY 4.0 | 11 |",
        "| unknown | 1 |",
        "| test | 44.0% (40.0% to 60.0%) | 45.0% (35.0% to 55.0%) | 1.250 | 0.050 |",
        "| Folk | 2 | 2 | 0.25 | 0.75 | 0.38 |",
        "| Folk | Rock | 2 |",
        "pay, rights",
        f"| git commit | {COMMIT} |",
        "| params digest | abcdef012345 |",
        "| data digest (DVC, `data/spectrograms`) | 0123.dir |",
        f"| model digest (SHA-256) | {'d' * 64} |",
        f"git checkout --quiet --detach {COMMIT}\ndvc repro evaluate\n",
    ],
)
def test_a_card_tells(told: str) -> None:
    assert told in card.markdown(facts())


def test_the_same_facts_are_the_same_card() -> None:
    assert card.markdown(facts()) == card.markdown(facts())


def test_a_card_of_the_sample_says_that_nobody_played_it() -> None:
    text = card.markdown(replace(facts(), tags={**facts().tags, "data_source": "sample"}))
    assert "synthesised" in text
    assert "On real music its answers mean nothing." in text
    assert "synthesised" not in card.markdown(facts())


def test_a_model_of_changed_files_is_made_again_with_the_changes() -> None:
    text = card.markdown(replace(facts(), tags={**facts().tags, "git_dirty": "true"}))
    fetched, applied = text.index("--artifact-path changes.patch"), text.index("git apply changes.patch")
    assert text.index(f"--detach {COMMIT}") < fetched < applied < text.index("dvc repro evaluate")


def test_a_model_from_outside_git_promises_no_commands() -> None:
    tags = {key: value for key, value in facts().tags.items() if not key.startswith("git_")}
    assert "```" not in card.markdown(replace(facts(), tags=tags))


def test_a_model_without_mistakes_has_no_confusions() -> None:
    right = pd.DataFrame({"actual": ["Folk"], "predicted": ["Folk"]})
    assert "None on the test clips." in card.markdown(replace(facts(), predictions=right))


def test_a_model_of_ready_spectrograms_hears_no_audio() -> None:
    packing = replace(facts().manifest, transform=None)
    assert "takes ready spectrograms and no audio" in card.markdown(replace(facts(), packing=packing))


@pytest.mark.parametrize("render", [card.markdown, lambda f: card.page(card.markdown(f), "title")])
def test_a_hostile_genre_ends_no_cell_and_begins_no_tag(render: Callable[[Facts], str]) -> None:
    text = render(facts(("A|B\n## C", "<script>alert(1)</script>")))
    assert "<script" not in text
    assert "\n## C" not in text


def test_a_card_without_a_run_says_nothing_of_how_it_was_made() -> None:
    text = card.markdown(replace(facts(), run_id="", tags={"data_source": "fma"}))
    assert "Source `fma`" in text
    assert "Make it again" not in text
    assert COMMIT not in text


def test_headings_are_lowered_where_a_card_is_part_of_a_page() -> None:
    html = card.rendered("# A\n\n## B\n", below=2)
    assert html == "<h3>A</h3>\n<h4>B</h4>\n"


def test_the_page_shows_tables_and_commands() -> None:
    page = card.page(card.markdown(facts()), "music-genre: ensemble")
    assert page.count("<table>") == 6
    assert "<title>music-genre: ensemble</title>" in page
    assert "dvc repro evaluate\n" in page


def test_a_long_card_fits_a_description_and_says_where_the_rest_is() -> None:
    whole = card.markdown(facts(tuple(f"Genre {number:03}" for number in range(100))))
    short = card.description(whole)
    assert len(short) <= card.LONGEST_DESCRIPTION < len(whole)
    assert "model_card.html" in short.splitlines()[-1]
    assert "dvc repro evaluate" in short
    assert card.description("a card") == "a card"
