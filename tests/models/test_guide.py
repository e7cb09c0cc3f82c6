"""The example of ``docs/adding-a-model.md`` fits the code; ``tests/integration/pipeline`` takes it to the registry."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from music_genre.models.crnn import build_improved
from music_genre.params import load_params

ROOT = Path(__file__).parents[2]


def code_block(language: str) -> str:
    text = (ROOT / "docs/adding-a-model.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(block)


def test_example_builds_a_network_smaller_than_the_crnn_from_its_section() -> None:
    module: dict[str, Any] = {}
    exec(code_block("python"), module)
    params = module["MODEL"].params.model_validate(yaml.safe_load(code_block("yaml"))["models"]["cnn"])
    network = module["MODEL"].builders[params.recipe]((640, 128), 8, params.active_recipe)
    assert network.output_shape == (None, 8)
    crnn = load_params(ROOT / "params.yaml").models["crnn"]
    assert network.count_params() < build_improved((640, 128), 8, crnn.improved).count_params()


def test_example_has_the_keys_of_the_crnns_section() -> None:
    section = yaml.safe_load(code_block("yaml"))["models"]["cnn"]
    crnn = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["models"]["crnn"]
    assert section == {key: value for key, value in crnn.items() if key != "published"}
