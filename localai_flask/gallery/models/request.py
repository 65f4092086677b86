"""What can be asked for: a gallery's model, an address, or a configuration, and what is to be different about it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from localai_flask.gallery.index.entries import EntryFile
from localai_flask.gallery.transport.remote import shown

SHOWN = 120


class InstallRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model to install; the words are those of LocalAI's /models/apply."""

    id: str = ""
    """`gallery@model` or `model`; or what names a model elsewhere, as in `owner/repo`."""
    url: str = ""
    """The address of a gallery's document, of a model's YAML, or of a model."""
    name: str = ""
    """What to call it; else as the gallery or its source does."""
    variant: str = ""
    """Which of an entry's builds to take."""
    config_file: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    files: tuple[EntryFile, ...] = ()
    force: bool = False
    """Whether to write over a model that was not installed by the server, and for an engine that is not here."""
    by_operator: bool = False
    """Whether the operator asks, who may name any address, and no client."""

    @property
    def wanted(self) -> str:
        """What is asked for, in a few words, without the passwords and tokens that an address may have."""
        named = self.id or self.url
        return ((shown(named) if "://" in named else named) or self.name or "a configuration")[:SHOWN]

    @property
    def likeness(self) -> str:
        """A digest that requests for the same thing share."""
        return hashlib.sha256(encode(self)).hexdigest()


encode = msgspec.json.Encoder(order="sorted").encode
decode = msgspec.json.Decoder(InstallRequest).decode
