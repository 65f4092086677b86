"""Where the bytes of an image or a document among the content parts are: in the request, at an address, or uploaded."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from marshmallow import ValidationError

Source = TypeVar("Source")
_DATA = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,", re.IGNORECASE)


class Place(NamedTuple):
    """Bytes, or where they are; one of the three is there."""

    data: bytes = b""
    url: str = ""
    file_id: str = ""


def place_of_address(address: str, wanted: str) -> Place:
    """Read an address, which may hold the bytes itself; raise `ValueError` with what is `wanted` if it is none."""
    if found := _DATA.match(address):
        return Place(data=decoded(address[found.end() :]))
    if re.match(r"https?://[^/]", address, re.IGNORECASE):
        return Place(url=address)
    raise ValueError(f"must be {wanted}.")


def place_of_source(source: Mapping[str, Any], wanted: str) -> Place:
    """Read an Anthropic source of the type base64, url or file."""
    keys = {"base64": "data", "url": "url", "file": "file_id"}
    kind = source["type"]
    text = source.get(keys[kind])
    if not isinstance(text, str) or not text:
        raise ValidationError({"source": {keys[kind]: ["must be a string that is not empty."]}})
    try:
        match kind:
            case "base64":
                return Place(data=decoded(text))
            case "url":
                return place_of_address(text, wanted)
    except ValueError as error:
        raise ValidationError({"source": {keys[kind]: [str(error)]}}) from None
    return Place(file_id=text)


def decoded(text: str) -> bytes:
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not valid base64.") from None
    if not data:
        raise ValueError("has no bytes.")
    return data


def find_parts(
    content: Any, kinds: Collection[str], read: Callable[[Mapping[str, Any]], Source | None]
) -> Iterator[Source]:
    """Find the parts of some types anywhere in a request's messages, and yield what is read of each.

    Those that are broken are passed over: they are refused elsewhere, if they are what is asked now.
    """
    if isinstance(content, list):
        for each in content:
            yield from find_parts(each, kinds, read)
    elif isinstance(content, dict):
        if isinstance(kind := content.get("type"), str) and kind in kinds:
            try:
                source = read(content)
            except ValidationError:
                source = None
            if source is not None:
                yield source
                return
        for each in content.values():
            yield from find_parts(each, kinds, read)
