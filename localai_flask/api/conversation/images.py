"""Images among the content parts of all API families: what they are, before anybody has fetched or opened one."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

from marshmallow import ValidationError

from localai_flask.api.conversation.foreign_past import foreign_text
from localai_flask.api.request.parsing import Unsupported
from localai_flask.chat.images import ImageSource

KINDS = frozenset(("image_url", "input_image", "image"))
"""The types of parts that are images, in one family or another."""
_DATA = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,", re.IGNORECASE)
TEXT_AND_IMAGES = "this server reads text and images only."
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
    if not address and part.get("file_id"):
        raise ValidationError({"file_id": [Unsupported("names a file, which this server does not keep; send it.")]})
    if not isinstance(address, str) or not address:
        raise ValidationError({key: [f"must have {SOURCES}."]})
    try:
        return _of_address(kind, address)
    except ValueError as error:
        raise ValidationError({key: [str(error)]}) from None


def shown_image(part: Mapping[str, Any]) -> str:
    """Return what stands for an image in its message's text; one that cannot be read is shown by its name."""
    try:
        return read_image(part).mark
    except ValidationError:
        return foreign_text(part["type"], part)


def images_in(content: Any) -> dict[str, ImageSource]:
    """Find the images anywhere in a request's messages, by their keys."""
    return {source.key: source for source in _found(content)}


def _found(value: Any) -> Iterator[ImageSource]:
    if isinstance(value, list):
        for each in value:
            yield from _found(each)
    elif isinstance(value, dict):
        if isinstance(kind := value.get("type"), str) and kind in KINDS:
            try:
                yield read_image(value)
                return
            except ValidationError:
                pass  # refused elsewhere, if it is what is asked now
        for each in value.values():
            yield from _found(each)


def _of_source(source: Mapping[str, Any]) -> ImageSource:
    """Read the source of an Anthropic image."""
    kind = source.get("type")
    if kind not in ("base64", "url"):
        raise ValidationError({"source": {"type": [Unsupported("must be one of: base64, url.")]}})
    key = "data" if kind == "base64" else "url"
    text = source.get(key)
    if not isinstance(text, str) or not text:
        raise ValidationError({"source": {key: ["must be a string that is not empty."]}})
    try:
        return ImageSource("image", data=_decoded(text)) if kind == "base64" else _of_address("image", text)
    except ValueError as error:
        raise ValidationError({"source": {key: [str(error)]}}) from None


def _of_address(kind: str, address: str) -> ImageSource:
    if found := _DATA.match(address):
        return ImageSource(kind, data=_decoded(address[found.end() :]))
    if re.match(r"https?://[^/]", address, re.IGNORECASE):
        return ImageSource(kind, url=address)
    raise ValueError(f"must be {SOURCES}.")


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not valid base64.") from None
    if not data:
        raise ValueError("has no bytes.")
    return data
