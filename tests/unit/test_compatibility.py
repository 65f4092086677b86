"""docs/compatibility.md lists every parameter and event of the four APIs; `python -m tests.unit.test_compatibility`
writes it anew from the official packages' types and this server's schemas."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import anthropic.types
import marshmallow
import pydantic
from anthropic.types import message_count_tokens_params, message_create_params
from ollama import _types as ollama_types
from openai.types import (
    batch_create_params,
    completion_create_params,
    decision_create_params,
    embedding_create_params,
    moderation_create_params,
)
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.conversations import (
    conversation_create_params,
    conversation_update_params,
    item_create_params,
)
from openai.types.responses import ResponseStreamEvent, response_create_params

from localai_flask.api.anthropic import schemas as anthropic_schemas
from localai_flask.api.anthropic import stream as anthropic_stream
from localai_flask.api.batches import schemas as batches
from localai_flask.api.decisions import schemas as decisions
from localai_flask.api.decisions.moderations import ModerationRequest
from localai_flask.api.ollama import embeddings as ollama_embeddings
from localai_flask.api.ollama import schemas as ollama_schemas
from localai_flask.api.openai import embeddings, schemas
from localai_flask.api.request.fields import Noted, Refused
from localai_flask.api.responses import call_items, response_writer
from localai_flask.api.responses import schemas as responses_schemas
from localai_flask.api.responses import stream as responses_stream
from localai_flask.api.responses.conversations import schemas as conversations

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
HEAD = """\
# What is served of the four APIs

Every parameter that the official packages know, and what becomes of it: **yes** means that it does what it says,
**no effect** that any value is taken as there is nothing to do for it, **refused** that a request which asks for
something by it gets a 400 with the reason. **extension** is a field of this server's own. Those of other servers are in
[other-servers.md](other-servers.md); fields that nobody knows are ignored. This page is written from the schemas that
read the requests, and tests hold it to them: each field that is not refused is sent, and has an effect or none.
"""
REQUESTS: list[tuple[str, tuple[Any, ...], type[marshmallow.Schema]]] = [
    (
        "OpenAI: `POST /v1/chat/completions`",
        (chat_create_params.CompletionCreateParamsBase, chat_create_params.CompletionCreateParamsStreaming),
        schemas.ChatRequest,
    ),
    (
        "OpenAI: `POST /v1/completions`",
        (completion_create_params.CompletionCreateParamsBase, completion_create_params.CompletionCreateParamsStreaming),
        schemas.CompletionRequest,
    ),
    ("OpenAI: `POST /v1/decisions`", (decision_create_params.DecisionCreateParams,), decisions.DecisionRequest),
    ("OpenAI: `POST /v1/moderations`", (moderation_create_params.ModerationCreateParams,), ModerationRequest),
    ("OpenAI: `POST /v1/embeddings`", (embedding_create_params.EmbeddingCreateParams,), embeddings.EmbeddingRequest),
    (
        "Anthropic: `POST /v1/messages`",
        (message_create_params.MessageCreateParamsBase, message_create_params.MessageCreateParamsStreaming),
        anthropic_schemas.MessagesRequest,
    ),
    (
        "Anthropic: `POST /v1/messages/count_tokens`",
        (message_count_tokens_params.MessageCountTokensParams,),
        anthropic_schemas.CountRequest,
    ),
    (
        "Open Responses: `POST /v1/responses`",
        (response_create_params.ResponseCreateParamsBase, response_create_params.ResponseCreateParamsStreaming),
        responses_schemas.ResponseRequest,
    ),
    ("Ollama: `POST /api/chat`", (ollama_types.ChatRequest,), ollama_schemas.ChatRequest),
    ("Ollama: `POST /api/generate`", (ollama_types.GenerateRequest,), ollama_schemas.GenerateRequest),
    ("Ollama: `POST /api/embed`", (ollama_types.EmbedRequest,), ollama_embeddings.EmbedRequest),
    ("Ollama: `POST /api/embeddings`", (ollama_types.EmbeddingsRequest,), ollama_embeddings.EmbeddingsRequest),
]
KEPT: list[tuple[str, tuple[Any, ...], type[marshmallow.Schema]]] = [
    (
        "OpenAI: `POST /v1/conversations`",
        (conversation_create_params.ConversationCreateParams,),
        conversations.CreateRequest,
    ),
    (
        "OpenAI: `POST /v1/conversations/{conversation_id}`",
        (conversation_update_params.ConversationUpdateParams,),
        conversations.UpdateRequest,
    ),
    (
        "OpenAI: `POST /v1/conversations/{conversation_id}/items`",
        (item_create_params.ItemCreateParams,),
        conversations.ItemsRequest,
    ),
    ("OpenAI: `POST /v1/batches`", (batch_create_params.BatchCreateParams,), batches.BatchRequest),
]
"""Requests about what is kept; tests of their own show what their fields do."""
IN_QUERY = {"include": "a part of the query: items are told with all that is kept of them"}
"""Parameters that are in no body."""
NEVER = {
    "audio": "models here write text only",
    "refusal": "models that people run themselves refuse in their own words",
    "annotation": "annotations come from hosted tools",
    "compaction": "compaction is a request of its own here",
    "": "belongs to a hosted tool, which is left out",
}


def parameters(types: Iterable[Any]) -> list[str]:
    return sorted({name for each in types for name in _fields(each)})


def _fields(kind: Any) -> Iterable[str]:
    is_model = issubclass(kind, pydantic.BaseModel) if isinstance(kind, type) else False
    return kind.model_fields if is_model else typing.get_type_hints(kind, include_extras=False)


def fate(field: marshmallow.fields.Field[Any] | None) -> tuple[str, str]:
    description = str(field.metadata.get("description", "")) if field is not None else ""
    if field is None:
        return "MISSING", ""
    if isinstance(field, Refused):
        return "refused", description.removeprefix("Refused: ")
    if isinstance(field, Noted):
        return "no effect", description.removeprefix("Taken without effect: ")
    return "yes", description


def rows(types: Iterable[Any], schema: type[marshmallow.Schema]) -> Iterator[str]:
    known = schema().fields
    for name in parameters(types):
        in_query = name not in known and name in IN_QUERY
        verdict, why = ("no effect", IN_QUERY[name]) if in_query else fate(known.get(name))
        yield f"| `{name}` | {verdict} | {why} |"
    for name in sorted(set(known) - set(parameters(types))):
        verdict, why = fate(known[name])
        if verdict == "yes":
            yield f"| `{name}` | extension | {why} |"


def event_types(union: Any) -> list[str]:
    members = typing.get_args(typing.get_args(union)[0])
    return sorted(typing.get_args(member.model_fields["type"].annotation)[0] for member in members)


def told_in(*modules: Any) -> set[str]:
    """Return the texts between quotes in the modules that write a family's events."""
    return {text for module in modules for text in re.findall(r'"([a-z_.]+)"', Path(module.__file__).read_text())}


def events(title: str, union: Any, told: set[str]) -> Iterator[str]:
    yield f"\n## {title}\n\n| event | sent | |\n|---|---|---|"
    for kind in event_types(union):
        why = "" if kind in told else next(reason for part, reason in NEVER.items() if part in kind)
        yield f"| `{kind}` | {'never' if why else 'yes'} | {why} |"


def page() -> str:
    lines = [HEAD]
    for title, types, schema in REQUESTS + KEPT:
        lines += [f"\n## {title}\n", "| parameter | | |", "|---|---|---|", *rows(types, schema)]
    lines += events("Anthropic: events", anthropic.types.RawMessageStreamEvent, told_in(anthropic_stream))
    lines += events(
        "Open Responses: events", ResponseStreamEvent, told_in(responses_stream, response_writer, call_items)
    )
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def test_the_page_tells_the_truth() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.unit.test_compatibility"


def test_no_parameter_is_overlooked() -> None:
    assert "MISSING" not in page()


if __name__ == "__main__":
    PAGE.write_text(page())
