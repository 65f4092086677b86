"""RWKV 7 by the rwkv package, with a vocabulary of RWKV's own."""

from pathlib import Path

from tests.contract.engine import Engine, Yaml
from tests.contract.tiny_models import is_printable
from tests.support import rwkv_models


def write_world(folder: Path) -> Yaml:
    size = rwkv_models.write_vocabulary(folder / "writer.vocab.txt")
    hidden = (0, *(token for token in range(1, 257) if not is_printable(chr(token - 1))), *range(257, size))
    rwkv_models.write_checkpoint(folder / "writer.pth", 7, size, hidden=hidden)
    return {"parameters": {"model": "writer.pth"}, "threads": 1}


ENGINE = Engine(
    name="rwkv",
    environment="rwkv",
    writer=write_world,
    chat_prompt="User: {}\n\nAssistant:",
    end_text="<|endoftext|>",
    # A prompt is read in other pieces behind what is kept of another.
    tie=1e-4,
)
