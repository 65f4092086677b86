"""What a sequence may say: grammars compiled with llguidance, and where each sequence stands in its own.

Shared by all engines that can hold an answer to a form; knows tokens only, neither logits nor requests. A grammar that
cannot be enforced whole is refused; nothing is left out of it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLTokenizer
from llguidance.gbnf_to_lark import gbnf_to_lark

from localai_flask.backends.faults import locate, unkept
from localai_flask.errors import InvalidRequest
from localai_flask.generation import JSON_SPACE, Constraint

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

Allowed = npt.NDArray[np.bool_]
Grammar = dict[str, Any]
"""One entry of the list that llguidance compiles."""
SPECIAL = b"\xff"
"""What llguidance marks tokens with that are no text; the byte cannot occur in UTF-8."""
SPACED: JsonCompileOptions = {"whitespace_pattern": JSON_SPACE}
"""What holds for a schema whose "x-guidance" does not speak of white space."""
COMPACT: JsonCompileOptions = {"whitespace_flexible": False}
"""What holds for one that does: a pattern for white space would win over everything else that it says."""
SPACING = frozenset(("whitespace_flexible", "whitespace_pattern", "item_separator", "key_separator"))
MOST_COMPILED = 32
"""How many compiled constraints are kept for the requests that come again with them."""
ENFORCED: JsonCompileOptions = {"lenient": False, "coerce_one_of": False}
"""What holds whatever it says: leaving out a keyword would be failing open."""


class Vocabulary(Protocol):
    """What grammars have to know of a model's tokens; `ends` are those that end an answer."""

    @property
    def size(self) -> int: ...

    @property
    def ends(self) -> Collection[int]: ...

    def piece(self, token: int) -> bytes: ...


class Grammars:
    """Compiles constraints for one vocabulary; `tokenizer` has each token's bytes, and those of `ends` as special."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: LLTokenizer):
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer
        self._compiled: dict[bytes, LLMatcher] = {}
        """The last ones that were used, the latest at the end."""

    def guide(self, constraint: Constraint, shown: Mapping[int, bytes]) -> Guide:
        """Compile a constraint for a text that shows these control tokens.

        Raises `InvalidRequest` naming the keyword that cannot be enforced and its place.
        """
        key = msgspec.msgpack.encode(constraint)
        compiled = self._compiled.pop(key, None) or self._compile(constraint)
        self._compiled[key] = compiled
        if len(self._compiled) > MOST_COMPILED:
            del self._compiled[next(iter(self._compiled))]
        trigger = constraint.trigger.encode() if constraint.trigger else None
        return Guide(compiled.deep_copy(), self._tokenizer, self._vocabulary, trigger, shown, constraint.is_final)

    def _compile(self, constraint: Constraint) -> LLMatcher:
        grammars = []
        for name, part in constraint.parts.items():
            grammars.append({**self._part(part), "name": name})
        grammars.insert(0, {**_grammar(constraint), "name": "answer"})
        self._check(constraint, grammars)
        return LLMatcher(self._tokenizer, json.dumps({"grammars": grammars}), log_level=0)

    def _part(self, part: Constraint) -> Grammar:
        """Compile a part alone; raise `InvalidRequest` if it cannot be enforced and is not lax."""
        try:
            grammar = _grammar(part)
            self._check(part, [grammar])
        except InvalidRequest:
            if not part.is_lax:
                raise
            kind = json.loads(part.text).get("type")
            grammar = _grammar(msgspec.structs.replace(part, text=json.dumps({"type": kind} if kind else {})))
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


class Guide:
    """Where one sequence stands in its grammar; with a trigger, only from there to the grammar's end, each time.

    With `is_final`, the grammar's end is the answer's.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        tokenizer: LLTokenizer,
        vocabulary: Vocabulary,
        trigger: bytes | None,
        shown: Mapping[int, bytes],
        is_final: bool = False,
    ):
        self._is_final = is_final
        self._matcher, self._tokenizer, self._vocabulary = matcher, tokenizer, vocabulary
        self._trigger, self._shown = trigger, shown
        self._said = b""
        """The end of the free text, less than a trigger long."""
        self.is_armed = trigger is None

    @property
    def is_complete(self) -> bool:
        """Whether the whole answer is said and nothing but its end can follow."""
        return (self._trigger is None or self._is_final) and self._matcher.is_stopped()

    def allows(self, token: int) -> bool:
        """Return whether a token may follow."""
        if self.is_armed:
            if token in self._vocabulary.ends:
                return self._matcher.is_accepting()
            return self._matcher.validate_tokens([token]) == 1
        rest = self._behind_trigger(token)
        if not rest:
            return True
        tokens = self._tokenizer.tokenize_bytes(rest)
        return self._matcher.validate_tokens(tokens) == len(tokens)

    def permits(self, tokens: list[int]) -> bool:
        """Return whether all these tokens may follow; outside the form any may, up to a trigger among them."""
        if not self.is_armed:
            assert self._trigger is not None
            text = self._said + b"".join(map(self._piece, tokens))
            tokens = self._tokenizer.tokenize_bytes(text.partition(self._trigger)[2])
        return self._matcher.validate_tokens(tokens) == len(tokens)

    def forced(self) -> list[int]:
        """Return the tokens that have to follow, as the vocabulary cuts the only text that can."""
        return self._matcher.compute_ff_tokens() if self.is_armed and not self._matcher.is_stopped() else []

    def allowed(self) -> Allowed:
        """Return the tokens that may follow, shape (vocabulary,), while armed."""
        size = self._vocabulary.size
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(bits, count=size, bitorder="little").view(np.bool_)
        self._check()
        allowed[list(self._vocabulary.ends)] = self._matcher.is_accepting()
        return allowed

    def accept(self, token: int) -> None:
        """Take the token that was chosen; raise `InvalidRequest` if the grammar is too complex to go on."""
        if token in self._vocabulary.ends:
            return
        if self.is_armed:
            self._matcher.consume_token(token)
        else:
            rest = self._behind_trigger(token)
            if rest is None:
                assert self._trigger is not None
                self._said = (self._said + self._piece(token))[1 - len(self._trigger) :]
                return
            self.is_armed, self._said = True, b""
            self._matcher.consume_tokens(self._tokenizer.tokenize_bytes(rest))
        self._check()
        if self._trigger is not None and not self._is_final and self._matcher.is_stopped():
            self._matcher.reset()
            self.is_armed = False

    def _piece(self, token: int) -> bytes:
        return self._shown.get(token) or self._vocabulary.piece(token)

    def _behind_trigger(self, token: int) -> bytes | None:
        """Return what stands behind the trigger if a token completes it, else None."""
        assert self._trigger is not None
        _, trigger, rest = (self._said + self._piece(token)).partition(self._trigger)
        return rest if trigger else None

    def _check(self) -> None:
        if self._matcher.is_error():
            raise InvalidRequest(
                f"The answer cannot be held to its form any longer: {_in_a_line(self._matcher.get_error())}; "
                "ask for a simpler form."
            )


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
        f"`{what}` cannot be enforced{place}: {_in_a_line(message)}; change it or leave it out.", param=what
    )


def _in_a_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    # An error in a regular expression comes with a drawing, and the reason at its end.
    reason = [line for line in lines if line.startswith("error: ")][:1]
    return ": ".join(line.rstrip(".:") for line in lines[:1] + reason)
