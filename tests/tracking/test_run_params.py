"""The params of a model, from ``params.yaml`` and from its MLflow run, under the same keys."""

from __future__ import annotations

import pytest

from music_genre.tracking.run_params import active_params, canonical, logged_params, relative_key

VALUES = {
    "seed": 7,
    "data": {"source": ["fma", "folder"], "min": 1, "fma": {"subset": "small"}, "folder": {}, "sample": {"n": 20}},
    "encoders": {"musicnn": {"package": "musicnn"}, "other": {"url": "x"}},
    "models": {
        "transfer": {"input": "embeddings/musicnn", "C": [0.1, 1.0]},
        "crnn": {"input": "spectrograms", "recipe": "improved", "improved": {"epochs": 2}, "published": {"epochs": 3}},
    },
    "ensemble": {"members": ["crnn", "transfer"]},
}
COMMON = {"seed": 7, "data.source": "fma+folder", "data.min": 1, "data.fma.subset": "small"}
OF_TRANSFER = {"models.transfer.input": "embeddings/musicnn", "models.transfer.C": [0.1, 1.0]}
OF_CRNN = {"models.crnn.input": "spectrograms", "models.crnn.recipe": "improved", "models.crnn.improved.epochs": 2}


def test_params_of_other_models_recipes_data_sets_and_encoders_are_idle() -> None:
    encoder = {"encoders.musicnn.package": "musicnn"}
    assert active_params(VALUES, "crnn") == COMMON | OF_CRNN
    assert active_params(VALUES, "transfer") == COMMON | OF_TRANSFER | encoder
    members = {"ensemble.members": ["crnn", "transfer"]}
    assert active_params(VALUES, "ensemble") == COMMON | OF_CRNN | OF_TRANSFER | encoder | members


def test_file_of_another_form_has_the_params_that_are_understood() -> None:
    assert active_params({"seed": 1, "models": None, "data": "fma"}, "crnn") == {"seed": 1, "data.source": "None"}


def test_params_of_a_run_have_the_keys_of_the_file() -> None:
    run = {"input": "spectrograms", "recipe": "improved", "epochs": "2", "seed": "7"}
    logged = logged_params(run, "crnn", "fma+folder")
    assert {key: canonical(value) for key, value in logged.items()} == OF_CRNN | {
        "seed": 7,
        "data.source": "fma+folder",
    }
    assert logged_params({"members": "('crnn',)"}, "ensemble", None) == {"ensemble.members": "('crnn',)"}


def test_keys_of_a_models_own_section_are_relative_to_model_and_recipe() -> None:
    relative = [relative_key(key, "crnn", OF_CRNN) for key in (*OF_CRNN, "models.transfer.C", "seed")]
    assert relative == ["input", "recipe", "epochs", "models.transfer.C", "seed"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.0", 0), ("(4, 2)", [4, 2]), ("True", True), ("None", None), ("per_band", "per_band"), ("[[1, 2]]", [[1, 2]])],
)
def test_text_of_a_value_is_the_value(text: str, value: object) -> None:
    assert repr(canonical(text)) == repr(canonical(value))
    assert repr(canonical(True)) != repr(canonical(1))
