"""Reads what people and clients name to get a model by; `config.references` knows the forms."""

from __future__ import annotations

from localai_flask.config import references
from localai_flask.config.references import Reference
from localai_flask.gallery.errors import NoReference

__all__ = ["Reference", "parse_reference"]


def parse_reference(text: str) -> Reference:
    """Read a reference of any form; raise `NoReference` with what is wrong with it.

    `owner/repo` is read as one of a hub: look for a model or file of that name first.
    """
    try:
        return references.parse(text)
    except ValueError as error:
        raise NoReference(f"{text[:200]!r} {error}.") from error
