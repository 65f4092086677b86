"""Calls as a name and a JSON value that ends by itself: Mistral, Functionary 3.2, and Llama's bare objects."""

from __future__ import annotations

import hashlib
import re

from localai_flask.chat.formats import jsontext
from localai_flask.chat.formats.base import CallSyntax, Found, ParsedCall, Refused, ToolFormat, Verdict

LONGEST_HEAD = 200


def _named(opening: str, head: re.Pattern[str], beginnings: re.Pattern[str]) -> CallSyntax:
    """Make the syntax of a head with a name (the first group of `head`) and an object of arguments behind it.

    `beginnings` matches all texts that can become a head.
    """

    def scan(body: str, seen: int) -> Verdict:
        start = body.find("{")
        written = body if start < 0 else body[:start]
        if len(written) > LONGEST_HEAD or not beginnings.fullmatch(written):
            return Refused()
        if start < 0:
            return None
        found = head.fullmatch(written)
        if found is None:
            return Refused()
        if not jsontext.has_closer(body, seen):
            return None
        end = jsontext.value_end(body, start)
        if end is None:
            return None
        text = jsontext.object_text(body[start:end])
        return Refused() if text is None else Found([ParsedCall(found[1], text)], end)

    return CallSyntax(opening, scan, lambda body: None)


# Mistral: [TOOL_CALLS][{"name": …, "arguments": …}, …] until 2024, [TOOL_CALLS]NAME[CALL_ID]ID[ARGS]{…} since.

_MISTRAL_HEAD = re.compile(r"\s*([\w.\-]+)(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*")
_MISTRAL_BEGINNINGS = re.compile(r"\s*[\w.\-\[\]]*\s*")
_mistral_named = _named("[TOOL_CALLS]", _MISTRAL_HEAD, _MISTRAL_BEGINNINGS)
_mistral_listed = jsontext.unclosed("[TOOL_CALLS]")


def _scan_mistral(body: str, seen: int) -> Verdict:
    listed = body.lstrip()[:1] in ("[", "{")
    return (_mistral_listed if listed else _mistral_named).scan(body, seen)


def mistral_id(id: str, name: str, number: int) -> str:
    """Give the nine letters and digits that Mistral's templates want, the same for the same id."""
    if re.fullmatch("[a-zA-Z0-9]{9}", id):
        return id
    return hashlib.sha256(f"{id}/{name}/{number}".encode() if not id else id.encode()).hexdigest()[:9]


MISTRAL = ToolFormat(
    "mistral",
    (CallSyntax("[TOOL_CALLS]", _scan_mistral, lambda body: None),),
    preserved=("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
    call_id=mistral_id,
    ends_thinking=True,
)


# Functionary 3.2: >>>all, a new line and text; or >>>NAME, a new line and {…}

_RECIPIENT = re.compile(r"([\w.\-]+)\s*")
_functionary_named = _named(">>>", _RECIPIENT, re.compile(r"[\w.\-]*\s*"))


def _scan_functionary(body: str, seen: int) -> Verdict:
    if body[:4] == "all\n":
        return Found([], 4)
    return None if "all\n".startswith(body) else _functionary_named.scan(body, seen)


FUNCTIONARY = ToolFormat("functionary", (CallSyntax(">>>", _scan_functionary, lambda body: None),), lead=">>>")


# Llama 3: {"name": …, "parameters": {…}}, alone or behind <|python_tag|>

_KEYS = ("type", *jsontext.NAME_KEYS, *jsontext.ARGUMENT_KEYS)


def _scan_llama(body: str, seen: int) -> Verdict:
    text = body.lstrip()
    key, quote, _ = text[1:].partition('"')
    if text[:1] not in ("", '"') or not any(known == key if quote else known.startswith(key) for known in _KEYS):
        return Refused()
    if not jsontext.has_closer(body, seen):
        return None
    whole = "{" + body
    end = jsontext.value_end(whole, 0)
    if end is None:
        return None
    calls = jsontext.read_calls(whole[:end])
    return Refused() if calls is None else Found(calls, end - 1)


LLAMA = ToolFormat(
    "llama",
    (CallSyntax("{", _scan_llama, lambda body: None, is_bare=True), jsontext.unclosed("<|python_tag|>")),
    trailers=(";",),
    preserved=("<|python_tag|>",),
)
