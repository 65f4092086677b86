"""transformers in the server's own environment."""

from pathlib import Path

from tests.contract import tiny_models
from tests.contract.engine import Engine, Yaml
from tests.support.real_models import fetch_minilm


def minilm(folder: Path) -> Yaml:
    (folder / "minilm").symlink_to(fetch_minilm())
    return {"parameters": {"model": "minilm"}, "type": "SentenceTransformer"}


ENGINE = Engine(
    name="transformers",
    is_quick=True,
    writer=tiny_models.hf_writer,
    seer=tiny_models.hf_seer,
    embedder=tiny_models.hf_embedder,
    ranker=tiny_models.hf_ranker,
    real_embedder=minilm,
)
