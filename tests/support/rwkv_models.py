"""Tiny checkpoints of RWKV with random weights, of the versions 4 and 7, and their vocabulary; written with torch.

The names and shapes are those of https://github.com/BlinkDL/RWKV-LM.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

END = 0
"""The token that ends a text, which no vocabulary file has."""
WORDS = (" the", "the", " a", "User", "Assistant", ":", "\n\n", "hello", "你", "ab", "abc")
WIDTH, HEAD, LAYERS = 64, 32, 2
SQUARE = ("key", "value", "receptance", "output")


def write_vocabulary(path: Path) -> int:
    """Write a vocabulary of all bytes and a few words, in the format of rwkv_vocab_v20230424; return its size."""
    tokens = [bytes([byte]) for byte in range(256)] + [word.encode() for word in WORDS if len(word.encode()) > 1]
    with path.open("w", encoding="utf-8") as file:
        for index, token in enumerate(tokens, 1):
            try:
                shown = repr(token.decode())
            except UnicodeDecodeError:
                shown = repr(token)
            file.write(f"{index} {shown} {len(token)}\n")
    return len(tokens) + 1


def write_checkpoint(path: Path, version: int, vocabulary: int, *, seed: int = 0, hidden: tuple[int, ...] = ()) -> None:
    """Write a model whose texts differ by their prompts; the tokens `hidden` have a logit of 0, which is never best."""
    import torch

    torch.manual_seed(seed)
    weights: dict[str, Any] = {
        "emb.weight": torch.randn(vocabulary, WIDTH),
        "ln_out.weight": torch.ones(WIDTH),
        "ln_out.bias": torch.zeros(WIDTH),
        "head.weight": torch.randn(vocabulary, WIDTH) * 0.3,
        "blocks.0.ln0.weight": torch.ones(WIDTH),
        "blocks.0.ln0.bias": torch.zeros(WIDTH),
    }
    for layer in range(LAYERS):
        block = _mixing_7(layer) if version == 7 else _mixing_4()
        norms = {"weight": torch.ones, "bias": torch.zeros}
        block |= {f"ln{n}.{part}": fill(WIDTH) for n in (1, 2) for part, fill in norms.items()}
        weights |= {f"blocks.{layer}.{name}": tensor for name, tensor in block.items()}
    weights["head.weight"][list(hidden)] = 0
    torch.save(weights, path)


def _mixing_4() -> dict[str, Any]:
    import torch

    square = {f"att.{name}.weight": torch.randn(WIDTH, WIDTH) * 0.3 for name in SQUARE}
    mixes = {f"att.time_mix_{name}": torch.rand(1, 1, WIDTH) for name in "kvr"}
    return {
        **square,
        **mixes,
        "att.time_decay": torch.randn(WIDTH),
        "att.time_first": torch.randn(WIDTH),
        "ffn.time_mix_k": torch.rand(1, 1, WIDTH),
        "ffn.time_mix_r": torch.rand(1, 1, WIDTH),
        "ffn.key.weight": torch.randn(4 * WIDTH, WIDTH) * 0.3,
        "ffn.value.weight": torch.randn(WIDTH, 4 * WIDTH) * 0.3,
        "ffn.receptance.weight": torch.randn(WIDTH, WIDTH) * 0.3,
    }


def _mixing_7(layer: int) -> dict[str, Any]:
    import torch

    low = 8
    square = {f"att.{name}.weight": torch.randn(WIDTH, WIDTH) * 0.3 for name in SQUARE}
    mixes = {f"att.x_{name}": torch.rand(1, 1, WIDTH) for name in "rwkvag"}
    vectors = {f"att.{name}": torch.randn(1, 1, WIDTH) * 0.3 for name in ("w0", "a0", "k_k", "k_a")}
    factors = {f"att.{name}1": torch.randn(WIDTH, low) * 0.3 for name in "wag"}
    factors |= {f"att.{name}2": torch.randn(low, WIDTH) * 0.3 for name in "wag"}
    if layer:
        vectors["att.v0"] = torch.randn(1, 1, WIDTH) * 0.3
        factors |= {"att.v1": torch.randn(WIDTH, low) * 0.3, "att.v2": torch.randn(low, WIDTH) * 0.3}
    return {
        **square,
        **mixes,
        **vectors,
        **factors,
        "att.r_k": torch.randn(WIDTH // HEAD, HEAD) * 0.3,
        "att.ln_x.weight": torch.ones(WIDTH),
        "att.ln_x.bias": torch.zeros(WIDTH),
        "ffn.x_k": torch.rand(1, 1, WIDTH),
        "ffn.key.weight": torch.randn(4 * WIDTH, WIDTH) * 0.3,
        "ffn.value.weight": torch.randn(WIDTH, 4 * WIDTH) * 0.3,
    }
