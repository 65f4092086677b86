"""OpenVINO on the processor, in 32 bits, of folders that are exported when they are loaded first."""

from __future__ import annotations

from pathlib import Path

from tests.contract import tiny_models
from tests.contract.engine import Engine, Yaml
from tests.support.real_models import fetch_minilm


def writer(folder: Path) -> Yaml:
    return tiny_models.hf_writer(folder) | {"dtype": "float32", "type": "OVModelForCausalLM"}


def embedder(folder: Path) -> Yaml:
    return tiny_models.hf_embedder(folder) | {"dtype": "float32", "type": "OVModelForFeatureExtraction"}


def minilm(folder: Path) -> Yaml:
    """Put links to the model's files into a folder, as its export must not stay beside what is shared."""
    (folder / "minilm").mkdir()
    for file in fetch_minilm().iterdir():
        (folder / "minilm" / file.name).symlink_to(file)
    keys = {"dtype": "float32", "type": "OVModelForFeatureExtraction"}
    return {"parameters": {"model": "minilm"}, **keys}


ENGINE = Engine(
    name="openvino",
    environment="openvino",
    writer=writer,
    embedder=embedder,
    real_embedder=minilm,
    has_alternatives=False,
    tie=1e-3,
)
