"""A model's card: what readers and Hugging Face's tools look for, whatever genres and licences are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import yaml

from music_genre.features.params import MelConfig
from music_genre.models.bundle import BundledMember, BundleManifest
from music_genre.reporting.model_card import (
    MAX_DESCRIPTION_CHARS,
    CardContext,
    join_clips,
    render_card,
    render_card_page,
    to_html,
    version_description,
)
from music_genre.tracking.provenance import GIT_COMMIT_TAG, GIT_DIRTY_TAG

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TRANSFORM = MelConfig(sample_rate_hz=22050, n_fft=2048, hop_length=1024, n_mels=128, n_frames=640, clip_duration_s=31)
HEADINGS = [
    "Model description",
    "Training data",
    "Evaluation results",
    "Intended uses and limitations",
    "Provenance",
    "How to reproduce",
]

Parse = Callable[[str], Any]


def context_of(*genres: str) -> CardContext:
    """An ensemble of two networks, with two clips of each genre in each split."""
    metrics = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "log_loss": 1.25, "ece": 0.05}
    metrics |= {"macro_f1": 0.45, "macro_f1_low": 0.35, "macro_f1_high": 0.55}
    clips = pd.DataFrame(
        [
            (genre, split, artist, "CC BY 4.0")
            for genre in genres
            for split in ("training", "validation", "test")
            for artist in (1, 2)
        ],
        columns=["genre", "split", "artist_id", "license"],
    )
    clips.loc[0, "license"] = None
    clips["listed_genre"] = clips["genre"]
    members = tuple(BundledMember(name, 0.5, 1.2, f"{name}.keras", "spectrograms") for name in ("crnn", "parallel"))
    return CardContext(
        registered_name="music-genre",
        manifest=BundleManifest("ensemble", members, 0.9, genres, (640, 128), TRANSFORM, 1, 10.0),
        digest="d" * 64,
        n_parameters=218_680,
        tags={
            "data_source": "fma",
            "data_digest": "0123.dir",
            "params_digest": "abcdef012345",
            GIT_COMMIT_TAG: COMMIT,
            GIT_DIRTY_TAG: "false",
        },
        run_id="r" * 32,
        clips=clips,
        metrics={"validation": metrics, "test": metrics | {"accuracy": 0.44}},
        per_class=pd.DataFrame(
            {"genre": genres, "precision": 0.25, "recall": 0.75, "f1": 0.375, "support": 2},
        ),
        predictions=pd.DataFrame(
            {"actual": [genres[0]] * 3 + [genres[1]], "predicted": [genres[1], genres[1], genres[0], genres[1]]}
        ),
    )


@pytest.fixture
def context() -> CardContext:
    return context_of("Folk", "Rock")


@pytest.mark.parametrize(
    "text",
    [
        "# music-genre: ensemble\n",
        "into 2 genres and gives a probability for each: Folk, Rock.",
        "29.7 s of mono audio at 22050 Hz, as a log-mel spectrogram of 640 frames and 128 bands.",
        "crnn (weight 0.50), parallel (weight 0.50).",
        "218,680 parameters",
        "calibrated by temperature scaling on the validation clips",
        "| training | 4 | 2 |",
        "| CC BY 4.0 | 11 |",
        "| unknown | 1 |",
        "| test | 44.0 % (40.0 to 60.0) | 45.0 % (35.0 to 55.0) | 1.250 | 0.050 |",
        "| Folk | 2 | 2 | 0.25 | 0.75 | 0.38 |",
        "| Folk | Rock | 2 |",
        "pay, rights",
        f"| git commit | {COMMIT} |",
        "| uncommitted changes | none |",
        "| digest of the params | abcdef012345 |",
        "| digest of the data (DVC, data/spectrograms) | 0123.dir |",
        f"| digest of the model (SHA-256) | {'d' * 64} |",
        f"git checkout --quiet --detach {COMMIT}\ndvc repro compare\n",
    ],
)
def test_card_says(context: CardContext, text: str) -> None:
    assert text in render_card(context)


def test_headings_are_those_of_hugging_face(context: CardContext) -> None:
    headings = [line.removeprefix("## ") for line in render_card(context).splitlines() if line.startswith("## ")]
    assert headings == [*HEADINGS, "Per-genre results", "Most frequent confusions"]


@pytest.mark.parametrize(
    ("file", "trained", "library"),
    [("a.onnx", "a.keras", "keras"), ("a.keras", "", "keras"), ("a.skops", "", "sklearn"), ("a.onnx", "", "onnx")],
)
def test_front_matter_is_metadata_of_the_model_hub(context: CardContext, file: str, trained: str, library: str) -> None:
    members = tuple(replace(member, file=file, trained=trained) for member in context.manifest.members)
    source = 'a: "b"\n---\n# c'
    changed = replace(
        context, manifest=replace(context.manifest, members=members), tags={**context.tags, "data_source": source}
    )
    front_matter = render_card(changed).split("---\n\n# music-genre", 1)[0].removeprefix("---\n")
    metadata = yaml.safe_load(front_matter)
    assert (metadata["license"], metadata["library_name"]) == ("other", library)
    assert "audio-classification" in metadata["tags"]
    assert metadata["metrics"] == ["accuracy", "f1"]
    (result,) = metadata["model-index"][0]["results"]
    assert result["dataset"]["name"] == source
    assert [(metric["type"], metric["value"]) for metric in result["metrics"]] == [("accuracy", 0.44), ("f1", 0.45)]


@pytest.mark.parametrize(
    "genre",
    [
        "A|B\n## C",
        "<script>alert(1)</script>",
        "R&B",
        "&lt;b&gt;",
        "`code`",
        "**Rock** *n* _Roll_",
        "[link](https://example.org)",
        "![image](x.png)",
        "back\\slash",
        "# heading",
        "---",
    ],
)
def test_genre_of_any_name_is_text_in_every_form_of_the_card(genre: str, parse: Parse) -> None:
    card = render_card(context_of(genre, "Rock"))
    name = genre.replace("\n", " ")
    assert "<script" not in card
    page = parse(render_card_page(card, genre))
    assert page.tables["genre training clips test clips precision recall F1"][1] == [
        name,
        "2",
        "2",
        "0.25",
        "0.75",
        "0.38",
    ]
    assert page.tables["actual predicted test clips"][1] == [name, "Rock", "2"]
    assert f"gives a probability for each: {name}, Rock." in page.text
    assert page.references == []
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "b", "em", "strong"})
    assert len(page.attributes("h2")) == len(HEADINGS) + 2


@pytest.mark.parametrize("source", ["sample", "fma+sample"])
def test_card_of_the_sample_warns_of_synthetic_audio(context: CardContext, source: str) -> None:
    text = render_card(replace(context, tags={**context.tags, "data_source": source}))
    assert "Its audio is synthetic" in text
    assert "Its predictions for real music mean nothing." in text
    assert "synthetic" not in render_card(context)


def test_uncommitted_changes_are_applied_before_reproducing(context: CardContext) -> None:
    text = render_card(replace(context, tags={**context.tags, GIT_DIRTY_TAG: "true"}))
    downloaded, applied = text.index("--artifact-path changes.patch"), text.index("git apply changes.patch")
    assert text.index(f"--detach {COMMIT}") < downloaded < applied < text.index("dvc repro compare")


def test_model_from_outside_git_has_no_commands(context: CardContext) -> None:
    tags = {key: value for key, value in context.tags.items() if key not in (GIT_COMMIT_TAG, GIT_DIRTY_TAG)}
    text = render_card(replace(context, tags=tags))
    assert "```" not in text
    assert "outside git" in text


def test_card_before_a_run_has_no_provenance(context: CardContext) -> None:
    text = render_card(replace(context, run_id="", tags={"data_source": "fma"}))
    assert "Data source `fma`." in text
    assert "## Provenance" not in text
    assert "## How to reproduce" not in text


def test_one_network_is_no_ensemble_and_says_whether_it_is_calibrated(context: CardContext) -> None:
    member = BundledMember("crnn", 1.0, 1.0, "crnn.keras", "spectrograms")
    text = render_card(replace(context, manifest=replace(context.manifest, members=(member,), temperature=1.0)))
    assert "as trained, not calibrated" in text
    assert "Ensemble" not in text


def test_model_of_ready_spectrograms_takes_no_audio(context: CardContext) -> None:
    text = render_card(replace(context, manifest=replace(context.manifest, transform=None)))
    assert "Input: a ready log-mel spectrogram of 640 frames and 128 bands, no audio." in text


def test_model_without_errors_has_no_confusions(context: CardContext) -> None:
    correct = pd.DataFrame({"actual": ["Folk"], "predicted": ["Folk"]})
    assert "None on test." in render_card(replace(context, predictions=correct))


def test_many_licences_are_cut(context: CardContext) -> None:
    clips = pd.concat([context.clips.assign(license=f"licence {number}") for number in range(12)])
    text = render_card(replace(context, clips=clips))
    assert text.count("| licence ") == 1 + 10
    assert "2 more licences are in `data/tracks.parquet`." in text


def test_headings_are_lowered_where_a_card_is_part_of_a_page() -> None:
    assert to_html("# A\n\n## B\n", heading_offset=2) == "<h3>A</h3>\n<h4>B</h4>\n"


def test_page_of_a_card_has_one_title_and_its_commands(context: CardContext, parse: Parse) -> None:
    page = parse(render_card_page(render_card(context), "music-genre: ensemble"))
    assert len(page.attributes("h1")) == 1
    assert "dvc repro compare\n" in page.text
    assert "license_name" not in page.text


def test_description_is_the_card_without_front_matter(context: CardContext) -> None:
    card = render_card(context)
    description = version_description(card)
    assert description.startswith("# music-genre: ensemble\n")
    assert card.endswith(description)
    assert version_description("a card") == "a card"


def test_long_card_fits_a_description_that_says_where_the_rest_is() -> None:
    card = render_card(context_of(*(f"Genre {number:03}" for number in range(100))))
    description = version_description(card)
    assert len(description) <= MAX_DESCRIPTION_CHARS < len(card)
    assert "model_card.html" in description.splitlines()[-1]
    assert "dvc repro compare" in description


def test_clips_have_their_artists_and_licences() -> None:
    index = pd.DataFrame({"track_id": [2, 1], "genre": ["Folk", "Rock"], "split": ["test", "training"], "row": [0, 1]})
    tracks = pd.DataFrame({"track_id": [1, 2, 3], "artist_id": [7, 8, 9], "license": ["CC0", "CC BY", "MIT"]})
    clips = join_clips(index, tracks.assign(listed_genre=["Rock", "Pop", "Pop"]))
    assert clips["genre"].tolist() == ["Folk", "Rock"]
    assert clips["license"].tolist() == ["CC BY", "CC0"]
    assert clips["artist_id"].tolist() == [8, 7]
    assert clips["listed_genre"].tolist() == ["Pop", "Rock"]


def test_card_counts_the_labels_that_were_corrected(context: CardContext) -> None:
    assert "orrected by hand" not in render_card(context)
    clips = context.clips.copy()
    clips.loc[:2, "listed_genre"] = "Polka"
    text = render_card(replace(context, clips=clips))
    assert "Labels corrected by hand (`data/corrections.csv`): 3." in text
