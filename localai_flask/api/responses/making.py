"""From a call to a response in the making, whether a request waits for it or a background run does the work."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from marshmallow import ValidationError

from localai_flask.api import current
from localai_flask.api.conversation.pairing import UnansweredCalls, UnknownResult, paired
from localai_flask.api.door import auth
from localai_flask.api.request.model_choice import find_model
from localai_flask.api.request.parsing import first_error
from localai_flask.api.responses import shapes
from localai_flask.api.responses.calls import Context, ResponseCall
from localai_flask.api.responses.items import Item, new_id
from localai_flask.api.responses.messages import to_messages
from localai_flask.api.responses.schemas import ResponseRequest
from localai_flask.api.responses.telling import Manner, Telling, Told, encode
from localai_flask.api.work.chat_plan import chat_plan
from localai_flask.api.work.work import Sequences, Watching, Work
from localai_flask.chat.conversation import Message
from localai_flask.config import sampling
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ErrorInfo, InvalidRequest, NotFound
from localai_flask.generation import ModelInfo, SamplingParams
from localai_flask.store.responses import Kept, Responses, Stored
from localai_flask.store.runs import Claimed, StoredEvent

CALLED = {"max_tokens": "max_output_tokens"}
"""What the client calls our sampling parameters."""


def new_response(call: ResponseCall, name: str, params: SamplingParams) -> shapes.Response:
    """Make the response object as it is before the model has said anything."""
    return shapes.Response(
        id=new_id("resp"),
        created_at=int(time.time()),
        background=call.background,
        instructions=call.instructions or None,
        max_output_tokens=call.asked.get("max_tokens"),
        max_tool_calls=call.max_tool_calls,
        model=name,
        parallel_tool_calls=call.parallel is not False,
        previous_response_id=call.previous_id,
        prompt_cache_key=call.prompt_cache_key,
        reasoning=call.shown_reasoning,
        safety_identifier=call.safety_identifier,
        store=call.store,
        temperature=params.temperature,
        top_p=params.top_p,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        text=shapes.TextOptions(call.shown_format),
        tool_choice=call.shown_choice,
        tools=call.shown_tools,
        top_logprobs=params.top_logprobs or 0,
        truncation="auto" if call.truncates else "disabled",
        user=call.user,
        metadata=dict(call.metadata),
    )


def manner_of(call: ResponseCall) -> Manner:
    offered = {each.tool.name: each for each in call.offered}
    return Manner(call.with_logprobs, call.summarizes, call.seals_thoughts, call.max_tool_calls, offered)


def kept() -> Responses:
    """The stored responses that whoever asks may have."""
    return current.store().responses.kept_by(auth.keeper())


def with_references_resolved(items: Sequence[Item]) -> list[Item]:
    """Put stored items in the place of references.

    Raises `NotFound` for a last one that nothing has; before that, such references are passed over.
    """
    asked = [item["id"] for item in items if item["type"] == "item_reference"]
    found = kept().find_items(asked) if asked else {}
    return [
        _referenced(item["id"], index, found) if item["type"] == "item_reference" else item
        for index, item in enumerate(items)
        if item["type"] != "item_reference" or item["id"] in found or index == len(items) - 1
    ]


def _referenced(id: str, index: int, found: Mapping[str, bytes]) -> Item:
    if id not in found:
        raise NotFound(f"There is no stored item {id}.", param=f"input[{index}].id")
    item: Item = msgspec.json.decode(found[id])
    return item


def all_items(context: Context, items: Iterable[Item]) -> list[Item]:
    """Return the items of the whole chain, with these as its end."""
    before: list[Item] = []
    if context.previous_id is not None:
        before = [msgspec.json.decode(body) for body in kept().chain(context.previous_id)]
    return [*before, *items]


def messages_of(context: Context, items: Sequence[Item]) -> list[Message]:
    """Return the messages of the whole chain.

    Raises `InvalidRequest` if there is none, or if calls and results do not belong together.
    """
    whole = all_items(context, items)
    messages = to_messages(whole)
    if not messages and not context.instructions:
        raise InvalidRequest("`input` has no message.", param="input")
    has_summary = any(item["type"] == "compaction" for item in whole)
    try:
        return list(paired(messages, len(messages) if has_summary else None))
    except UnknownResult as error:
        id = error.message.tool_call_id
        raise InvalidRequest(
            f"{id!r} is not the `call_id` of a function_call before it; send that item too, or the "
            "`previous_response_id` of the response that it stands in.",
            param=_place_of(id, items),
        ) from None
    except UnansweredCalls as error:
        raise InvalidRequest(f"`input` has no output for these calls: {error}; send them too.", param="input") from None


def _place_of(id: str, items: Sequence[Item]) -> str:
    """Return the path of the last item with this `call_id`."""
    places = [index for index, item in enumerate(items) if item.get("call_id") == id]
    return f"input[{places[-1]}].call_id" if places else "input"


def work_on(
    call: ResponseCall,
    messages: Sequence[Message],
    config: ModelConfig,
    params: SamplingParams,
    telling: Telling,
    watch: Watching | None = None,
) -> Work:
    """Begin to have the model answer."""
    plan = chat_plan(call.conversation(messages), call.wanted, config, params)
    shrink = Shrinking(call, messages, config, params, telling.response) if call.truncates else None
    return Work(config, plan, shrink, watch, call.waiting)


class Shrinking:
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


# What is stored.


def as_stored(response: shapes.Response) -> Stored:
    """Return a response in the form in which it is kept."""
    body = encode(msgspec.structs.replace(response, output=[]))
    output = [Kept(item.id, encode(item)) for item in response.output]
    return Stored(response.id, response.status, response.background, body, output)


def as_kept(items: Iterable[Item]) -> list[Kept]:
    return [Kept(item["id"], encode(item)) for item in items]


def as_stored_event(told: Told) -> StoredEvent:
    return StoredEvent(told.sequence, told.type, told.data, told.last)


def whole(stored: Stored) -> bytes:
    """Return the JSON of a stored response."""
    response = msgspec.json.decode(stored.body)
    response["status"] = stored.status
    response["output"] = [msgspec.Raw(kept.body) for kept in stored.output]
    return encode(response)


def request_of(call: ResponseCall, items: Sequence[Item], name: str) -> bytes:
    """Return a request as a run reads it again: by the name of the model that was found, and with its items whole."""
    return encode({**call.body, "model": name, "input": items})


# What a background run does with it.


def call_of(claimed: Claimed) -> ResponseCall:
    """Read a stored request; raise `InvalidRequest` if this version of the server does not take it any more."""
    body: Mapping[str, Any] = msgspec.json.decode(claimed.request)
    try:
        call: ResponseCall = ResponseRequest().load(body)
    except ValidationError as error:
        path, message = first_error(error.messages)
        raise InvalidRequest(f"`{path}` {message}", param=path) from error
    return call


def telling_of(claimed: Claimed, told: Sequence[StoredEvent]) -> Telling:
    """Go on with a response from where its events end."""
    response = msgspec.json.decode(claimed.body, type=shapes.Response)
    telling = Telling(response, Manner(), claimed.next_sequence)
    if claimed.begun:
        telling.restore([msgspec.json.decode(event.data) for event in told])
    return telling


def telling_anew(claimed: Claimed) -> Telling:
    """Begin anew a response that cannot be read, so that it can be told to have failed."""
    response = shapes.Response(
        id=claimed.id,
        created_at=int(time.time()),
        background=True,
        model="",
        previous_response_id=claimed.previous_id,
        temperature=1.0,
        top_p=1.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        text=shapes.TextOptions({"type": "text"}),
    )
    return Telling(response, Manner(), claimed.next_sequence)


def work_of(claimed: Claimed, telling: Telling, watch: Watching) -> Work:
    """Begin to work on a stored request."""
    call = call_of(claimed)
    telling.manner = manner_of(call)
    assert call.model is not None, "a stored request names its model"
    config = find_model(call.model, "chat")
    params = sampling.merge(config, call.asked, CALLED)
    return work_on(call, messages_of(call, call.items), config, params, telling, watch)
