"""What of a GGUF file's vocabulary an engine has to know that has it in another process."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from localai_flask.config.files.bounded import open_regular
from localai_flask.config.files.gguf_reader import ARRAY, SCALARS, STRING, U32, U64, CutOff, Damaged, HeaderReader

MODEL, TOKENS, TYPES = "tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
CONTROL = 3
"""The number of llama.h's `LLAMA_TOKEN_TYPE_CONTROL`."""


class Vocabulary(NamedTuple):
    """`control` are the names of tokens that mark turns and the like; `model` is how texts are cut, as in "bert"."""

    model: str = ""
    control: tuple[str, ...] = ()


def read_vocabulary(path: Path) -> Vocabulary:
    """Return what a file says of its vocabulary; nothing if it cannot be read."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            return _read(HeaderReader(file, size))
    except (OSError, CutOff, Damaged):
        return Vocabulary()


def _read(reader: HeaderReader) -> Vocabulary:
    reader.take(8)
    _, entries = reader.number(U64), reader.number(U64)
    model, names, types = "", list[bytes](), tuple[int, ...]()
    for _ in range(entries):
        key, kind = reader.name(), reader.number(U32)
        if key == MODEL and kind == STRING:
            model = reader.text(MODEL)
        elif kind != ARRAY:
            reader.skip_text() if kind == STRING else reader.skip(SCALARS[kind].size)
        elif key == TOKENS:
            _, count = reader.number(U32), reader.number(U64)
            names = list(reader.texts(count))
        elif key == TYPES:
            _, count = reader.number(U32), reader.number(U64)
            types = struct.unpack(f"<{count}i", reader.take(4 * count))
        else:
            _skip_array(reader)
    pairs = zip(names, types, strict=False)
    return Vocabulary(model, tuple(name.decode("utf-8", "replace") for name, kind in pairs if kind == CONTROL))


def _skip_array(reader: HeaderReader) -> None:
    kind, count = reader.number(U32), reader.number(U64)
    if kind == STRING:
        reader.skip_texts(count)
    else:
        reader.skip(count * SCALARS[kind].size)
