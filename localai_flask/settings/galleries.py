"""What is set of galleries: where they lie, and what is to be installed from them when the server starts."""

from __future__ import annotations

import re
from typing import Any

import msgspec

SHIPPED = "builtin:"
"""The address of the gallery that comes with this package."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FORM = 'write a JSON list, as in [{"name":"mine","url":"https://example.org/index.yaml"}]'


class Gallery(msgspec.Struct, frozen=True, omit_defaults=True):
    """A gallery: its name, where its index lies, and where else if it cannot be had there."""

    name: str
    url: str
    mirrors: tuple[str, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.url, *self.mirrors)


DEFAULT = (
    Gallery("localai-flask", SHIPPED),
    Gallery("localai", "https://index.localai.io/models", ("github:mudler/LocalAI/gallery/index.yaml@master",)),
)


def parse_galleries(text: str) -> tuple[Gallery, ...]:
    """Read the setting, of which an empty one means the default; raise `ValueError` with what is wrong with it."""
    if not text.strip():
        return DEFAULT
    try:
        raw: Any = msgspec.json.decode(text)
        galleries = msgspec.convert(raw, tuple[Gallery, ...])
    except msgspec.ValidationError as error:
        raise ValueError(f"{error}; {_FORM}") from None
    except msgspec.DecodeError:
        raise ValueError(f"it is no JSON; {_FORM}") from None
    names = [gallery.name for gallery in galleries]
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"the name {name!r} must be of letters, digits, dots, dashes and underscores")
        if names.count(name) > 1:
            raise ValueError(f"the name {name!r} stands there twice")
    return galleries


def parse_preloads(text: str) -> list[dict[str, Any]]:
    """Read what to install at the start; raise `ValueError` with what is wrong with it."""
    try:
        found: list[dict[str, Any]] = msgspec.json.decode(text or "[]", type=list[dict[str, Any]])
    except msgspec.DecodeError:
        said = 'it is no JSON list of objects; write [{"id":"gallery@model"}], with what else /models/apply takes'
        raise ValueError(said) from None
    return found
