"""The endpoints of conversations."""

from __future__ import annotations

from typing import Any

from flask import Response

from localai_flask.api.answer import listing
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.pages import openapi
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.responses.conversations import shapes
from localai_flask.api.responses.conversations.schemas import CreateRequest, ItemsRequest, UpdateRequest
from localai_flask.api.responses.input.input_items import kept_conversations, with_references_resolved
from localai_flask.api.responses.input.items import Item, new_id
from localai_flask.api.responses.response_writer import encode
from localai_flask.api.responses.shapes import ItemList
from localai_flask.api.responses.stored_responses import as_kept
from localai_flask.errors import NotFound
from localai_flask.store.kept import Kept
from localai_flask.store.responses.conversations import StoredConversation

bp = Blueprint("conversations", __name__, description="OpenAI's conversations")


@bp.post("/conversations")
@bp.arguments(CreateRequest)
@bp.response(200, openapi.schema(shapes.Conversation), description="The conversation.")
@bp.doc(operationId="createConversation")
def create_conversation(call: dict[str, Any]) -> Response:
    """Begin a conversation, with items if there are some already"""
    items = _readable(call["items"])
    return _respond_with(kept_conversations().create(new_id("conv"), encode(call["metadata"]), items))


@bp.get("/conversations/<conversation_id>")
@bp.response(200, openapi.schema(shapes.Conversation), description="The conversation.")
@bp.doc(operationId="getConversation")
def get_conversation(conversation_id: str) -> Response:
    """Return a conversation without its items"""
    return _respond_with(kept_conversations().get(conversation_id))


@bp.post("/conversations/<conversation_id>")
@bp.arguments(UpdateRequest)
@bp.response(200, openapi.schema(shapes.Conversation), description="The conversation.")
@bp.doc(operationId="updateConversation")
def update_conversation(call: dict[str, Any], conversation_id: str) -> Response:
    """Replace a conversation's metadata"""
    return _respond_with(kept_conversations().set_metadata(conversation_id, encode(call["metadata"] or {})))


@bp.delete("/conversations/<conversation_id>")
@bp.response(200, openapi.schema(shapes.DeletedConversation), description="It is deleted, with its items.")
@bp.doc(operationId="deleteConversation")
def delete_conversation(conversation_id: str) -> Response:
    """Delete a conversation; one on which a response is being made is a 409"""
    kept_conversations().delete(conversation_id)
    return json_response(encode(shapes.DeletedConversation(conversation_id)))


@bp.post("/conversations/<conversation_id>/items")
@bp.arguments(ItemsRequest)
@bp.response(200, openapi.schema(ItemList), description="The items that were added.")
@bp.doc(operationId="createConversationItems")
def create_items(call: dict[str, Any], conversation_id: str) -> Response:
    """Add items at a conversation's end; while a response is being made on it, this is a 409"""
    items = _readable(call["items"])
    kept_conversations().add(conversation_id, items)
    return listing.respond_with_list(items)


@bp.get("/conversations/<conversation_id>/items")
@bp.response(200, openapi.schema(ItemList), description="The items, the last first unless `order` is asc.")
@bp.doc(operationId="listConversationItems", parameters=listing.parameters())
def list_items(conversation_id: str) -> Response:
    """Return a conversation's items in pages"""
    return listing.respond_with_page(kept_conversations().items(conversation_id))


@bp.get("/conversations/<conversation_id>/items/<item_id>")
@bp.response(200, {"type": "object"}, description="The item.")
@bp.doc(operationId="getConversationItem")
def get_item(conversation_id: str, item_id: str) -> Response:
    """Return one item"""
    for kept in kept_conversations().items(conversation_id):
        if kept.id == item_id:
            return json_response(kept.body)
    raise NotFound(f"There is no item {item_id} in the conversation {conversation_id}.", param="item_id")


@bp.delete("/conversations/<conversation_id>/items/<item_id>")
@bp.response(200, openapi.schema(shapes.Conversation), description="The conversation.")
@bp.doc(operationId="deleteConversationItem")
def delete_item(conversation_id: str, item_id: str) -> Response:
    """Delete one item; while a response is being made on the conversation, this is a 409"""
    return _respond_with(kept_conversations().delete_item(conversation_id, item_id))


def _readable(items: list[Item]) -> list[Kept]:
    return as_kept(with_references_resolved(items))


def _respond_with(stored: StoredConversation) -> Response:
    return json_response(encode(shapes.conversation_shape(stored)))
