"""All that a GGUF file says of itself, for people: every key of its header with its value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from localai_flask.config.files.bounded import open_regular
from localai_flask.config.files.gguf import MAGIC, MOST_ENTRIES, MOST_KEYS, inspect
from localai_flask.config.files.gguf_reader import ARRAY, SCALARS, STRING, U32, U64, CutOff, Damaged, HeaderReader
from localai_flask.errors import ConfigError

SHORT = 64
"""Entries of the longest list that is always read; vocabularies are longer."""


def read_metadata(path: Path, *, with_lists: bool) -> dict[str, Any]:
    """Read a file's keys; a long list comes as an empty one, unless `with_lists`. Raises `ConfigError` as `inspect`."""
    inspect(path)  # explains what is wrong with the file, if anything
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            return _read(HeaderReader(file, size), MOST_ENTRIES if with_lists else SHORT)
    except (CutOff, Damaged, OSError) as error:
        raise ConfigError(f"{path} was changed while it was read ({error}); ask again.") from None


def _read(reader: HeaderReader, longest: int) -> dict[str, Any]:
    reader.take(len(MAGIC))
    reader.number(U32)  # the format's version
    reader.number(U64)  # the number of tensors, which stand behind the keys
    count = min(reader.number(U64), MOST_KEYS)
    return {reader.name(): _value(reader, longest) for _ in range(count)}


def _value(reader: HeaderReader, longest: int) -> Any:
    kind = reader.number(U32)
    if kind == STRING:
        return reader.text("a text")
    return reader.number(SCALARS[kind]) if kind != ARRAY else _list(reader, longest)


def _list(reader: HeaderReader, longest: int) -> list[Any]:
    kind, count = reader.number(U32), reader.number(U64)
    if kind == STRING and count > longest:
        reader.skip_texts(count)
        return []
    if kind == STRING:
        return [text.decode("utf-8", "replace") for text in reader.texts(count)]
    if count > longest:
        reader.skip(count * SCALARS[kind].size)
        return []
    return [reader.number(SCALARS[kind]) for _ in range(count)]
