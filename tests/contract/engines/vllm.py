"""vLLM on a processor, in an environment of its own."""

from pathlib import Path

from tests.contract import tiny_models
from tests.contract.engine import Engine, Yaml


def writer(folder: Path) -> Yaml:
    return {**tiny_models.hf_writer(folder), "dtype": "float32"}


def embedder(folder: Path) -> Yaml:
    return {**tiny_models.hf_embedder(folder), "dtype": "float32"}


def ranker(folder: Path) -> Yaml:
    return {**tiny_models.hf_ranker(folder), "dtype": "float32"}


ENGINE = Engine(
    name="vllm",
    environment="vllm",
    writer=writer,
    embedder=embedder,
    ranker=ranker,
    tie=1e-3,
    tie_alone=1e-3,
)
