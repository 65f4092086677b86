"""Makes an RWKV of version 7 with random weights, and a vocabulary of single bytes."""

from __future__ import annotations

import sys
from pathlib import Path

from localai_flask.backends.environments.samples import describe

VOCABULARY, WIDTH, HEAD, LAYERS, LOW = 257, 64, 64, 2, 8


def make_model(folder: Path) -> None:
    """Write the checkpoint, with the names that https://github.com/BlinkDL/RWKV-LM gives its tensors."""
    import torch

    torch.manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"emb.weight": (VOCABULARY, WIDTH), "head.weight": (VOCABULARY, WIDTH)}
    norms = ["ln_out", "blocks.0.ln0"]
    for block in (f"blocks.{layer}" for layer in range(LAYERS)):
        norms += [f"{block}.{name}" for name in ("ln1", "ln2", "att.ln_x")]
        vectors = [f"att.{name}" for name in ("x_r", "x_w", "x_k", "x_v", "x_a", "x_g", "w0", "a0", "v0", "k_k", "k_a")]
        shapes |= {f"{block}.{name}": (1, 1, WIDTH) for name in (*vectors, "ffn.x_k")}
        shapes |= {f"{block}.att.{name}.weight": (WIDTH, WIDTH) for name in ("key", "value", "receptance", "output")}
        shapes |= {f"{block}.att.{name}1": (WIDTH, LOW) for name in "wavg"}
        shapes |= {f"{block}.att.{name}2": (LOW, WIDTH) for name in "wavg"}
        shapes |= {f"{block}.att.r_k": (WIDTH // HEAD, HEAD), f"{block}.ffn.key.weight": (4 * WIDTH, WIDTH)}
        shapes |= {f"{block}.ffn.value.weight": (WIDTH, 4 * WIDTH)}
    weights = {name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}
    weights |= {f"{name}.weight": torch.ones(WIDTH) for name in norms}
    weights |= {f"{name}.bias": torch.zeros(WIDTH) for name in norms}
    torch.save(weights, folder / "rwkv.pth")
    lines = [f"{byte + 1} {bytes([byte])!r} 1" for byte in range(VOCABULARY - 1)]
    (folder / "vocabulary.txt").write_text("\n".join(lines))


if __name__ == "__main__":
    make_model(Path(sys.argv[1]))
    describe(Path(sys.argv[1]), parameters={"model": "rwkv.pth", "tokenizer": "vocabulary.txt"})
