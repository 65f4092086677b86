"""The list of tensors in a GGUF file's header: how large each is, where the last one ends, and what a layer takes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from localai_flask.config.files.gguf_reader import SHOWN_BYTES, U32, U64, Damaged, HeaderReader

MOST_TENSORS = 1 << 16
# fmt: off
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 30: (1, 2), 28: (1, 8),  # F32 F16 BF16 F64
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),  # I8 I16 I32 I64
    2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),  # Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q8_1
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),  # Q2_K to Q8_K
    16: (256, 66), 17: (256, 74), 22: (256, 82), 18: (256, 98), 21: (256, 110),  # IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S
    19: (256, 50), 29: (256, 56), 20: (32, 18), 23: (256, 136),  # IQ1_S IQ1_M IQ4_NL IQ4_XS
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),  # TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0
}
# fmt: on
"""ggml tensor type to (elements, bytes) of one block."""

_BLOCK = re.compile(r"blk\.(\d{1,5})\.")


class Tensor(NamedTuple):
    """A tensor's place, in bytes from the start of the data; one of a type that we do not know counts as empty."""

    name: str
    begin: int
    size: int
    elements: int = 0


def read_tensors(reader: HeaderReader, count: int) -> Iterator[Tensor]:
    for _ in range(count):
        name, n_dims = reader.name(), reader.number(U32)
        if not name or n_dims > 4:
            raise Damaged(f"its tensor {name[:SHOWN_BYTES]!r} claims {n_dims} dimensions; download it again")
        elements = math.prod(reader.number(U64) for _ in range(n_dims))
        per_block, block_bytes = _BLOCKS.get(reader.number(U32), (1, 0))
        yield Tensor(name, reader.number(U64), -(-elements // per_block) * block_bytes, elements)


def layer_bytes(tensors: list[Tensor]) -> tuple[int, ...]:
    """Sum up each layer's tensors, up to the last layer that has any."""
    sizes: dict[int, int] = {}
    for tensor in tensors:
        if block := _BLOCK.match(tensor.name):
            sizes[int(block[1])] = sizes.get(int(block[1]), 0) + tensor.size
    return tuple(sizes.get(layer, 0) for layer in range(min(max(sizes, default=-1) + 1, MOST_TENSORS)))


def find_data_end(metadata: dict[str, Any], header_end: int, tensors: list[Tensor]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise Damaged(f"its `general.alignment` is {alignment!r}; download it again")
    if not tensors:
        return header_end
    return -(-header_end // alignment) * alignment + max(tensor.begin + tensor.size for tensor in tensors)
