"""The page says what the tables say, safely, and reaches for nothing outside."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml

from music_genre.evaluation import model_comparison as disagreement
from music_genre.models.bundle import NAMES
from music_genre.registry.gate import Candidate, Criterion, GateResult
from music_genre.reporting.findings import Findings
from music_genre.reporting.page import page

EVIL = "<script>alert(1)</script>"
GENRES = ("Folk", "Rock")
FIGURES = {
    "accuracy": 0.75,
    "accuracy_low": 0.6,
    "accuracy_high": 0.85,
    "macro_f1": 0.7,
    "macro_f1_low": 0.55,
    "macro_f1_high": 0.8,
    "log_loss": 0.9,
    "ece": 0.05,
}


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def findings() -> Findings:
    answers = {
        name: pd.DataFrame(
            {
                "track_id": [1, 2, 3],
                "split": "test",
                "actual": ["Folk", "Rock", "Rock"],
                "predicted": predicted,
                "confidence": [0.9, 0.8, 0.6],
            }
        )
        for name, predicted in {
            "crnn": ["Folk", "Folk", "Rock"],
            "parallel": ["Rock", "Folk", "Rock"],
            "ensemble": ["Folk", "Folk", "Rock"],
        }.items()
    }
    clips = disagreement.side_by_side(answers)
    clips["right"] = disagreement.who_is_right(clips, "crnn", "parallel")
    comparison = pd.DataFrame(
        [
            {"model": name, "split": split, **FIGURES, "parameters": 1234}
            for name in NAMES
            for split in ("validation", "test")
        ]
    )
    per_class = pd.DataFrame(
        {"split": "test", "genre": list(GENRES), "precision": 0.5, "recall": 0.4, "f1": 0.44, "support": [1, 2]}
    )
    outcome = {"column": "seconds", "severity": "warning", "success": False, "unexpected_count": 17}
    return Findings(
        source="folder",
        recipes={"crnn": "improved", "parallel": "published"},
        splits=pd.DataFrame({"genre": list(GENRES), "training_tracks": [5, 6], "test_tracks": [1, 2]}),
        faults=pd.DataFrame({"track_id": [9], "severity": ["dropped"], "reason": ["silent"]}),
        checks={"success": True, "suites": {"tracks": {"success": True, "expectations": [outcome]}}},
        comparison=comparison,
        paired=pd.DataFrame(
            [
                {
                    "split": "test",
                    "first": "crnn",
                    "second": "parallel",
                    "difference": 0.1,
                    "first_only": 4,
                    "second_only": 1,
                    "p_value": 0.04,
                }
            ]
        ),
        per_class=dict.fromkeys(NAMES, per_class),
        judged=GateResult(
            Candidate("crnn", 1234, {}, pd.DataFrame()), [Criterion("validation_macro_f1", 0.7, 0.3, True)]
        ),
        clips=clips.assign(path=["a b/ü.mp3", 'c"d.mp3', None], title=[EVIL, "Song", None]),
        by_genre=disagreement.by_genre(clips, "crnn", "parallel", "ensemble"),
        confusions=disagreement.confusions(clips, "ensemble").assign(model="ensemble"),
        clusters={
            name: {"clusters": 2, "adjusted_rand": 0.5, "silhouette": 0.4, "silhouette_of_genres": 0.3}
            for name in ("crnn", "parallel")
        },
        faithfulness={
            name: pd.DataFrame([{"method": "occlusion", "clips": 3, "top": 0.3, "random": 0.1, "top_more": 1.0}])
            for name in ("crnn", "parallel")
        },
        filters={
            name: pd.DataFrame(
                {"layer": ["conv1", "conv1", "conv3"], "real_maximum": 1.0, "maximised": [2.0, 0.5, 3.0]}
            )
            for name in ("crnn", "parallel")
        },
        card=f"# music-genre: crnn\n\n## What it is\n\nIt names {EVIL}.\n",
    )


def test_the_page_reaches_for_nothing_outside_and_runs_no_script(findings: Findings) -> None:
    text = page(findings)
    read = Page(text)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in read.tags}
    pointed = [attributes.get("src") or attributes.get("href") or "" for _, attributes in read.tags]
    assert not [target for target in pointed if re.match(r"[a-z]+:|/", target)]
    assert "url(" not in text


def test_every_picture_is_described(findings: Findings) -> None:
    pictures = [attributes for tag, attributes in Page(page(findings)).tags if tag == "img"]
    assert len(pictures) > 15
    assert all(len(picture["alt"] or "") > 15 for picture in pictures)
    assert len({picture["src"] for picture in pictures}) == len(pictures)


def test_every_picture_is_in_the_plots_of_dvc(findings: Findings) -> None:
    plots = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    shown = tuple(plot if plot.endswith(".png") else f"{plot}/" for plot in plots if isinstance(plot, str))
    sources = [attributes["src"] for tag, attributes in Page(page(findings)).tags if tag == "img"]
    assert [source for source in sources if not f"reports/{source}".startswith(shown)] == []


def test_the_card_of_the_model_put_forward_is_part_of_the_page(findings: Findings) -> None:
    read = Page(page(findings))
    assert "It names <script>" in read.text
    assert {tag for tag, _ in read.tags} >= {"h1", "h2", "h3", "h4"}
    assert [tag for tag, _ in read.tags].count("h1") == 1


def test_every_suite_of_checks_is_counted(findings: Findings) -> None:
    assert 'tracks</td><td class="number">0</td><td class="number">1</td>' in page(findings)


def test_names_from_elsewhere_are_text(findings: Findings) -> None:
    text = page(findings)
    assert EVIL not in text
    assert EVIL in Page(text).text


def test_clips_can_be_heard_where_there_is_audio(findings: Findings) -> None:
    players = [attributes["src"] for tag, attributes in Page(page(findings)).tags if tag == "audio"]
    assert "../data/raw/a%20b/%C3%BC.mp3" in players
    assert "../data/raw/c%22d.mp3" in players
    silent = replace(findings, clips=findings.clips.assign(path=None))
    assert "audio" not in {tag for tag, _ in Page(page(silent)).tags}


def test_figures_carry_their_intervals_and_stand_beside_the_published_ones(findings: Findings) -> None:
    text = Page(page(findings)).text
    assert "75.0 % (60.0 to 85.0)" in text
    for published in ("51.4", "44.1", "52.9", "44.4", "0.22"):
        assert published in text


def test_what_failed_is_told(findings: Findings) -> None:
    text = Page(page(findings)).text
    assert "1 silent (dropped)" in text
    assert "seconds" in text
    refused = replace(findings.judged, criteria=[Criterion("validation_recall", 0.01, 0.05, False)])
    assert "refused" in Page(page(replace(findings, judged=refused))).text


def test_only_the_synthetic_sample_is_warned_about(findings: Findings) -> None:
    assert "accuracy means nothing" not in page(findings)
    assert "accuracy means nothing" in page(replace(findings, source="sample"))


def test_a_run_without_mistakes_has_a_page(findings: Findings) -> None:
    right = findings.clips.assign(ensemble=findings.clips["actual"], right="both")
    text = Page(page(replace(findings, clips=right, confusions=findings.confusions.head(0)))).text
    assert "The ensemble's surest mistakes: no test clip." in text
    assert "The ensemble's commonest confusions, test: none." in text


def test_filters_that_their_own_picture_wakes_most_are_counted(findings: Findings) -> None:
    row = '<td>crnn</td><td>conv1</td><td class="number">2</td><td class="number">1</td>'
    assert row in page(findings)


def test_the_same_findings_are_the_same_bytes(findings: Findings) -> None:
    assert page(findings) == page(findings)
