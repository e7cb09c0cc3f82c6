"""A model's card, in the layout of Hugging Face: Markdown with YAML front matter, and its HTML forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from markupsafe import Markup

from music_genre.evaluation.results import EVALUATED_SPLITS, ModelResult
from music_genre.features.params import SPECTROGRAMS
from music_genre.files import folder_sha256
from music_genre.models.bundle import BundleManifest, read_manifest
from music_genre.models.serialization import CLASSIFIER_SUFFIX, HEAD_SUFFIX, NETWORK_SUFFIX
from music_genre.reporting.rendering import markdown_to_html, render_html, render_markdown, rows
from music_genre.tracking.provenance import GIT_COMMIT_TAG, GIT_DIRTY_TAG, PATCH_FILE

N_TOP_CONFUSIONS = 5  # pairs of genres that are listed
N_LICENCES = 10  # most frequent licences that are listed
MAX_DESCRIPTION_CHARS = 5000  # of a version's description in a tracking store's database
UNKNOWN_LICENCE = "unknown"
SYNTHETIC = "sample"  # the data source whose audio is synthesized
LIBRARIES = {NETWORK_SUFFIX: "keras", CLASSIFIER_SUFFIX: "sklearn", HEAD_SUFFIX: "onnx"}  # Hugging Face's names


@dataclass(frozen=True)
class CardContext:
    """All that a card shows; the same context gives the same card.

    Args:
        registered_name: of the model in the registry.
        manifest: of the bundle.
        digest: of the bundle.
        n_parameters: trained numbers in the model.
        tags: of its MLflow run, or as many as are known before there is one.
        run_id: of its MLflow run; empty before there is one: then provenance and reproduction are left out.
        clips: from ``join_clips``.
        metrics: by split, ``metrics.json``.
        per_class: ``per_class.csv`` of test.
        predictions: ``predictions.csv`` of test.
        encoder_tags: columns genre, tag, probability; None where no member has an encoder that tags.
    """

    registered_name: str
    manifest: BundleManifest
    digest: str
    n_parameters: int
    tags: Mapping[str, str]
    run_id: str
    clips: pd.DataFrame
    metrics: Mapping[str, Mapping[str, float]]
    per_class: pd.DataFrame
    predictions: pd.DataFrame
    encoder_tags: pd.DataFrame | None = None


def join_clips(index: pd.DataFrame, tracks: pd.DataFrame) -> pd.DataFrame:
    """Every clip with the columns genre, split, artist_id, license and listed_genre.

    Args:
        index: of the spectrograms.
        tracks: ``tracks.parquet``.
    """
    return index[["track_id", "genre", "split"]].merge(
        tracks[["track_id", "artist_id", "license", "listed_genre"]], on="track_id"
    )


def build_context(
    registered_name: str,
    result: ModelResult,
    bundle: Path,
    clips: pd.DataFrame,
    tags: Mapping[str, str],
    run_id: str = "",
    encoder_tags: pd.DataFrame | None = None,
) -> CardContext:
    """The context of the card of a bundled model; see ``CardContext``.

    Args:
        registered_name: of the model in the registry.
        result: the model's evaluation.
        bundle: folder of the bundled model.
        clips: from ``join_clips``.
        tags: of its MLflow run, or as many as are known before there is one.
        run_id: of its MLflow run.
        encoder_tags: columns genre, tag, probability.
    """
    per_class, predictions = (table[table["split"] == "test"] for table in (result.per_class, result.predictions))
    return CardContext(
        registered_name=registered_name,
        manifest=read_manifest(bundle),
        digest=folder_sha256(bundle),
        n_parameters=result.n_parameters,
        tags=tags,
        run_id=run_id,
        clips=clips,
        metrics=result.metrics,
        per_class=per_class,
        predictions=predictions,
        encoder_tags=encoder_tags,
    )


def render_card(context: CardContext) -> str:
    """The card in Markdown, with front matter."""
    manifest, train = context.manifest, context.clips[context.clips["split"] == "training"]
    licences = context.clips["license"].fillna(UNKNOWN_LICENCE).value_counts()
    by_split = context.clips.groupby("split").agg(clips=("genre", "size"), artists=("artist_id", "nunique"))
    temperatures = [manifest.temperature, *(member.temperature for member in manifest.members)]
    return render_markdown(
        "model_card.md.j2",
        card=context,
        front_matter=Markup(_front_matter(context)),  # noqa: S704  # YAML escapes what it writes
        source=context.tags.get("data_source", "unknown"),
        synthetic=SYNTHETIC in context.tags.get("data_source", "").split("+"),
        n_corrected=int((context.clips["genre"] != context.clips["listed_genre"]).sum()),
        input_text=_input_text(manifest),
        calibrated=set(temperatures) != {1.0},
        trained_calibrated=all(member.input in manifest.encoders for member in manifest.members),
        encoder_tags=tags_in_words(context.encoder_tags),
        splits=rows(by_split.reindex(["training", *EVALUATED_SPLITS]).dropna().astype(int).reset_index()),
        licences=licences.head(N_LICENCES).items(),
        n_more_licences=max(0, len(licences) - N_LICENCES),
        metrics={split: context.metrics[split] for split in EVALUATED_SPLITS},
        provenance=_provenance(context),
        commit=context.tags.get(GIT_COMMIT_TAG),
        patch_file=PATCH_FILE if context.tags.get(GIT_DIRTY_TAG) == "true" else None,
        train_counts=train["genre"].value_counts().to_dict(),
        genres=rows(context.per_class),
        confusions=rows(_top_confusions(context.predictions)),
    )


def version_description(card: str) -> str:
    """As much of a card as a version's description in the registry holds, without front matter."""
    text = _without_front_matter(card)
    if len(text) <= MAX_DESCRIPTION_CHARS:
        return text
    note = "\n\nThe rest is in `model_card.html` among the run's artifacts."
    whole_lines = text[: MAX_DESCRIPTION_CHARS - len(note)].rpartition("\n")[0]
    return whole_lines + note


def to_html(card: str, heading_offset: int = 0) -> Markup:
    """A card as HTML, to be part of a page; its headings are lowered by some levels."""
    return markdown_to_html(_without_front_matter(card), heading_offset)


def render_card_page(card: str, title: str) -> str:
    """A card as a page of its own."""
    return render_html("model_card.html.j2", title=title, card=to_html(card))


def _without_front_matter(card: str) -> str:
    return card.partition("\n---\n")[2].lstrip("\n") if card.startswith("---\n") else card


def _front_matter(context: CardContext) -> str:
    """Metadata as Hugging Face's model hub reads it."""
    test, source = context.metrics["test"], context.tags.get("data_source", "unknown")
    metadata: dict[str, Any] = {
        "license": "other",
        "license_name": "depends-on-the-licences-of-the-training-data",
        "library_name": LIBRARIES[Path(context.manifest.members[0].network or context.manifest.members[0].file).suffix],
        "pipeline_tag": "audio-classification",
        "tags": ["audio-classification", "music", "music-genre-classification", *_input_tags(context.manifest)],
        "metrics": ["accuracy", "f1"],
        "model-index": [
            {
                "name": context.registered_name,
                "results": [
                    {
                        "task": {"type": "audio-classification"},
                        "dataset": {"name": source, "type": source, "split": "test"},
                        "metrics": [
                            {"type": "accuracy", "name": "accuracy", "value": round(test["accuracy"], 4)},
                            {"type": "f1", "name": "macro-F1", "value": round(test["macro_f1"], 4)},
                        ],
                    }
                ],
            }
        ],
    }
    return str(yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True))


def _input_tags(manifest: BundleManifest) -> list[str]:
    kinds = {"mel-spectrogram": SPECTROGRAMS in manifest.inputs, "transfer-learning": bool(manifest.encoders)}
    return [tag for tag, applies in kinds.items() if applies]


def _input_text(manifest: BundleManifest) -> str:
    n_frames, n_mels = manifest.shape
    spectrogram = f"log-mel spectrogram of {n_frames} frames and {n_mels} bands"
    if manifest.transform is None:
        return f"a ready {spectrogram}, no audio"
    seconds, encoders = manifest.transform.frames_duration_s, manifest.encoders
    rates = [f"{encoder.sample_rate_hz} Hz in windows of {encoder.window_seconds:g} s" for encoder in encoders.values()]
    if SPECTROGRAMS in manifest.inputs or not encoders:
        rates.append(f"{manifest.transform.sample_rate_hz} Hz, as a {spectrogram}")
    return f"{seconds:.1f} s of mono audio at {'; and at '.join(rates)}"


def tags_in_words(tags: pd.DataFrame | None) -> dict[str, str]:
    """By genre, its likeliest tags in words."""
    if tags is None:
        return {}
    words = tags["tag"].astype(str) + " " + (100 * tags["probability"]).round().astype(int).astype(str) + " %"
    joined: dict[str, str] = words.groupby(tags["genre"], sort=False).agg(", ".join).to_dict()
    return joined


def _provenance(context: CardContext) -> dict[str, str]:
    tags = context.tags
    uncommitted = {"true": f"{PATCH_FILE} of the run", "false": "none"}
    known = {
        "git commit": tags.get(GIT_COMMIT_TAG),
        "uncommitted changes": uncommitted.get(tags.get(GIT_DIRTY_TAG, "")),
        "DVC experiment": tags.get("dvc_experiment"),
        "digest of the params": tags.get("params_digest"),
        "digest of the data (DVC, data/spectrograms)": tags.get("data_digest"),
        "digest of the model (SHA-256)": context.digest,
        "MLflow run": context.run_id,
    }
    return {name: value for name, value in known.items() if value}


def _top_confusions(predictions: pd.DataFrame) -> pd.DataFrame:
    """Columns actual, predicted, clips: the most frequent errors."""
    errors = predictions[predictions["actual"] != predictions["predicted"]]
    pairs = errors.groupby(["actual", "predicted"]).size().reset_index(name="clips")
    return pairs.sort_values(["clips", "actual", "predicted"], ascending=[False, True, True]).head(N_TOP_CONFUSIONS)
