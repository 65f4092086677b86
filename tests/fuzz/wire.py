"""How a request is put on the wire: what clients, proxies and tools do to paths, headers and bodies."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from dataclasses import replace
from random import Random
from typing import Any

from tests.support.mutated_requests import HEADERS, Request

KEY = "sk-fuzz"
BUILTIN = '[{"name":"localai-flask","url":"builtin:"}]'
"""Galleries that need no network."""
KNOWN = "resp_known"
"""Stands for the id of a response that is there."""
JSON = {"Content-Type": "application/json"}
KEYS: list[dict[str, str]] = [
    {"Authorization": f"Bearer {KEY}"},
    {"Authorization": f"bearer  {KEY}"},
    {"Authorization": KEY},
    {"x-api-key": KEY},
    {"api-key": KEY},
    {"Authorization": "Bearer tiny", "x-api-key": KEY},
    {"Authorization": f"Basic {KEY}"},
    {"Authorization": "Bearer"},
    {"x-api-key": "\xff\xfe"},
    {},
]
TYPES = [
    *(
        "text/plain",
        "application/json; charset=utf-8",
        "application/json; charset=utf-16",
        "application/xml",
        ";;;",
        "",
    ),
    *("application/x-www-form-urlencoded", "multipart/form-data", "application/json, application/json"),
]
MORE: list[dict[str, str]] = [
    *HEADERS,
    {"Accept": "text/event-stream"},
    {"Accept": "image/png;q=x, */*;q=0"},
    {"Accept-Encoding": "br"},
    {"X-Long": "x" * 60_000},
    {"X-Forwarded-Prefix": "/ai", "X-Forwarded-Proto": "https", "X-Forwarded-For": "1.2.3.4, x"},
    {"X-Forwarded-For": ",,", "X-Forwarded-Prefix": "//evil/.."},
    {"Host": "[::1"},
    {"Host": ""},
    {"Host": "a.example"},
    {"Origin": "null"},
    {"Expect": "100-continue"},
    {"Range": "bytes=5-1"},
    {"If-None-Match": '"'},
    {"If-Modified-Since": "never"},
    {"Cookie": "a=b; token=\xe9"},
    {"anthropic-version": "2023-06-01"},
    {"traceparent": "00-zz"},
    {"Access-Control-Request-Method": "POST", "Origin": "http://a.example"},
    {"Sec-Fetch-Site": "cross-site"},
]


def encode(body: Any, random: Random) -> bytes:
    """Write JSON as one client or another does."""
    text = json.dumps(body, ensure_ascii=random.random() < 0.8, allow_nan=True)
    if random.random() < 0.97:
        return text.encode("utf-8", "surrogatepass")
    kind = random.randrange(5)
    if kind == 0:
        return codecs.BOM_UTF8 + text.encode("utf-8", "surrogatepass")
    if kind == 1:
        return text.encode("utf-16", "surrogatepass")
    if kind == 2:
        return text.replace("{", '{"model":"other",', 1).encode("utf-8", "surrogatepass")
    return text.encode("utf-8", "surrogatepass")[: random.randrange(len(text) + 1)]


def dress(request: Request, random: Random) -> Request:
    """Put a request on the wire in one of many ways, most often plainly."""
    headers = {**(JSON if request.body else {}), **request.headers}
    headers |= random.choice(KEYS[:6] if random.random() < 0.9 else KEYS)
    body, path = request.body, request.path
    if random.random() < 0.1:
        headers |= random.choice(MORE)
    if body and random.random() < 0.05:
        headers["Content-Type"] = random.choice(TYPES)
    if body and random.random() < 0.05:
        body, headers["Content-Encoding"] = _compress(body, random)
    if random.random() < 0.05:
        path = random.choice(("//" + path[1:], path.replace("/", "//"), _with_slash(path)))
    return replace(request, path=path, body=body, headers=headers)


def _with_slash(path: str) -> str:
    before, question, query = path.partition("?")
    return f"{before}/{question}{query}"


def _compress(body: bytes, random: Random) -> tuple[bytes, str]:
    packed = gzip.compress(body, 1)
    return random.choice(
        [
            (packed, "gzip"),
            (gzip.compress(body[:9]) + gzip.compress(body[9:]), "gzip"),
            (zlib.compress(body), "deflate"),
            (zlib.compress(body)[2:-4], "deflate"),
            (packed[: random.randrange(len(packed))], "gzip"),
            (gzip.compress(b" " * 2**24, 1), "gzip"),
            (body, "gzip"),
            (body, "br"),
            (body, "identity"),
        ]
    )
