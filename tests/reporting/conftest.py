"""Parsed pages, and the context of a report on three clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pandas as pd
import pytest

from music_genre.evaluation import model_comparison
from music_genre.registry.criteria import Criterion, CriterionName
from music_genre.registry.gate import Candidate, GateResult
from music_genre.reporting.media import Picture
from music_genre.reporting.report_context import Interpretation, RunOrigin, RunReportContext
from music_genre.reporting.run_report import SHOWN_PICTURES

HOSTILE = "<script>alert(1)</script>"
GENRES = ("<b>R&B</b>", "Rock")
METRICS = {
    "accuracy": 0.75,
    "accuracy_low": 0.6,
    "accuracy_high": 0.85,
    "macro_f1": 0.7,
    "macro_f1_low": 0.55,
    "macro_f1_high": 0.8,
    "log_loss": 0.9,
    "ece": 0.05,
}
MODEL_PLOTS = ("confusion_matrix", "calibration", "top_errors", "learning_curves")
NETWORK_PLOTS = ("filters_first", "filters_last", "feature_maps", "saliency", "embedding", "architecture")


@dataclass
class Page(HTMLParser):
    """A page's tags with their attributes, its text, and the cells of its tables by caption, row by row."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _caption: str = ""
    _rows: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._open.append(tag)
        if tag == "table":
            self._caption, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:  # void elements are not closed
            pass
        if tag == "table":
            self.tables[self._caption or " ".join(self._rows[0])] = self._rows

    def handle_data(self, data: str) -> None:
        if "style" in self._open or "script" in self._open:
            return
        self.text += data
        if "caption" in self._open:
            self._caption += data
        elif "td" in self._open or "th" in self._open:
            self._rows[-1][-1] += data

    def attributes(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def references(self) -> list[str]:
        """Where every link, image and player of the page points to."""
        return [attributes[key] for _, attributes in self.tags for key in ("href", "src") if key in attributes]


@pytest.fixture(scope="session")
def parse() -> Callable[[str], Page]:
    def parse(html: str) -> Page:
        page = Page()
        page.feed(html)
        return page

    return parse


@pytest.fixture(scope="session")
def context_of() -> Callable[..., RunReportContext]:
    """The context of a run from each model's predictions for three test clips: of one R&B, of two Rock.

    Members are the models but the baseline and the ensemble.
    """

    def context_of(**predicted: tuple[str, str, str]) -> RunReportContext:
        predictions = {
            name: pd.DataFrame(
                {
                    "track_id": [1, 2, 3],
                    "split": "test",
                    "actual": [GENRES[0], GENRES[1], GENRES[1]],
                    "predicted": genres,
                    "confidence": [0.9, 0.8, 0.6],
                }
            )
            for name, genres in predicted.items()
        }
        history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [2.0, 1.5, 1.0], "accuracy": [0.1, 0.5, 0.75]})
        history = history.assign(val_loss=[2.1, 1.9, None], val_accuracy=[0.2, 0.4, 0.5])
        embedding = pd.DataFrame({"track_id": [1, 2, 3]})
        for column, values in {"principal components x": [0, 1, 2], "principal components y": [5, 5, 5]}.items():
            embedding = embedding.assign(**{column: values, column.replace("principal components", "t-SNE"): values})
        members = tuple(name for name in predicted if name not in ("baseline", "ensemble"))
        clips = model_comparison.join_predictions({name: predictions[name] for name in (*members, "ensemble")})
        agreement = None
        if len(members) > 1:
            agreement = model_comparison.agreement_by_genre(clips, *members[:2], "ensemble")
        per_class = pd.DataFrame(
            {"split": "test", "genre": list(GENRES), "precision": 0.5, "recall": 0.4, "f1": 0.44, "support": [1, 2]}
        )
        rows = [
            {"model": name, "split": split, **METRICS, "parameters": 1234}
            for name in predicted
            for split in ("validation", "test")
        ]
        criteria = [Criterion(CriterionName.MIN_MACRO_F1, 0.7, 0.3, True)]
        outcome = {"expectation": "expect_x", "column": "duration_s", "severity": "warning", "success": False}
        outcome |= {"expected": "at least 10", "found": "9.5, 3"}
        networks = {f"interpretation/{name}/plots/{plot}.png" for name in members for plot in NETWORK_PLOTS}
        models = {f"evaluation/{name}/plots/{plot}.png" for name in predicted for plot in MODEL_PLOTS}
        shared = {f"evaluation/ensemble/plots/{plot}.png" for plot in ("temperatures", "agreement")}
        shared |= {"genre_examples.png", "evaluation/plots/risk_coverage.png"}
        return RunReportContext(
            name="music-genre",
            source="folder",
            recipes=dict.fromkeys(members, "improved"),
            members=members,
            splits=pd.DataFrame({"genre": list(GENRES), "training_tracks": [5, 6], "test_tracks": [1, 2]}),
            split_notes=pd.DataFrame(
                [(GENRES[0], "test", 2.5, 0, "no test clip"), (GENRES[1], "validation", None, 4, "few clips")],
                columns=["genre", "split", "wanted", "found", "note"],
            ),
            issues=pd.DataFrame({"track_id": [9], "severity": ["dropped"], "reason": ["silent"]}),
            corrected=pd.DataFrame(
                {"track_id": [4], "path": [HOSTILE], "listed_genre": [GENRES[0]], "genre": [GENRES[1]]}
            ),
            label_issues=pd.DataFrame(
                {
                    "track_id": [5],
                    "path": ["a.mp3"],
                    "genre": [GENRES[1]],
                    "suggested": [GENRES[0]],
                    "self_confidence": [0.125],
                    "note": ["the same recording is 6 as Rock"],
                }
            ),
            checks={
                "success": True,
                "suites": {"tracks": {"success": True, "expectations": [outcome | {"unexpected_count": 17}]}},
            },
            gate=GateResult(
                members[0],
                [Candidate(members[0], "it has the highest macro-F1", 1234, 1.5, 0.7, 0.4, criteria)],
                criteria,
            ),
            comparison=pd.DataFrame(rows),
            mcnemar=pd.DataFrame(
                {
                    "split": ["test"],
                    "first": members[0],
                    "second": "ensemble",
                    "difference": 0.1,
                    "first_only": 4,
                    "second_only": 1,
                    "p_value": 0.04,
                }
            ),
            per_class=dict.fromkeys(predicted, per_class),
            clips=clips.assign(path=["a b/ü.mp3", 'c"d.mp3', None], title=[HOSTILE, "Song", None]),
            predictions=predictions,
            histories={
                name: history if name in members else history.head(1) for name in predicted if name != "ensemble"
            },
            agreement=agreement,
            confusions=model_comparison.top_confusions(clips, "ensemble").assign(model="ensemble"),
            card=f"# music-genre: {members[0]}\n\n## Model description\n\nIt classifies {HOSTILE}.\n",
            origin=RunOrigin(
                version="0.2.0",
                commit="0123456789abcdef",
                date="2026-11-28",
                dirty=False,
                data_digest="d1.dir",
                model_digests={name: f"{name}-digest" for name in predicted},
                params={"seed": 7, "data.source": "folder", "data.folder.path": HOSTILE, "split.method": "artist"},
            ),
            pictures={
                plot: Picture(f"data:image/webp;base64,{number:04d}", 1000, 400)
                for number, plot in enumerate(sorted(models | networks | shared))
                if SHOWN_PICTURES.fullmatch(plot)
            },
            samples={1: "data:audio/mpeg;base64,AAAA", 2: "data:audio/mpeg;base64,BBBB"},
            interpretations={
                name: Interpretation(
                    pd.DataFrame({"layer": ["conv1", "conv1", "conv3"], "real_max": 1.0, "optimized": [2.0, 0.5, 3.0]}),
                    pd.DataFrame(
                        [{"method": "occlusion", "clips": 3, "drop_top": 0.3, "drop_random": 0.1, "win_rate": 1.0}]
                    ),
                    {"clusters": 2, "adjusted_rand": 0.5, "silhouette": 0.4, "silhouette_of_genres": None},
                    embedding=embedding,
                )
                for name in members
            },
        )

    return context_of


@pytest.fixture
def context(context_of: Callable[..., RunReportContext]) -> RunReportContext:
    """The networks disagree on two of three clips, and the ensemble is wrong about one."""
    rnb, rock = GENRES
    return context_of(
        baseline=(rnb, rock, rock), crnn=(rnb, rnb, rock), parallel=(rock, rock, rock), ensemble=(rnb, rnb, rock)
    )
