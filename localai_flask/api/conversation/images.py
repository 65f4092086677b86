"""Images among the content parts of all API families: what they are, before anybody has fetched or opened one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError

from localai_flask.api.conversation.content_sources import find_parts, place_of_address, place_of_source
from localai_flask.api.request.parsing import Unsupported
from localai_flask.chat.images import ImageSource

KINDS = frozenset(("image_url", "input_image", "image"))
"""The types of parts that are images, in one family or another."""
SOURCES = "an `https://` address, or `data:image/…;base64,…`"


def read_image(part: Mapping[str, Any]) -> ImageSource:
    """Read a part of one of `KINDS`; raise `ValidationError` with what is wrong with it."""
    kind = part["type"]
    source = part.get("source")
    if kind == "image" and isinstance(source, Mapping):
        return _of_source(source)
    key = "image_url" if "image_url" in part else kind
    address = part.get(key)
    if isinstance(address, Mapping):
        address = address.get("url")
    if not address and (file_id := part.get("file_id")):
        if not isinstance(file_id, str):
            raise ValidationError({"file_id": ["must be a string."]})
        return ImageSource(kind, file_id=file_id)
    if not isinstance(address, str) or not address:
        raise ValidationError({key: [f"must have {SOURCES}."]})
    try:
        return ImageSource(kind, *place_of_address(address, SOURCES))
    except ValueError as error:
        raise ValidationError({key: [str(error)]}) from None


def images_in(content: Any) -> dict[str, ImageSource]:
    """Find the images anywhere in a request's messages, by their keys."""
    return {source.key: source for source in find_parts(content, KINDS, read_image)}


def _of_source(source: Mapping[str, Any]) -> ImageSource:
    """Read the source of an Anthropic image."""
    if source.get("type") not in ("base64", "url", "file"):
        raise ValidationError({"source": {"type": [Unsupported("must be one of: base64, url, file.")]}})
    return ImageSource("image", *place_of_source(source, SOURCES))
