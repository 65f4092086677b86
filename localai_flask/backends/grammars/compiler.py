"""Constraints compiled with llguidance. What cannot be enforced whole is refused; nothing is left out of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgspec
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.gbnf_to_lark import gbnf_to_lark

from localai_flask.backends.grammars.faults import in_a_line, locate, unkept
from localai_flask.backends.grammars.framed_text import as_terminal, framed
from localai_flask.backends.grammars.guide import Guide, Vocabulary
from localai_flask.backends.side_thread import SideThread
from localai_flask.errors import InvalidRequest
from localai_flask.generation import JSON_SPACE, Constraint

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

Grammar = dict[str, Any]
"""One entry of the list that llguidance compiles."""
SPACED: JsonCompileOptions = {"whitespace_pattern": JSON_SPACE}
"""What holds for a schema whose "x-guidance" does not speak of white space."""
COMPACT: JsonCompileOptions = {"whitespace_flexible": False}
"""What holds for one that does: a pattern for white space would win over everything else that it says."""
SPACING = frozenset(("whitespace_flexible", "whitespace_pattern", "item_separator", "key_separator"))
LARGEST_GRAMMAR = 1 << 16
"""Characters of a regular expression or grammar. One of 600,000, a chain of rules, has ended the process."""
LARGEST = 1 << 22
MOST_COMPILED = 32
"""How many compiled constraints are kept for the requests that come again with them."""
LIMITS = LLParserLimits(max_items_in_row=50_000, step_max_items=500_000)
"""Room for objects with thousands of properties that may be left out, any of which could come next: each is an item or
more; what 20,000 cost is a millisecond."""
ENFORCED: JsonCompileOptions = {"lenient": False, "coerce_one_of": False}
"""What holds whatever it says: leaving out a keyword would be failing open."""


class Grammars:
    """Compiles constraints for one vocabulary; `tokenizer` has each token's bytes, and those of `ends` as special."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: LLTokenizer):
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer
        self._thread = SideThread()
        self._compiled: dict[bytes, Future[LLMatcher]] = {}
        """The last ones that were used, the latest at the end."""

    def guide(self, constraint: Constraint, shown: Mapping[int, bytes]) -> Guide:
        """Compile a constraint for a text that shows these control tokens.

        Raises `InvalidRequest` naming the keyword that cannot be enforced and its place.
        """
        compiled = self.compile(constraint).result()
        trigger = constraint.trigger.encode() if constraint.trigger else None
        return Guide(compiled.deep_copy(), self._tokenizer, self._vocabulary, trigger, shown, constraint.is_final)

    def compile(self, constraint: Constraint) -> Future[LLMatcher]:
        """Have a constraint compiled by another thread; what `guide` says of it comes at once afterwards."""
        _check_size(constraint)
        key = msgspec.msgpack.encode(constraint)
        compiled = self._compiled.pop(key, None)
        if compiled is None or (compiled.done() and compiled.exception() is not None):
            compiled = self._thread.submit(lambda: self._compile(constraint))
        self._compiled[key] = compiled
        if len(self._compiled) > MOST_COMPILED:
            del self._compiled[next(iter(self._compiled))]
        return compiled

    def _compile(self, constraint: Constraint) -> LLMatcher:
        grammars = []
        for name, part in constraint.parts.items():
            grammars.append({**self._part(part), "name": name})
        grammars.insert(0, {**_grammar(constraint), "name": "answer"})
        self._check(constraint, grammars)
        return LLMatcher(self._tokenizer, json.dumps({"grammars": grammars}), log_level=0, limits=LIMITS)

    def _part(self, part: Constraint) -> Grammar:
        """Compile a part alone; raise `InvalidRequest` if it cannot be enforced and is not lax."""
        try:
            grammar = _grammar(part)
            self._check(part, [grammar])
            if part.end:
                grammar = self._framed(part)
        except InvalidRequest:
            if not part.is_lax:
                raise
            kind = json.loads(part.text).get("type")
            grammar = _grammar(msgspec.structs.replace(part, text=json.dumps({"type": kind} if kind else {})))
        return grammar

    def _framed(self, part: Constraint) -> Grammar:
        """Return the grammar for a text that stands before a mark; its own has been checked."""
        text = part.text if part.kind == "lark" else f"start: {as_terminal(part.text)}"
        try:
            grammar = {"lark_grammar": framed(text, part.end, lambda each: not self._explain([{"lark_grammar": each}]))}
        except InvalidRequest as error:
            raise _refusal(part, error.info.message) from None
        self._check(part, [grammar])
        return grammar

    def _check(self, constraint: Constraint, grammars: list[Grammar]) -> None:
        if message := self._explain(grammars):
            place = ""
            if constraint.kind == "json_schema":
                schema = json.loads(constraint.text)
                place = f" at {locate(schema, message, lambda part: self._explain([{'json_schema': part}]))}"
            raise _refusal(constraint, message, place)
        if constraint.kind == "json_schema" and (path := unkept(json.loads(constraint.text))):
            raise _refusal(constraint, "numbers between bounds so close would reach it", f" at {path}")

    def _explain(self, grammars: list[Grammar]) -> str:
        """Return why grammars cannot be compiled; "" if they can."""
        text = json.dumps({"grammars": grammars})
        is_error, messages = LLMatcher.validate_grammar_with_warnings(text, self._tokenizer)
        return messages[0] if is_error else ""


def _check_size(constraint: Constraint) -> None:
    """Raise `InvalidRequest` if what a client has written is larger than the compiler's stack is for."""
    for each in (constraint, *constraint.parts.values()):
        is_written = each.kind in ("regex", "gbnf") or each.end
        if is_written and len(each.text) > LARGEST_GRAMMAR:
            raise _refusal(each, f"it has {len(each.text)} characters, and may have {LARGEST_GRAMMAR}")
    if (size := sum(len(part.text) for part in constraint.parts.values()) + len(constraint.text)) > LARGEST:
        raise _refusal(constraint, f"with its parts it has {size} characters, and may have {LARGEST}")


def _grammar(constraint: Constraint) -> Grammar:
    """Turn a constraint into llguidance's own form."""
    text = constraint.text
    try:
        match constraint.kind:
            case "json_schema":
                return _only(LLMatcher.grammar_from_json_schema(text, defaults=_spacing(text), overrides=ENFORCED))
            case "regex":
                return _only(LLMatcher.grammar_from_regex(text))
            case "gbnf":
                text = gbnf_to_lark(text)
    except Exception as error:  # gbnf_to_lark raises plain ones for what it cannot read
        raise _refusal(constraint, str(error)) from None
    return {"lark_grammar": text}


def _spacing(schema: str) -> JsonCompileOptions:
    read = json.loads(schema)
    guidance = read.get("x-guidance") if isinstance(read, dict) else None
    return COMPACT if isinstance(guidance, dict) and not SPACING.isdisjoint(guidance) else SPACED


def _only(text: str) -> Grammar:
    grammars: list[Grammar] = json.loads(text)["grammars"]
    return grammars[0]


def _refusal(constraint: Constraint, message: str, place: str = "") -> InvalidRequest:
    what = constraint.param or constraint.kind
    return InvalidRequest(
        f"`{what}` cannot be enforced{place}: {in_a_line(message)}; change it or leave it out.", param=what
    )
