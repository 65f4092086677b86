"""OpenVINO on the processor, in 32 bits, of folders that are exported when they are loaded first."""

from __future__ import annotations

from pathlib import Path

from tests.contract import tiny_models
from tests.contract.engine import Engine, Yaml


def writer(folder: Path) -> Yaml:
    return tiny_models.hf_writer(folder) | {"dtype": "float32", "type": "OVModelForCausalLM"}


def embedder(folder: Path) -> Yaml:
    return tiny_models.hf_embedder(folder) | {"dtype": "float32", "type": "OVModelForFeatureExtraction"}


ENGINE = Engine(name="openvino", environment="openvino", writer=writer, embedder=embedder, tie=1e-3)
