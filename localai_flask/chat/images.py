"""Images in a conversation: in a message's text each is a mark, from the request until the prompt says where it is."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from localai_flask.chat.conversation import Conversation
from localai_flask.chat.marks import LOOSE, MARK, mark_of, without_marks
from localai_flask.generation import Image


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image's file, its address, or the id of an uploaded one; `kind` is what the request calls it."""

    kind: str
    data: bytes = b""
    url: str = ""
    file_id: str = ""

    @property
    def key(self) -> str:
        return hashlib.sha256(self.data or (self.url or self.file_id).encode()).hexdigest()[:32]

    @property
    def mark(self) -> str:
        """What stands for it in a message's text."""
        return mark_of(self.key)


def with_marks_of(conversation: Conversation, images: Mapping[str, object]) -> Conversation:
    """Take all marks out of a conversation but those of these images, as anybody could write them."""
    if not any(LOOSE.search(message.content) for message in conversation.messages):
        return conversation

    def clean(text: str) -> str:
        pieces = MARK.split(text)
        for at, piece in enumerate(pieces):
            known = mark_of(piece) if piece in images else ""
            pieces[at] = known if at % 2 else without_marks(piece)
        return "".join(pieces)

    messages = [dataclasses.replace(message, content=clean(message.content)) for message in conversation.messages]
    return dataclasses.replace(conversation, messages=tuple(messages))


def without_images(conversation: Conversation) -> Conversation:
    """Put what the request calls them in the place of images, for a model that does not see."""
    kinds = {key: source.kind for key, source in conversation.images.items()}

    def named(text: str) -> str:
        return MARK.sub(lambda found: f"[{kinds[found[1]]}]" if found[1] in kinds else "", text)

    messages = [
        dataclasses.replace(message, content=named(message.content), images={}) for message in conversation.messages
    ]
    return dataclasses.replace(conversation, messages=tuple(messages))


def take_images(
    text: str, plain: list[tuple[int, int]], images: Mapping[str, Image]
) -> tuple[str, list[tuple[int, int]], list[Image]]:
    """Take the marks out of a prompt and its ranges `plain`; return both, and the images with their places."""
    found = [mark for mark in MARK.finditer(text) if mark[1] in images]
    if not found:
        return text, plain, []
    spans = [mark.span() for mark in found]

    def moved(at: int) -> int:
        return at - sum(min(end, at) - begin for begin, end in spans if begin < at)

    placed = [msgspec.structs.replace(images[mark[1]], at=moved(mark.start())) for mark in found]
    bare = MARK.sub(lambda mark: "" if mark[1] in images else mark[0], text)
    return bare, [(moved(begin), moved(end)) for begin, end in plain], placed
