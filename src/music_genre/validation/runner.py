"""Run suites of expectations: a report for ``summary.json``, and Great Expectations' pages (Data Docs)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from music_genre.validation.expectations import CRITICAL, Suite, require_columns

FIXED_RUN_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # in place of the time of the run: equal data give equal bytes
MAX_IDS_SHOWN, MAX_VALUES_SHOWN = 5, 4


@dataclass(frozen=True)
class ValidationReport:
    """What running suites found.

    Args:
        success: whether every critical expectation holds.
        summary: ``summary.json``: success, and by suite its success and each expectation with column (null for one
            about the whole table), severity, success and unexpected_count; where it fails, what was expected and found,
            in words; no times and no ids of runs.
        failures: a sentence for each expectation that does not hold.
    """

    success: bool
    summary: dict[str, Any]
    failures: list[str]


def validate(suites: Sequence[Suite], site: Path) -> ValidationReport:
    """Run every suite and write Data Docs, which ``data_docs.make_offline`` makes readable without a network.

    Args:
        suites: what must hold.
        site: folder of the pages, made anew.

    Raises:
        MusicGenreError: a table lacks a column that is checked; the message names both.
    """
    import great_expectations as gx

    for suite in suites:
        columns = [getattr(expectation, "column", suite.id_column) for expectation in suite.expectations]
        require_columns(suite.name, suite.table, [suite.id_column, *columns])
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site.absolute())}
    context.add_data_docs_site("site", {"class_name": "SiteBuilder", "store_backend": store})
    source = context.data_sources.add_pandas("music-genre")
    summaries: dict[str, Any] = {}
    failures: list[str] = []
    for suite in suites:
        batch = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
        expectations = context.suites.add(gx.ExpectationSuite(name=suite.name, expectations=suite.expectations))
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=suite.name, data=batch, suite=expectations)
        )
        results = definition.run(
            batch_parameters={"dataframe": suite.table},
            run_id=gx.RunIdentifier(run_name="data", run_time=FIXED_RUN_TIME),
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [suite.id_column]},
        ).results
        outcomes = [_expectation_result(result) for result in results]
        summaries[suite.name] = {
            "success": all(outcome["success"] for outcome in outcomes if outcome["severity"] == CRITICAL),
            "expectations": outcomes,
        }
        failures += [_failure_message(suite, result) for result in results if not result.success]
    context.build_data_docs()
    success = all(summary["success"] for summary in summaries.values())
    return ValidationReport(success, {"success": success, "suites": summaries}, failures)


def _expectation_result(result: Any) -> dict[str, Any]:
    """An expectation's entry of ``summary.json``."""
    entry = {
        "expectation": result.expectation_config.type,
        "column": result.expectation_config.kwargs.get("column"),
        "severity": result.expectation_config.severity.value,
        "success": bool(result.success),
        "unexpected_count": int(result.result.get("unexpected_count", 0)),
    }
    if not result.success:
        entry |= {"expected": _expected(result.expectation_config), "found": _found(result)}
    return entry


def _expected(config: Any) -> str:
    """What an expectation asks for: ``at least 10``, ``one of 1``."""
    low, high, values = (config.kwargs.get(key) for key in ("min_value", "max_value", "value_set"))
    bounds = {
        "at least": low,
        "below" if config.kwargs.get("strict_max") else "at most": high,
    }
    words = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None]
    if values is not None:
        words.append(f"one of {_listed(values)}")
    kinds = {"expect_column_values_to_not_be_null": "a value", "expect_column_values_to_be_unique": "no value twice"}
    return " and ".join(words) or kinds.get(config.type, config.type.removeprefix("expect_").replace("_", " "))


def _found(result: Any) -> str:
    """What there was instead: some values, the number of rows, or why that is not known."""
    outcome = result.result
    unexpected = outcome.get("partial_unexpected_list") or ()
    if unexpected:
        return _listed(list(dict.fromkeys("no value" if pd.isna(value) else str(value) for value in unexpected)))
    observed = outcome.get("observed_value")
    return _exception_message(result) or ("" if observed is None else str(observed))


def _listed(values: Sequence[Any]) -> str:
    """The first values, and how many there are besides."""
    n_more = len(values) - MAX_VALUES_SHOWN
    shown = ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values[:MAX_VALUES_SHOWN])
    return f"{shown} and {n_more} more" if n_more > 0 else shown


def _failure_message(suite: Suite, result: Any) -> str:
    """One sentence: which expectation does not hold, of how many rows, which they are."""
    entry = _expectation_result(result)
    severity, count = entry["severity"], entry["unexpected_count"]
    subject = ".".join(filter(None, (suite.name, entry["column"])))
    if not count:  # it is about the whole table, or could not be evaluated
        reason = _exception_message(result) or f"the table has {len(suite.table)} rows"
        return f"{subject}: {entry['expectation']} fails: {reason} ({severity})"
    ids = [str(row[suite.id_column]) for row in result.result.get("unexpected_index_list") or []]
    shown = ", ".join(ids[:MAX_IDS_SHOWN]) + (", ..." if len(ids) > MAX_IDS_SHOWN else "")
    return (
        f"{subject}: {entry['expectation']} fails for {count} of {len(suite.table)} rows"
        f" ({suite.id_column}: {shown}; {severity})"
    )


def _exception_message(result: Any) -> str | None:
    """Why an expectation could not be evaluated, in one line; None where it could."""
    info = result.exception_info or {}
    for details in (info, *info.values()):
        if isinstance(details, dict) and details.get("exception_message"):
            return " ".join(str(details["exception_message"]).split())
    return None
