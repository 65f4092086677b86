"""llama.cpp through llama-cpp-python."""

from pathlib import Path

from tests.contract import tiny_models
from tests.contract.engine import Engine, Yaml
from tests.support.real_models import fetch_smollm2


def smollm2(folder: Path) -> Yaml:
    real = fetch_smollm2()
    (folder / real.name).symlink_to(real)
    return {"parameters": {"model": real.name}, "context_size": 1024, "threads": 2, "flash_attention": "off"}


ENGINE = Engine(
    name="llama-cpp",
    is_quick=True,
    writer=tiny_models.gguf_writer,
    seer=tiny_models.gguf_seer,
    embedder=tiny_models.gguf_embedder,
    ranker=tiny_models.gguf_ranker,
    real_writer=smollm2,
    # It adds up in another order for a batch of another size, and for tokens that lie elsewhere in the cache.
    tie=0.05,
    real_tie=0.8,
    real_tie_alone=0.3,
)
