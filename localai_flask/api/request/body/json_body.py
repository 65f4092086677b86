"""From the bytes of a request's body to JSON, as it is written by clients of every kind."""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any, NoReturn

import flask
import msgspec
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestEntityTooLarge

from localai_flask.api.request.body.content_coding import coding_of, decompress
from localai_flask.api.request.body.json_bounds import check_bounds, check_depth
from localai_flask.errors import InvalidRequest

HALF = re.compile("[\ud800-\udfff]")
NUMBERS = (int, float)
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
        value = msgspec.json.decode(body)
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        value = _decode_leniently(body)
        check_depth(value)
        mended = _mended(value)
        if mended == value:
            raise _refused(str(error)) from error
        return mended
    check_depth(value)
    return value


def _decode_leniently(body: bytes) -> Any:
    """Decode as the standard library does, which takes half a surrogate pair, and numbers beyond a double's range."""
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as found:
        problem = f"byte {found.start} is not UTF-8"
    except json.JSONDecodeError as found:
        problem = f"{found.msg} at line {found.lineno}, column {found.colno}"
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as found:  # of the whole library only what `int` says of too many digits, which names its setting
        problem = "a number has too many digits" if "digits" in str(found) else str(found)
    raise _refused(problem)


def _mended(value: Any) -> Any:
    """Return a decoded value with U+FFFD for each half of a surrogate pair; raise `InvalidRequest` for wide numbers."""
    if isinstance(value, str):
        return value if value.isascii() else HALF.sub("\ufffd", value)
    if isinstance(value, dict):
        return dict(zip(map(_mended, value), _mended(list(value.values())), strict=True))
    if isinstance(value, list):
        if math.inf in value or -math.inf in value:
            raise _refused("a number is out of range")
        return [each if type(each) in NUMBERS else _mended(each) for each in value]
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _refused(problem: str) -> InvalidRequest:
    return InvalidRequest(f"The body is not valid JSON: {problem}.")
