"""The typed calls that the requests of Open Responses become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from localai_flask.api.request.waiting import Waiting
from localai_flask.api.responses.input.items import Item
from localai_flask.api.responses.tools import Offered
from localai_flask.chat.constraints.constraint import Wanted
from localai_flask.chat.conversation import Conversation, Message, Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the model shall read: new items behind those of the responses before or of
    a conversation, and instructions before them all."""

    model: str | None
    items: list[Item]
    previous_id: str | None = None
    conversation_id: str | None = None
    instructions: str = ""
    tools: tuple[Tool, ...] = ()
    offered: tuple[Offered, ...] = ()
    """All tools of the request, also those that it may not call now, as the client knows them."""
    left_out: tuple[str, ...] = ()
    """The types of tools that a server would have to run."""
    parallel: bool | None = None
    thinking: Mapping[str, Any] = field(default_factory=dict)
    """What is asked of thinking, as arguments of `Conversation`."""
    truncates: bool = False

    def conversation(self, messages: Sequence[Message]) -> Conversation:
        """Put these messages, the whole chain's, into a conversation."""
        system = (Message(role="system", content=self.instructions),) if self.instructions else ()
        return Conversation(
            messages=(*system, *messages),
            tools=self.tools,
            parallel_tool_calls=self.parallel,
            **self.thinking,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCall(Context):
    """A request for a response.

    `asked` holds the sampling parameters that it names, `body` is the request itself, from which a background run is
    made, and the `shown_` fields are those that the response repeats.
    """

    asked: Mapping[str, Any]
    waiting: Waiting
    wanted: Wanted
    body: Mapping[str, Any]
    max_tool_calls: int | None = None
    with_logprobs: bool = False
    summarizes: bool = False
    seals_thoughts: bool = False
    stream: bool = False
    store: bool = True
    background: bool = False
    shown_tools: list[Mapping[str, Any]] = field(default_factory=list)
    shown_choice: Any = "auto"
    shown_format: dict[str, Any] = field(default_factory=lambda: {"type": "text"})
    shown_reasoning: dict[str, Any] = field(default_factory=lambda: {"effort": None, "summary": None})
    metadata: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
