"""Models are found by name: ``models/<name>.py`` with a ``MODEL``."""

from __future__ import annotations

import pytest

from music_genre.models import baseline, crnn
from music_genre.models.registry import get_model


@pytest.mark.parametrize(("name", "module"), [("crnn", crnn), ("baseline", baseline)])
def test_model_is_found_in_the_module_of_its_name(name: str, module: object) -> None:
    assert get_model(name) is module.MODEL


@pytest.mark.parametrize("name", ["cnn", "layers", "ensemble", "cpu_kernels"])
def test_name_without_a_model_is_refused_with_the_file_that_would_describe_it(name: str) -> None:
    with pytest.raises(ValueError, match=rf"src/music_genre/models/{name}\.py with a MODEL"):
        get_model(name)


@pytest.mark.parametrize("name", ["", "CRNN", "my-model", "7net", "../crnn", "crnn.MODEL", "cpu_kernels.rnn", "a b"])
def test_name_that_cannot_be_a_module_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a model's name is lower-case letters, digits and underscores"):
        get_model(name)
