"""From the bytes of a request's body to JSON, as it is written by clients of every kind."""

from __future__ import annotations

import codecs
import json
from typing import Any, NoReturn

import flask
import msgspec
import regex
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestEntityTooLarge

from localai_flask.api.request.body.content_coding import coding_of, decompress
from localai_flask.api.request.body.json_bounds import check_bounds, check_depth
from localai_flask.errors import InvalidRequest

ESCAPES = regex.compile(
    rb"((?:[^\\]++|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\(?!u[dD][89a-fA-F]).)*+)(\\u[dD][89a-fA-F]..)?", regex.DOTALL
)
"""Whatever JSON may have before the escape of half of a surrogate pair, and that; linear, as nothing is tried twice."""
MOST_HALVES = 10_000
WIDE = {
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, b"{\0\0\0", b"\0\0\0{"),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"{\0", b"\0{"),
}
"""How a JSON object begins in encodings that are not taken."""


def read_body(request: flask.Request) -> bytes:
    """Read the whole body, decompressed.

    Raises `InvalidRequest` if it is malformed, and HTTP's own errors if its coding is not taken or it is too large.
    """
    coding = coding_of(request)
    try:
        body = request.get_data(cache=False)
    except ParseException as error:
        raise InvalidRequest(f"The body's chunks are malformed: {error}.") from error
    most = request.max_content_length or 0
    # Werkzeug ends a body without a Content-Length at the limit, and says nothing.
    if request.content_length is None and len(body) == most:
        raise RequestEntityTooLarge
    return decompress(body, coding, most) if coding else body


def decode_json(body: bytes) -> Any:
    """Decode JSON; raise `InvalidRequest` with the position of what is wrong, or if there is too much in it.

    Half of a surrogate pair, which programs leave behind that cut a text in the middle of an emoji, becomes U+FFFD:
    a conversation that has one in its past could never go on otherwise.
    """
    for encoding, beginnings in WIDE.items():
        if body.startswith(beginnings):
            raise InvalidRequest(f"The body is {encoding}; send JSON in UTF-8.")
    body = body.removeprefix(codecs.BOM_UTF8)
    check_bounds(body)
    try:
        return _decode(body)
    except InvalidRequest:
        whole = ESCAPES.sub(_replace_half, body, count=MOST_HALVES)
        if whole == body:
            raise
    return _decode(whole)


def _decode(body: bytes) -> Any:
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {_what_is_wrong(body, error)}.") from error
    check_depth(value)
    return value


def _replace_half(found: regex.Match[bytes]) -> bytes:
    return found[1] + rb"\ufffd" if found[2] else found[0]


def _what_is_wrong(body: bytes, error: Exception) -> str:
    try:
        json.loads(body.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as found:
        return f"byte {found.start} is not UTF-8"
    except json.JSONDecodeError as found:
        return f"{found.msg} at line {found.lineno}, column {found.colno}"
    except RecursionError as found:
        return str(found)
    except ValueError as found:  # of the whole library only what `int` says of too many digits, which names its setting
        return "a number has too many digits" if "digits" in str(found) else str(found)
    # The standard library lets pass what JSON forbids: half a surrogate pair, or a number beyond a double's range.
    return "a number is out of range" if "range" in str(error) else "a string has half of a surrogate pair"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
