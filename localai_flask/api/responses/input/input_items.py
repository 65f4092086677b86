"""The items that a response answers: those of its request, stored ones that it refers to, and those of the chain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from localai_flask.api import current
from localai_flask.api.conversation.pairing import UnansweredCalls, UnknownResult, paired
from localai_flask.api.door import auth
from localai_flask.api.responses.calls import Context
from localai_flask.api.responses.input.items import Item
from localai_flask.api.responses.input.messages import to_messages
from localai_flask.chat.conversation import Message
from localai_flask.errors import InvalidRequest, NotFound
from localai_flask.store.responses.conversations import Conversations
from localai_flask.store.responses.responses import Responses


def kept_responses() -> Responses:
    """The stored responses that whoever asks may have."""
    return current.store().responses.kept_by(auth.keeper())


def kept_conversations() -> Conversations:
    """The conversations that whoever asks may have."""
    return current.store().conversations.kept_by(auth.keeper())


def with_references_resolved(items: Sequence[Item]) -> list[Item]:
    """Put stored items in the place of references.

    Raises `NotFound` for a last one that nothing has; before that, such references are passed over.
    """
    asked = [item["id"] for item in items if item["type"] == "item_reference"]
    found = kept_responses().find_items(asked) if asked else {}
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
    """Return the items of the whole chain, or of the conversation, with these as its end."""
    before: list[bytes] = []
    if context.previous_id is not None:
        before = kept_responses().chain(context.previous_id)
    elif context.conversation_id is not None:
        before = [each.body for each in kept_conversations().items(context.conversation_id, "conversation")]
    return [*map(msgspec.json.decode, before), *items]


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
