"""The shapes of conversations, as the official `openai` package parses them."""

from __future__ import annotations

from typing import Any

import msgspec

from localai_flask.store.responses.conversations import StoredConversation


class Conversation(msgspec.Struct):
    id: str
    created_at: int
    metadata: dict[str, str]
    object: str = "conversation"


class DeletedConversation(msgspec.Struct):
    id: str
    object: str = "conversation.deleted"
    deleted: bool = True


def conversation_shape(stored: StoredConversation) -> Conversation:
    metadata: Any = msgspec.json.decode(stored.metadata)
    return Conversation(stored.id, int(stored.created_at), metadata)
