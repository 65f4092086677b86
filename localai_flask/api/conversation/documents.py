"""Documents among the content parts of all API families: what they are, before anybody has fetched or opened one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError

from localai_flask.api.conversation.content_sources import (
    Place,
    decoded,
    find_parts,
    place_of_address,
    place_of_source,
)
from localai_flask.api.request.parsing import Unsupported
from localai_flask.chat.documents import DocumentSource
from localai_flask.documents.pages import DETAILS

KINDS = frozenset(("file", "input_file", "document"))
"""The types of parts that are documents: of chat completions, of Responses and of Messages."""
SOURCES = "an `https://` address, or `data:…;base64,…`"
PLACES = ("file_data", "file_id", "file_url")
INLINE = ("text", "content")
"""The types of an Anthropic document's source whose text stands in the request as text."""


def read_document(part: Mapping[str, Any]) -> DocumentSource:
    """Read a part of one of `KINDS`; raise `ValidationError` with what is wrong with it."""
    kind = part["type"]
    if kind == "document":
        return _of_block(part)
    if kind != "file":
        return _of_fields(kind, part)
    fields = part.get("file")
    if not isinstance(fields, Mapping):
        raise ValidationError({"file": ["must be an object with `file_data` or `file_id`."]})
    try:
        return _of_fields(kind, fields)
    except ValidationError as error:
        raise ValidationError({"file": error.messages}) from None


def documents_in(content: Any) -> dict[str, DocumentSource]:
    """Find the documents anywhere in a request's messages, by their keys."""
    return {source.key: source for source in find_parts(content, KINDS, _read_unless_inline)}


def _read_unless_inline(part: Mapping[str, Any]) -> DocumentSource | None:
    """Read a document; None if its text stands in the request, where there may be further parts."""
    source = part.get("source")
    return None if isinstance(source, Mapping) and source.get("type") in INLINE else read_document(part)


def _of_fields(kind: str, fields: Mapping[str, Any]) -> DocumentSource:
    given = [key for key in PLACES if fields.get(key)]
    if not given:
        raise ValidationError({PLACES[0]: [f"is missing; send one of {', '.join(PLACES)}."]})
    if len(given) > 1:
        raise ValidationError({given[1]: [f"must be the only one of {', '.join(PLACES)}."]})
    key, value = given[0], fields[given[0]]
    if not isinstance(value, str):
        raise ValidationError({key: ["must be a string."]})
    try:
        place = _place(key, value)
    except ValueError as error:
        raise ValidationError({key: [str(error)]}) from None
    return DocumentSource(kind, *place, name=_text(fields, "filename"), detail=_detail(fields))


def _place(key: str, value: str) -> Place:
    if key == "file_id":
        return Place(file_id=value)
    if key == "file_data" and not value.startswith("data:"):
        return Place(data=decoded(value))
    place = place_of_address(value, SOURCES)
    if key == "file_data" and place.url:
        raise ValueError("must be base64; an address belongs into `file_url`.")
    return place


def _of_block(block: Mapping[str, Any]) -> DocumentSource:
    source = block.get("source")
    kind = source.get("type") if isinstance(source, Mapping) else None
    if not isinstance(source, Mapping) or kind not in ("base64", "url", "file"):
        allowed = "base64, url, file, text, content"
        raise ValidationError({"source": {"type": [Unsupported(f"must be one of: {allowed}.")]}})
    place = place_of_source(source, SOURCES)
    name, context = _text(block, "title"), _text(block, "context")
    return DocumentSource("document", *place, name=name, context=context, detail=_detail(block))


def _detail(fields: Mapping[str, Any]) -> str:
    detail = fields.get("detail")
    if detail is None:
        return "auto"
    if detail not in DETAILS:
        raise ValidationError({"detail": [f"must be one of: {', '.join(DETAILS)}."]})
    return str(detail)


def _text(fields: Mapping[str, Any], key: str) -> str:
    """Return what a client says of a document; nothing if it is no text."""
    value = fields.get(key)
    return value if isinstance(value, str) else ""
