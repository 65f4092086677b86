"""What may follow in one sequence, beside its form: no banned text, no repeated sequence, no end before its time.

Shared by all engines, one `OutputRules` per sequence that has any; knows ids and bytes, neither logits nor grammars.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Sequence

from localai_flask.backends.output.text_automaton import START, TextAutomaton
from localai_flask.errors import InvalidRequest
from localai_flask.sampling_params import SamplingParams

NOTHING_LEFT = (
    "What the request asks of the answer leaves no token that may be chosen; ask for another form, or forbid less."
)
"""What is said when every token is forbidden."""


def check_ids(params: SamplingParams, size: int) -> None:
    """Raise `InvalidRequest` if a parameter names a token that a vocabulary of this size does not have."""
    for name in ("logit_bias", "stop_token_ids", "allowed_token_ids"):
        for token in getattr(params, name):
            if not 0 <= token < size:
                raise InvalidRequest(
                    f"`{name}` names token {token}, but this model's ids run from 0 to {size - 1}.", param=name
                )


class OutputRules:
    """Follows one sequence; `ends` are the tokens that end a text, `piece` returns the bytes of a token."""

    def __init__(
        self, params: SamplingParams, prompt: Sequence[int], ends: Collection[int], piece: Callable[[int], bytes]
    ):
        self._piece = piece
        self._ends = tuple({*ends, *params.stop_token_ids})
        self._ends_wait_for = params.min_tokens
        size = params.no_repeat_ngram_size
        self._repeats = RepeatedSequences(size, prompt) if size else None
        self._banned = [
            BannedTexts(texts, folds_case)
            for texts, folds_case in ((params.bad_words, False), (params.banned_strings, True))
            if texts
        ]

    @classmethod
    def of(
        cls, params: SamplingParams, prompt: Sequence[int], ends: Collection[int], piece: Callable[[int], bytes]
    ) -> OutputRules | None:
        """Make the rules of a request; None if it asks for none."""
        is_asked = params.min_tokens or params.no_repeat_ngram_size or params.bad_words or params.banned_strings
        return cls(params, prompt, ends, piece) if is_asked else None

    def banned(self) -> list[int]:
        """Return the tokens that may not come next, those of banned texts aside."""
        ends = self._ends if self._ends_wait_for > 0 else ()
        return [*ends, *(self._repeats.completing() if self._repeats is not None else ())]

    def allows(self, token: int) -> bool:
        """Return whether a token completes no banned text."""
        if not self._banned:
            return True
        piece = self._piece(token)
        return all(each.allows(piece) for each in self._banned)

    def accept(self, token: int) -> None:
        """Take the token that comes next."""
        self._ends_wait_for -= 1
        if self._repeats is not None:
            self._repeats.accept(token)
        if self._banned:
            piece = self._piece(token)
            for each in self._banned:
                each.accept(piece)


class BannedTexts:
    """Texts that must not be completed, however tokens cut them."""

    def __init__(self, texts: Iterable[str], folds_case: bool):
        self._folds_case = folds_case
        self._automaton = TextAutomaton(map(self._read, (text.encode() for text in texts)))
        self._state = START

    def allows(self, piece: bytes) -> bool:
        return self._automaton.find(self._state, self._read(piece)) is not None

    def accept(self, piece: bytes) -> None:
        for character in self._read(piece):
            self._state = self._automaton.step(self._state, character)

    def _read(self, piece: bytes) -> str:
        """Return a character for each byte, as a token may end within one of the text's."""
        return (piece.lower() if self._folds_case else piece).decode("latin-1")


class RepeatedSequences:
    """Which token would make the last ones a sequence that has been there."""

    def __init__(self, size: int, tokens: Iterable[int]):
        self._following: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
        self._last: deque[int] = deque(maxlen=size - 1)
        self._size = size
        for token in tokens:
            self.accept(token)

    def completing(self) -> Collection[int]:
        return self._following.get(tuple(self._last), ())

    def accept(self, token: int) -> None:
        if len(self._last) == self._size - 1:
            self._following[tuple(self._last)].add(token)
        self._last.append(token)
