"""The names of control tokens in a GGUF file, for engines that have its vocabulary in another process."""

from __future__ import annotations

import struct
from pathlib import Path

from localai_flask.config.files.bounded import open_regular
from localai_flask.config.files.gguf_reader import ARRAY, SCALARS, STRING, U32, U64, CutOff, Damaged, HeaderReader

TOKENS, TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
CONTROL = 3
"""The number of llama.h's `LLAMA_TOKEN_TYPE_CONTROL`."""


def read_control_tokens(path: Path) -> tuple[str, ...]:
    """Return the names of the tokens that mark turns and the like; none if the file cannot be read."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            return _read(HeaderReader(file, size))
    except (OSError, CutOff, Damaged):
        return ()


def _read(reader: HeaderReader) -> tuple[str, ...]:
    reader.take(8)
    _, entries = reader.number(U64), reader.number(U64)
    names: list[bytes] = []
    types: tuple[int, ...] = ()
    for _ in range(entries):
        key, kind = reader.name(), reader.number(U32)
        if kind != ARRAY:
            reader.skip_text() if kind == STRING else reader.skip(SCALARS[kind].size)
            continue
        inner, count = reader.number(U32), reader.number(U64)
        if inner == STRING and key == TOKENS:
            names = list(reader.texts(count))
        elif inner == STRING:
            reader.skip_texts(count)
        elif key == TYPES:
            types = struct.unpack(f"<{count}i", reader.take(4 * count))
        else:
            reader.skip(count * SCALARS[inner].size)
    return tuple(name.decode("utf-8", "replace") for name, kind in zip(names, types, strict=False) if kind == CONTROL)
