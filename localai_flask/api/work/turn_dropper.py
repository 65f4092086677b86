"""What is left out of a conversation that does not fit, for requests that would rather have that than an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from localai_flask.api.work.plans import Planned
from localai_flask.api.work.work import Plan, Sequences
from localai_flask.chat.conversation import Message
from localai_flask.errors import ErrorInfo
from localai_flask.generation import ModelInfo


class TurnDropper:
    """Leaves out the oldest turns of a conversation, and counts how many are `dropped`.

    Messages of the system stay, and so does the last turn. `beside` is the length of what stands in the prompt besides;
    `note` is told the count whenever it grows.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        plan: Callable[[Sequence[Message]], Plan],
        max_tokens: int,
        beside: int = 0,
        note: Callable[[int], object] = lambda _: None,
    ):
        self.dropped, self._note = 0, note
        self._plan, self._max_tokens, self._beside = plan, max_tokens, beside
        self._kept = [message for message in messages if message.role in ("system", "developer")]
        self._turns = _turns(message for message in messages if message.role not in ("system", "developer"))

    def __call__(self, info: ModelInfo, error: ErrorInfo) -> Planned[Sequences] | None:
        """Plan for what is left when enough turns are gone; None if none can go."""
        messages = self.drop(error.asked, error.limit)
        return None if messages is None else self._plan(messages)(info)

    def drop(self, asked: int, limit: int) -> list[Message] | None:
        """Return what is left of a prompt with this many tokens, guessed by the lengths; None if no turn can go."""
        if len(self._turns) < 2:
            return None
        room = limit - min(self._max_tokens or limit // 4, limit // 2)
        lengths = [sum(map(_length, turn)) for turn in self._turns]
        length = self._beside + sum(map(_length, self._kept)) + sum(lengths)
        most = length * room / max(asked, 1)
        dropped = 0
        while dropped < len(lengths) - 1 and (not dropped or length > most):
            length -= lengths[dropped]
            dropped += 1
        del self._turns[:dropped]
        self.dropped += dropped
        self._note(self.dropped)
        return [*self._kept, *(message for turn in self._turns for message in turn)]


def _turns(messages: Iterable[Message]) -> list[list[Message]]:
    """Part a conversation before each message of the user that answers the assistant."""
    turns: list[list[Message]] = []
    for message in messages:
        if not turns or (message.role == "user" and turns[-1][-1].role != "user"):
            turns.append([])
        turns[-1].append(message)
    return turns


def _length(message: Message) -> int:
    return len(message.content) + len(message.reasoning) + sum(len(call.arguments) for call in message.tool_calls)
