"""What is left out of a conversation that does not fit, for requests with `truncation: auto`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from localai_flask.api.responses import shapes
from localai_flask.api.responses.calls import ResponseCall
from localai_flask.api.work.chat_plan import chat_plan
from localai_flask.api.work.work import Sequences
from localai_flask.chat.conversation import Message
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ErrorInfo
from localai_flask.generation import ModelInfo
from localai_flask.sampling_params import SamplingParams


class TurnDropper:
    """Leaves out the oldest turns of a conversation that does not fit, and says in the response how many.

    Messages of the system stay, and so does the last turn.
    """

    def __init__(
        self,
        call: ResponseCall,
        messages: Sequence[Message],
        config: ModelConfig,
        params: SamplingParams,
        response: shapes.Response,
    ):
        self._call = call
        self._config = config
        self._params = params
        self._response = response
        self._kept = [message for message in messages if message.role in ("system", "developer")]
        self._turns = _turns(message for message in messages if message.role not in ("system", "developer"))

    def __call__(self, info: ModelInfo, error: ErrorInfo) -> Sequences | None:
        """Plan for what is left when enough turns are gone, by a guess from the lengths; None if none can go."""
        if len(self._turns) < 2:
            return None
        room = error.limit - min(self._params.max_tokens or error.limit // 4, error.limit // 2)
        lengths = [sum(map(_length, turn)) for turn in self._turns]
        length = len(self._call.instructions) + sum(map(_length, self._kept)) + sum(lengths)
        most = length * room / max(error.asked, 1)
        dropped = 0
        while dropped < len(lengths) - 1 and (not dropped or length > most):
            length -= lengths[dropped]
            dropped += 1
        del self._turns[:dropped]
        before = self._response.dropped_turns
        self._response.dropped_turns = dropped + (0 if before is msgspec.UNSET else before)
        messages = [*self._kept, *(message for turn in self._turns for message in turn)]
        return chat_plan(self._call.conversation(messages), self._call.wanted, self._config, self._params)(info)


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
