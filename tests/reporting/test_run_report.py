"""The report shows a run, whatever its models are called, and opens from disk with everything that it points to."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest
import yaml

from music_genre.registry.criteria import Criterion, CriterionName
from music_genre.reporting.report_context import RunReportContext
from music_genre.reporting.run_report import RUNS_URL, render_run_report

HOSTILE = "<script>alert(1)</script>"
RNB, ROCK = "<b>R&B</b>", "Rock"

Parse = Callable[[str], Any]


@pytest.fixture
def page(context: RunReportContext, parse: Parse) -> Any:
    return parse(render_run_report(context))


def test_page_is_one_file_that_loads_nothing(context: RunReportContext, page: Any) -> None:
    html = render_run_report(context)
    assert re.findall(r"<(?:link|iframe|base)\b|<script[^>]* src|\bon\w+=\"|url\(|@import", html) == []
    outside = [target for target in page.references if not target.startswith(("#", "data:"))]
    assert [target for target in outside if not target.startswith(RUNS_URL)] == []
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {target.removeprefix("#") for target in page.references if target.startswith("#")} <= ids


def test_browsers_run_no_script_but_the_pages_own(context: RunReportContext, page: Any) -> None:
    (policy,) = [meta["content"] for meta in page.attributes("meta") if "http-equiv" in meta]
    (script,) = re.findall(r"<script>(.*?)</script>", render_run_report(context), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none';" in policy
    assert policy.endswith(f"script-src 'sha256-{digest}'")


def test_contents_lead_to_every_section(page: Any) -> None:
    sections = [attributes["aria-labelledby"] for attributes in page.attributes("section")]
    assert [target for target in page.references if target.startswith("#")] == [f"#{name}" for name in sections]


def test_every_picture_is_shown_with_an_alternative_text_of_its_own(context: RunReportContext, page: Any) -> None:
    images = page.attributes("img")
    assert sorted(image["src"] for image in images) == sorted(picture.uri for picture in context.pictures.values())
    assert all(len(image["alt"]) > 15 for image in images)
    assert len({image["alt"] for image in images}) == len(images)


def test_every_picture_is_an_output_of_a_stage(context: RunReportContext) -> None:
    stages = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    listed = [out for stage in stages for kind in ("outs", "plots") for out in stage.get("do", stage).get(kind, [])]
    paths = [path for out in listed for path in (out if isinstance(out, dict) else [out])]
    pattern = "|".join(f"{re.escape(path).replace(re.escape('${key}'), '[^/]+')}(/.*)?" for path in paths)
    assert [plot for plot in context.pictures if not re.fullmatch(pattern, f"reports/{plot}")] == []


def test_picture_that_a_run_lacks_is_left_out(context: RunReportContext, parse: Parse) -> None:
    missing = "interpretation/crnn/plots/saliency.png"
    kept = {name: picture for name, picture in context.pictures.items() if name != missing}
    shown = [image["src"] for image in parse(render_run_report(replace(context, pictures=kept))).attributes("img")]
    assert context.pictures[missing].uri not in shown
    assert context.pictures["interpretation/parallel/plots/saliency.png"].uri in shown


def test_run_is_named_by_commit_date_params_and_digests(context: RunReportContext, page: Any, parse: Parse) -> None:
    text = " ".join(page.text.split())
    assert "commit 0123456789ab of 2026-11-28; version 0.2.0" in text
    assert "digest d1.dir" in text
    assert ["data.folder.path", HOSTILE] in page.tables["Params that this run depends on"]
    assert page.tables["Runs in MLflow"][1][:2] == ["baseline", "baseline-digest"]
    search = quote("tags.model_digest = 'crnn-digest'")
    assert f"{RUNS_URL}&searchFilter={search}" in page.references
    changed = replace(context, origin=replace(context.origin, dirty=True))
    assert "of 2026-11-28, with changes that no commit has" in parse(render_run_report(changed)).text
    outside = replace(context, origin=replace(context.origin, commit="", date=""))
    assert "the project is outside git" in parse(render_run_report(outside)).text


def test_data_of_the_script_cannot_end_it(context: RunReportContext) -> None:
    ending = "</script><script>alert(1)</script>"
    html = render_run_report(replace(context, clips=context.clips.assign(title=ending)))
    assert ending not in html
    (text,) = re.findall(r'<script type="application/json" id="report-data">(.*?)</script>', html)
    assert {clip["title"] for clip in json.loads(text)["clips"]} == {ending}


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
    assert page.tables["Failed expectations"][1] == ["tracks", "duration s", "at least 10", "9.5, 3", "warning", "17"]


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
    assert "the gate's verdict: refused" in " ".join(refused.text.split())
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
    assert [cell.strip() for cell in row] == ["", "Song", ROCK, RNB, ROCK, RNB, "80 %", "2"]
    buttons = [button["aria-label"] for button in page.attributes("button") if button.get("class") == "play"]
    assert buttons.count("Play Song") == 2  # it is also the one that only parallel predicts correctly


def test_clips_without_sound_have_no_player(context: RunReportContext, parse: Parse) -> None:
    page = parse(render_run_report(replace(context, samples={})))
    assert [button for button in page.attributes("button") if button.get("class") == "play"] == []


def test_criteria_are_told_in_words(context: RunReportContext, parse: Parse) -> None:
    failed = Criterion(CriterionName.MAX_MACRO_F1_BELOW_BASELINE, 0.2, 0.0, False, 0.1, 0.3, 200)
    candidate = replace(context.gate.candidates[0], criteria=[failed])
    notes = ["crnn was tried first and fails max_macro_f1_below_baseline"]
    page = parse(render_run_report(replace(context, gate=replace(context.gate, candidates=[candidate], notes=notes))))
    assert "crnn was tried first and fails macro-F1 against the baseline's" in page.text
    (row,) = page.tables["Candidates in the order in which they are tried, by validation"][1:]
    assert row[2] == "macro-F1 against the baseline's"
    assert "max_macro_f1_below_baseline" not in page.text


def test_confusion_matrix_counts_the_clips_of_each_cell(page: Any) -> None:
    matrix = page.tables["crnn, test: rows are actual genres, columns predicted ones"]
    assert [[cell.strip() for cell in row] for row in matrix] == [["", RNB, ROCK], [RNB, "1", "0"], [ROCK, "1", "1"]]
    labels = [button["aria-label"] for button in page.attributes("button") if "data-cell" in button]
    assert f"1 of {ROCK} predicted as {RNB}" in labels


def test_learning_curves_are_those_of_models_trained_in_epochs(page: Any, context: RunReportContext) -> None:
    figures = [figure for figure in page.attributes("figure") if figure.get("class") == "curves"]
    assert [(figure["data-model"], figure["data-measure"]) for figure in figures] == [
        *(("crnn", "loss"), ("crnn", "accuracy")),
        *(("parallel", "loss"), ("parallel", "accuracy")),
    ]


def test_map_has_a_mark_for_each_clip_and_tells_wrong_ones(page: Any) -> None:
    marks = [path for path in page.attributes("path") if "data-point" in path]
    assert len(marks) == 2 * 3
    assert ["wrong" in path["class"] for path in marks] == [False, True, False, True, False, False]


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
    assert "Spectrogram and saliency of four test clips, by resnet" in [
        image["alt"] for image in page.attributes("img")
    ]


def test_each_of_three_members_has_its_own_table(context_of: Callable[..., RunReportContext], parse: Parse) -> None:
    page = parse(
        render_run_report(
            context_of(
                crnn=(RNB, RNB, ROCK), resnet=(ROCK, ROCK, RNB), parallel=(RNB, RNB, RNB), ensemble=(RNB, RNB, RNB)
            )
        )
    )
    errors = page.tables["Most confident errors of the ensemble (2 of 2)"][1:]
    assert [(row[-1], row[-2]) for row in errors] == [("2", "80 %"), ("3", "60 %")]
    assert [row[-1] for row in page.tables["Only crnn is correct (1 of 1)"][1:]] == ["3"]
    assert [row[-1] for row in page.tables["Only resnet is correct (1 of 1)"][1:]] == ["2"]
    assert "Only parallel is correct: no test clip." in page.text
    assert "Compared are the first two of the 3 members." in page.text


def test_run_without_networks_has_a_page(context: RunReportContext, parse: Parse) -> None:
    pictures = {name: one for name, one in context.pictures.items() if not name.startswith("interpretation/")}
    page = parse(render_run_report(replace(context, interpretations={}, pictures=pictures)))
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
