"""The report shows a run, whatever its models are called, and opens from disk with everything that it points to."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml

from music_genre.registry.criteria import Criterion, CriterionName
from music_genre.reporting.run_report import RunReportContext, render_run_report

HOSTILE = "<script>alert(1)</script>"
RNB, ROCK = "<b>R&B</b>", "Rock"

Parse = Callable[[str], Any]


@pytest.fixture
def page(context: RunReportContext, parse: Parse) -> Any:
    return parse(render_run_report(context))


def test_page_loads_nothing_from_outside_and_runs_no_script(context: RunReportContext) -> None:
    html = render_run_report(context)
    assert re.findall(r"<(?:script|link|iframe|base)\b|\bon\w+=|url\(|@import", html) == []
    assert re.findall(r"""(?:href|src)=["'](?:[a-z]+:|/)""", html) == []


def test_every_link_and_plot_resolves(context: RunReportContext, page: Any, tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    for plot in (*context.plots, "data_quality/site/index.html", "../data/audio/a b/ü.mp3", '../data/audio/c"d.mp3'):
        (reports / plot).parent.mkdir(parents=True, exist_ok=True)
        (reports / plot).touch()
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    fragments = {target.removeprefix("#") for target in page.references if target.startswith("#")}
    files = [unquote(target) for target in page.references if not target.startswith("#")]
    assert fragments == ids
    assert [file for file in files if not (reports / file).is_file()] == []


def test_every_plot_is_shown_but_those_that_repeat_others(context: RunReportContext, page: Any) -> None:
    shown = {image["src"] for image in page.attributes("img")}
    left_out = r"evaluation/(\w+/plots/calibration|(baseline|crnn|parallel)/plots/top_errors).png"
    assert {plot for plot in context.plots if not re.fullmatch(left_out, plot)} == shown


def test_every_plot_has_an_alternative_text_of_its_own(page: Any) -> None:
    images = page.attributes("img")
    assert all(len(image["alt"]) > 15 for image in images)
    assert len({image["alt"] for image in images}) == len({image["src"] for image in images}) == len(images)


def test_every_plot_is_an_output_of_a_stage(page: Any) -> None:
    stages = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    listed = [out for stage in stages for kind in ("outs", "plots") for out in stage.get("do", stage).get(kind, [])]
    paths = [path for out in listed for path in (out if isinstance(out, dict) else [out])]
    pattern = "|".join(f"{re.escape(path).replace(re.escape('${key}'), '[^/]+')}(/.*)?" for path in paths)
    plots = [f"reports/{image['src']}" for image in page.attributes("img")]
    assert [plot for plot in plots if not re.fullmatch(pattern, plot)] == []


def test_plot_that_a_run_lacks_is_left_out(context: RunReportContext, parse: Parse) -> None:
    missing = "evaluation/baseline/plots/learning_curves.png"
    sources = [
        image["src"]
        for image in parse(render_run_report(replace(context, plots=set(context.plots) - {missing}))).attributes("img")
    ]
    assert missing not in sources
    assert "evaluation/crnn/plots/learning_curves.png" in sources


def test_names_from_elsewhere_are_text(context: RunReportContext, page: Any) -> None:
    html = render_run_report(context)
    assert HOSTILE not in html
    assert RNB not in html
    assert page.tables["The ensemble by genre, test"][1][0] == RNB
    assert page.tables["Most confident errors of the ensemble (1 of 1)"][1][1] == "Song"
    assert page.tables["Only crnn is correct (1 of 1)"][1][1] == HOSTILE


def test_card_is_part_of_the_page_below_its_headings(page: Any) -> None:
    assert f"It classifies {HOSTILE}." in page.text
    headings = [tag for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings.count("h1") == 1
    assert headings[-3:] == ["h2", "h3", "h4"]


def test_results_carry_their_intervals(page: Any) -> None:
    header, *rows = page.tables["All models"]
    assert [row[:2] for row in rows[:3]] == [["baseline", "validation"], ["baseline", "test"], ["crnn", "validation"]]
    assert dict(zip(header, rows[3], strict=True)) == {
        "model": "crnn",
        "split": "test",
        "accuracy (95 % interval)": "75.0 % (60.0 to 85.0)",
        "macro-F1 (95 % interval)": "70.0 % (55.0 to 80.0)",
        "log loss": "0.900",
        "ECE": "0.050",
        "parameters": "1,234",
    }
    assert page.tables["Pairs of models on the same test clips"][1] == ["crnn and ensemble", "+10.0", "4", "1", "0.040"]


def test_published_results_stand_beside_those_of_the_same_networks(page: Any) -> None:
    _, crnn, parallel = page.tables["Accuracy as published and here"]
    assert crnn == ["crnn", "improved", "51.4 %", "75.0 % (60.0 to 85.0)", "44.1 %", "75.0 % (60.0 to 85.0)"]
    assert (parallel[2], parallel[4]) == ("52.9 %", "44.4 %")
    assert page.tables["K-means clusters and the genres"][-1][1:] == ["8", "0.22", "0.30", ""]


def test_issues_and_failed_expectations_are_listed(page: Any) -> None:
    assert "Issues: 1 silent (dropped)." in " ".join(page.text.split())
    assert page.tables["Expectations by suite"][1] == ["tracks", "0", "1"]
    assert page.tables["Failed expectations"][1] == ["tracks", "expect_x", "duration_s", "warning", "17"]


def test_splits_that_are_not_as_asked_for_are_listed(page: Any) -> None:
    assert page.tables["Notes on the splits"] == [
        ["genre", "split", "note", "wanted", "found"],
        [RNB, "test", "no test clip", "2.5", "0"],
        [ROCK, "validation", "few clips", "", "4"],
    ]


def test_corrected_labels_and_those_that_look_wrong_are_listed(page: Any) -> None:
    assert page.tables["Labels corrected by hand (1)"][1] == ["4", HOSTILE, RNB, ROCK]
    assert "1 tracks sound like another genre" in " ".join(page.text.split())
    assert page.tables["Labels that look wrong, most suspicious first"][1] == [
        *("5", "a.mp3", ROCK, RNB),
        *("the same recording is 6 as Rock", "12 %"),
    ]


def test_run_without_notes_and_corrections_has_no_table_of_them(context: RunReportContext, parse: Parse) -> None:
    tables = {name: getattr(context, name).head(0) for name in ("split_notes", "corrected", "label_issues")}
    page = parse(render_run_report(replace(context, **tables)))
    assert [caption for caption in page.tables if re.search("Notes on the splits|Labels", caption)] == []
    assert "sound like another genre" not in page.text


def test_gate_is_shown_in_words(context: RunReportContext, parse: Parse) -> None:
    criteria = [
        Criterion(CriterionName.MIN_CLASS_RECALL, 0.01, 0.05, False, 0.005, 0.02, 200),
        Criterion(CriterionName.MAX_ECE, 0.0, 0.25, True),
        Criterion(CriterionName.DATA_QUALITY, False, True, False),
    ]
    gate = replace(context.gate, criteria=criteria, notes=[f"recall below 0.05: {RNB} 0.010"])
    refused = parse(render_run_report(replace(context, gate=gate)))
    assert [row[1:] for row in refused.tables["Criteria of the gate"][1:]] == [
        ["0.01 [0.005, 0.02] on 200 clips", "at least 0.05", "failed"],
        ["0", "at most 0.25", "passed"],
        ["failed", "must pass", "failed"],
    ]
    assert "The gate's verdict: refused." in " ".join(refused.text.split())
    assert gate.notes[0] in refused.text


@pytest.mark.parametrize(
    ("source", "warned"), [("sample", True), ("folder+sample", True), ("fma", False), ("fma+folder", False)]
)
def test_only_the_synthetic_sample_is_warned_about(
    context: RunReportContext, parse: Parse, source: str, warned: bool
) -> None:
    text = parse(render_run_report(replace(context, source=source))).text
    assert ("Its accuracy means nothing." in text) == warned


def test_errors_come_with_titles_and_players(page: Any) -> None:
    (row,) = page.tables["Most confident errors of the ensemble (1 of 1)"][1:]
    assert row == ["2", "Song", ROCK, RNB, ROCK, RNB, "80 %", ""]
    assert "../data/audio/c%22d.mp3" in [player["src"] for player in page.attributes("audio")]


def test_clips_without_audio_have_no_player(context: RunReportContext, parse: Parse) -> None:
    page = parse(render_run_report(replace(context, clips=context.clips.assign(path=None))))
    assert page.attributes("audio") == []
    assert page.tables["Most confident errors of the ensemble (1 of 1)"][1][-1] == "none"


def test_agreement_is_summed_over_genres(page: Any) -> None:
    header, *rows = page.tables["Test clips predicted correctly"]
    assert [row[0] for row in rows] == [RNB, ROCK, "all"]
    total = dict(zip(header, rows[-1], strict=True))
    # crnn and parallel are correct about two clips each, the ensemble about two.
    assert (total["clips"], total["both"], total["crnn only"], total["parallel only"]) == ("3", "1", "1", "1")
    assert (total["ensemble"], total["ensemble gain"]) == ("2", "0")


def test_run_without_errors_says_so(context_of: Callable[..., RunReportContext], parse: Parse) -> None:
    correct = (RNB, ROCK, ROCK)
    text = parse(render_run_report(context_of(crnn=correct, parallel=correct, ensemble=correct))).text
    assert "Most confident errors of the ensemble: no test clip." in text
    assert "The ensemble has no confusions on test." in text


def test_ensemble_of_one_network_has_no_agreement(context_of: Callable[..., RunReportContext], parse: Parse) -> None:
    page = parse(render_run_report(context_of(resnet=(RNB, RNB, ROCK), ensemble=(RNB, RNB, ROCK))))
    assert "The ensemble has one member, resnet" in page.text
    assert "Test clips predicted correctly" not in page.tables
    assert "Accuracy as published and here" not in page.tables
    assert [caption for caption in page.tables if caption.startswith("Only")] == []
    assert "interpretation/resnet/plots/saliency.png" in [image["src"] for image in page.attributes("img")]


def test_each_of_three_members_has_its_own_table(context_of: Callable[..., RunReportContext], parse: Parse) -> None:
    page = parse(
        render_run_report(
            context_of(
                crnn=(RNB, RNB, ROCK), resnet=(ROCK, ROCK, RNB), parallel=(RNB, RNB, RNB), ensemble=(RNB, RNB, RNB)
            )
        )
    )
    errors = page.tables["Most confident errors of the ensemble (2 of 2)"][1:]
    assert [(row[0], row[-2]) for row in errors] == [("2", "80 %"), ("3", "60 %")]
    assert [row[0] for row in page.tables["Only crnn is correct (1 of 1)"][1:]] == ["3"]
    assert [row[0] for row in page.tables["Only resnet is correct (1 of 1)"][1:]] == ["2"]
    assert "Only parallel is correct: no test clip." in page.text
    assert "Compared are the first two of the 3 members." in page.text


def test_run_without_networks_has_a_page(context: RunReportContext, parse: Parse) -> None:
    plots = {plot for plot in context.plots if not plot.startswith("interpretation/")}
    page = parse(render_run_report(replace(context, interpretations={}, plots=plots)))
    assert page.text.count("None of the models can be interpreted.") == 4
    assert page.references


def test_encoders_own_tags_are_shown_by_genre(context: RunReportContext, parse: Parse) -> None:
    rows = [("Folk", "acoustic", 0.62), ("Folk", "guitar", 0.4), ("Rock", "punk", 0.305)]
    tags = pd.DataFrame(rows, columns=["genre", "tag", "probability"])
    transfer = replace(context.interpretations["crnn"], tags=tags)
    page = parse(render_run_report(replace(context, interpretations={"transfer": transfer})))
    assert page.tables["What a pretrained encoder's own tags say about test clips"][1:] == [
        ["transfer", "Folk", "acoustic 62 %, guitar 40 %"],
        ["transfer", "Rock", "punk 30 %"],
    ]


def test_filters_activated_more_than_by_any_clip_are_counted(page: Any) -> None:
    rows = page.tables["Filters and their optimized spectrograms"]
    assert rows[1:3] == [["crnn", "conv1", "2", "1"], ["crnn", "conv3", "1", "1"]]


def test_faithfulness_and_clusters_are_shown_by_network(page: Any) -> None:
    faithfulness = page.tables["Drop of the probability when blocks of a clip are deleted"]
    assert faithfulness[1] == ["crnn", "occlusion", "3", "0.300", "0.100", "100 %"]
    assert page.tables["K-means clusters and the genres"][1] == ["crnn", "2", "0.50", "0.40", ""]


def test_long_tables_are_cut(context: RunReportContext, parse: Parse) -> None:
    many = pd.concat([context.clips.assign(track_id=context.clips["track_id"] + 3 * step) for step in range(20)])
    page = parse(render_run_report(replace(context, clips=many)))
    assert len(page.tables["Most confident errors of the ensemble (8 of 20)"]) == 1 + 8


def test_long_tables_of_labels_are_cut_and_counted(context: RunReportContext, parse: Parse) -> None:
    corrected, label_issues = (pd.concat([table] * 60) for table in (context.corrected, context.label_issues))
    page = parse(render_run_report(replace(context, corrected=corrected, label_issues=label_issues)))
    assert len(page.tables["Labels corrected by hand (60)"]) == 1 + 50
    assert len(page.tables["Labels that look wrong, most suspicious first"]) == 1 + 10
    assert "60 tracks sound like another genre" in page.text
