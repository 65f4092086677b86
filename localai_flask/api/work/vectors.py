"""The numbers of vectors that a model has answered with."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence

from localai_flask.errors import InvalidRequest
from localai_flask.inquiry import Embedded


def rows_of(found: Embedded, dimensions: int | None = None, field: str = "dimensions") -> list[array[float]]:
    """Return the vectors of a text, one unless the model pools none, each cut to a number of dimensions if wanted.

    Raises `InvalidRequest` if they have not that many, which the request calls `field`.
    """
    numbers = array("f", found.data)
    if sys.byteorder == "big":
        numbers.byteswap()
    rows = [numbers[begin : begin + found.dimension] for begin in range(0, len(numbers), found.dimension)]
    return rows if dimensions is None else [_shortened(row, dimensions, field) for row in rows]


def as_bytes(rows: Sequence[array[float]]) -> bytes:
    """Return vectors as little-endian 32-bit floats, one after the other."""
    if sys.byteorder == "big":
        for row in rows:
            row.byteswap()
    return b"".join(row.tobytes() for row in rows)


def _shortened(row: array[float], dimensions: int, field: str) -> array[float]:
    """Cut a vector and bring it back to length 1, as is right for models trained to put what matters most first."""
    if dimensions > len(row):
        raise InvalidRequest(
            f"`{field}` is {dimensions} but this model's vectors have {len(row)} numbers; ask for fewer.",
            param=field,
        )
    cut = row[:dimensions]
    length = math.sqrt(sum(number * number for number in cut))
    return array("f", (number / length for number in cut)) if length else cut
