"""transformers in an environment of its own, with weights of 4 bits."""

from pathlib import Path

from tests.contract import tiny_models
from tests.contract.engine import Engine, Yaml


def writer(folder: Path) -> Yaml:
    return tiny_models.hf_writer(folder) | {"quantization": "bnb_4bit"}


ENGINE = Engine(
    name="bitsandbytes",
    backend="transformers",
    environment="transformers",
    writer=writer,
    embedder=tiny_models.hf_embedder,
    ranker=tiny_models.hf_ranker,
)
