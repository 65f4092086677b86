"""sprig's encodings, digests, random texts and paths. Paths are only text here: no file is ever looked at."""

from __future__ import annotations

import base64
import binascii
import hashlib
import posixpath
import secrets
import string
import uuid
import zlib
from collections.abc import Callable

from localai_flask.gotemplate.budget import Budget
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


def sha1sum(text: str) -> str:
    return hashlib.sha1(to_utf8(text), usedforsecurity=False).hexdigest()


def sha256sum(text: str) -> str:
    return hashlib.sha256(to_utf8(text)).hexdigest()


def sha512sum(text: str) -> str:
    return hashlib.sha512(to_utf8(text)).hexdigest()


def adler32sum(text: str) -> str:
    return str(zlib.adler32(to_utf8(text)))


def uuidv4() -> str:
    return str(uuid.uuid4())


def rand_alpha_num(budget: Budget, length: int) -> str:
    return _random(budget, length, string.ascii_letters + string.digits)


def rand_alpha(budget: Budget, length: int) -> str:
    return _random(budget, length, string.ascii_letters)


def rand_numeric(budget: Budget, length: int) -> str:
    return _random(budget, length, string.digits)


def rand_ascii(budget: Budget, length: int) -> str:
    return _random(budget, length, "".join(map(chr, range(32, 127))))


def _random(budget: Budget, length: int, alphabet: str) -> str:
    budget.spend(max(0, length))
    return "".join(secrets.choice(alphabet) for _ in range(length))


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
    "sha1sum": sha1sum,
    "sha256sum": sha256sum,
    "sha512sum": sha512sum,
    "adler32sum": adler32sum,
    "uuidv4": uuidv4,
    "randAlphaNum": rand_alpha_num,
    "randAlpha": rand_alpha,
    "randNumeric": rand_numeric,
    "randAscii": rand_ascii,
    "base": base,
    "dir": dir_,
    "clean": clean,
    "ext": ext,
    "isAbs": is_abs,
}
