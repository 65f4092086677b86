"""sprig's encodings and paths. Paths are only text here: no file is ever looked at."""

from __future__ import annotations

import base64
import binascii
import posixpath
from collections.abc import Callable

from localai_flask.gotemplate.errors import Fault
from localai_flask.gotemplate.values import Value, from_utf8, to_utf8


def b64enc(text: str) -> str:
    return base64.b64encode(to_utf8(text)).decode()


def b64dec(text: str) -> str:
    try:
        return from_utf8(base64.b64decode(to_utf8(text.replace("\n", "").replace("\r", "")), validate=True))
    except binascii.Error as error:
        raise Fault(f"b64dec: the text is no base64: {error}") from error


def b32enc(text: str) -> str:
    return base64.b32encode(to_utf8(text)).decode()


def b32dec(text: str) -> str:
    try:
        return from_utf8(base64.b32decode(to_utf8(text)))
    except binascii.Error as error:
        raise Fault(f"b32dec: the text is no base32: {error}") from error


def base(path: str) -> str:
    if not path:
        return "."
    return posixpath.basename(path.rstrip("/")) or "/"


def dir_(path: str) -> str:
    return clean(path[: path.rfind("/") + 1])


def clean(path: str) -> str:
    # Two leading slashes are kept by POSIX and by Python, but not by Go.
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def ext(path: str) -> str:
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return name[dot:] if dot >= 0 else ""


def is_abs(path: str) -> bool:
    return path.startswith("/")


TABLE: dict[str, Callable[..., Value]] = {
    "b64enc": b64enc,
    "b64dec": b64dec,
    "b32enc": b32enc,
    "b32dec": b32dec,
    "base": base,
    "dir": dir_,
    "clean": clean,
    "ext": ext,
    "isAbs": is_abs,
}
