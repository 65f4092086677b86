"""Images and documents among the content parts of all API families: which parts are some, and what stands for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from marshmallow import ValidationError

from localai_flask.api.conversation import documents, images
from localai_flask.api.conversation.documents import documents_in, read_document
from localai_flask.api.conversation.foreign_past import foreign_text
from localai_flask.api.conversation.images import images_in, read_image
from localai_flask.chat.documents import DocumentSource
from localai_flask.chat.images import ImageSource

Reader = Callable[[Mapping[str, Any]], ImageSource | DocumentSource]

WHAT_IS_READ = "this server reads text, images and documents only."
MEDIA_READERS: dict[str, Reader] = {
    **dict.fromkeys(images.KINDS, read_image),
    **dict.fromkeys(documents.KINDS, read_document),
}
"""By the types of parts; each raises `ValidationError` with what is wrong with one."""


class Media(TypedDict):
    """What a `Message` has of them, by their keys."""

    images: dict[str, ImageSource]
    documents: dict[str, DocumentSource]


def media_in(content: Any) -> Media:
    """Find the images and documents anywhere in a request's messages."""
    return {"images": images_in(content), "documents": documents_in(content)}


def shown_media(part: Mapping[str, Any]) -> str:
    """Return what stands for one in its message's text; one that cannot be read is shown by its name."""
    try:
        return MEDIA_READERS[part["type"]](part).mark
    except ValidationError:
        return foreign_text(part["type"], part)
