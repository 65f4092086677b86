"""vLLM on a processor, in an environment of its own."""

from pathlib import Path

from tests.contract import tiny_models
from tests.contract.engine import Engine, Yaml
from tests.contract.environments import interpreter
from tests.support.required import skip_without


def writer(folder: Path) -> Yaml:
    return {**tiny_models.hf_writer(folder), "dtype": "float32"}


def embedder(folder: Path) -> Yaml:
    return {**tiny_models.hf_embedder(folder), "dtype": "float32"}


def ranker(folder: Path) -> Yaml:
    return {**tiny_models.hf_ranker(folder), "dtype": "float32"}


def seer(folder: Path) -> Yaml:
    """Skip the test where the environment lacks what vLLM reads images with, which is not for processors on PyPI."""
    found = Path(interpreter("vllm")).parent.parent.glob("lib/python*/site-packages/torchvision")
    if not [*found]:
        skip_without("torchvision in the environment of vLLM")
    return {**tiny_models.hf_seer(folder), "dtype": "float32"}


def adapted(folder: Path) -> Yaml:
    room = {"enable_lora": True, "max_loras": 2, "max_lora_rank": 8}
    return {**tiny_models.hf_adapted(folder), "dtype": "float32", "engine_args": room}


ENGINE = Engine(
    name="vllm",
    environment="vllm",
    writer=writer,
    seer=seer,
    adapted=adapted,
    embedder=embedder,
    ranker=ranker,
    tie=1e-3,
    tie_alone=1e-3,
)
