"""Writes a Llama of one layer with random weights as a GGUF file, without any library."""

from __future__ import annotations

import random
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

from localai_flask.backends.environments.samples import describe

WIDTH, INNER, HEADS = 64, 128, 2
ALIGNMENT = 32
UINT32, FLOAT32, STRING, ARRAY = 4, 6, 8, 9
"""Types of values in a GGUF header."""
INT32 = 5
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
"""Types of tokens."""
Tensor = tuple[Sequence[int], "array[float]"]


def make_model(path: Path) -> None:
    """Write a model whose vocabulary is that of bytes."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    kinds = [UNKNOWN, CONTROL, CONTROL, *([BYTE] * 256), NORMAL]
    values = {
        "general.architecture": _string("llama"),
        "llama.context_length": _number(256),
        "llama.embedding_length": _number(WIDTH),
        "llama.block_count": _number(1),
        "llama.feed_forward_length": _number(INNER),
        "llama.attention.head_count": _number(HEADS),
        "llama.attention.layer_norm_rms_epsilon": struct.pack("<If", FLOAT32, 1e-5),
        "tokenizer.ggml.model": _string("llama"),
        "tokenizer.ggml.tokens": _array(STRING, len(tokens), b"".join(map(_text, tokens))),
        "tokenizer.ggml.scores": _array(FLOAT32, len(tokens), bytes(4 * len(tokens))),
        "tokenizer.ggml.token_type": _array(INT32, len(kinds), array("i", kinds).tobytes()),
        "tokenizer.ggml.bos_token_id": _number(1),
        "tokenizer.ggml.eos_token_id": _number(2),
    }
    chance = random.Random(0)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (WIDTH, len(tokens)),
        "output_norm.weight": (WIDTH,),
        "output.weight": (WIDTH, len(tokens)),
        "blk.0.attn_norm.weight": (WIDTH,),
        **{f"blk.0.attn_{part}.weight": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")},
        "blk.0.ffn_norm.weight": (WIDTH,),
        "blk.0.ffn_gate.weight": (WIDTH, INNER),
        "blk.0.ffn_up.weight": (WIDTH, INNER),
        "blk.0.ffn_down.weight": (INNER, WIDTH),
    }
    path.write_bytes(_file(values, {name: _random(shape, chance) for name, shape in shapes.items()}))


def _file(values: Mapping[str, bytes], tensors: Mapping[str, Tensor]) -> bytes:
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(values))
    header += b"".join(_text(name) + value for name, value in values.items())
    data = b""
    for name, (shape, numbers) in tensors.items():
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        header += _text(name) + sizes + struct.pack("<IQ", 0, len(data))
        data += _padded(numbers.tobytes())
    return _padded(header) + data


def _random(shape: Sequence[int], chance: random.Random) -> Tensor:
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    if len(shape) == 1:
        return shape, array("f", [1.0] * count)
    return shape, array("f", (chance.gauss(0.0, 0.3) for _ in range(count)))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _string(text: str) -> bytes:
    return struct.pack("<I", STRING) + _text(text)


def _number(value: int) -> bytes:
    return struct.pack("<II", UINT32, value)


def _array(kind: int, count: int, data: bytes) -> bytes:
    return struct.pack("<IIQ", ARRAY, kind, count) + data


if __name__ == "__main__":
    make_model(Path(sys.argv[1]) / "tiny.gguf")
    describe(Path(sys.argv[1]), parameters={"model": "tiny.gguf"}, context_size=128)
