"""The bodies of requests to rerank, and the calls they become; Jina and Cohere differ in what is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import marshmallow
from marshmallow import ValidationError

from localai_flask.api.request.controls.sampling_fields import NOT_BY_NUMBER
from localai_flask.api.request.fields import Either, Flag, Many, Refused, Text, Whole, not_empty
from localai_flask.api.request.parsing import Unsupported
from localai_flask.api.request.waiting import Waiting, WaitingFields, waiting_of
from localai_flask.inquiry import ALL_IT_TAKES

MAX_DOCUMENTS = 2048
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
PARTS = {
    "type": "object",
    "properties": {"content": {"anyOf": [{"type": "string"}, {"type": "array", "items": TEXT}]}},
    "required": ["content"],
}
DOCUMENT = {"anyOf": [{"type": "string"}, TEXT, PARTS]}


class Document(Either):
    """A text; an object with a `text`, as in Jina's API; or one with `content`, as in vLLM's and llama-server's."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        found = value
        if isinstance(value, dict):
            found = value.get("text", value.get("content"))
            parts = [value, *(found if isinstance(found, list) else ())]
            if any(kind in part for part in parts if isinstance(part, dict) for kind in ("image", "image_url")):
                raise ValidationError([Unsupported("is a picture, which no model here can compare; send a text.")])
        if isinstance(found, list) and found:
            parts = [part.get("text") if isinstance(part, dict) else part for part in found]
            texts = [part for part in parts if isinstance(part, str)]
            found = "\n".join(texts) if len(texts) == len(parts) else None
        if not isinstance(found, str):
            raise ValidationError("must be a string or an object with a `text`.")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankCall:
    model: str | None
    query: str
    documents: tuple[str, ...]
    top_n: int | None
    with_documents: bool | None
    """None: as is usual for the path."""
    cut_to: int | None
    """As in `Score`."""
    waiting: Waiting


class RerankRequest(WaitingFields):
    model = Text()
    query = Document(required=True, validate=not_empty(), metadata=DOCUMENT)
    documents = Many(Document(metadata=DOCUMENT), required=True, validate=not_empty(most=MAX_DOCUMENTS))
    top_n = Whole(1)
    return_documents = Flag()
    truncate = Flag(load_default=False, metadata={"description": "Cut what is too long, not refuse it."})
    truncation = Flag(load_default=False, metadata={"description": "Jina's word for `truncate`."})
    truncate_prompt_tokens = Whole(
        ALL_IT_TAKES,
        metadata={"description": "Cut query and document to this number of tokens; -1: to as many as the model takes."},
    )
    backend = Refused("cannot be chosen by a request; set it in the model's YAML.")
    lora = Refused(NOT_BY_NUMBER)
    max_tokens_per_doc = Refused("is not possible here; `truncate_prompt_tokens` bounds query and document together.")
    max_chunks_per_doc = Refused("is not possible here; documents are not taken apart.")
    rank_fields = Refused("is not possible here; send what is to be ranked as the document's `text`.", (["text"],))

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> RerankCall:
        if data.get("truncate_prompt_tokens") == 0:
            raise ValidationError({"truncate_prompt_tokens": ["must be -1 or at least 1."]})
        cuts = data["truncate"] or data["truncation"]
        return RerankCall(
            model=data.get("model") or None,
            query=data["query"],
            documents=tuple(data["documents"]),
            top_n=data.get("top_n"),
            with_documents=data.get("return_documents"),
            cut_to=data.get("truncate_prompt_tokens", ALL_IT_TAKES if cuts else None),
            waiting=waiting_of(data),
        )
