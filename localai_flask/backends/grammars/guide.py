"""Where one sequence stands in its grammar."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLTokenizer

from localai_flask.backends.grammars.faults import in_a_line
from localai_flask.errors import InvalidRequest

SPECIAL = b"\xff"
"""What llguidance marks tokens with that are no text; the byte cannot occur in UTF-8."""
Allowed = npt.NDArray[np.bool_]


class Vocabulary(Protocol):
    """What grammars have to know of a model's tokens; `ends` are those that end an answer."""

    @property
    def size(self) -> int: ...

    @property
    def ends(self) -> Collection[int]: ...

    def piece(self, token: int) -> bytes: ...


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
                f"The answer cannot be held to its form any longer: {in_a_line(self._matcher.get_error())}; "
                "ask for a simpler form."
            )
