"""From the documents that a conversation names to what its messages show of them: fetched, read, drawn, and bounded.

What waits yields at each beat, and is given up by closing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Mapping
from typing import Generic, NamedTuple, TypeVar

import msgspec

from localai_flask.api.work.content.content_bytes import ContentAccess, NotToBeHad
from localai_flask.chat.conversation import Conversation, Message
from localai_flask.chat.documents import DocumentSource, shown_text
from localai_flask.chat.images import ImageSource
from localai_flask.chat.marks import keys_in, replace_marks, without_marks
from localai_flask.documents.limits import Limits, UnreadableDocument, too_long
from localai_flask.documents.pages import Document, joined, pages_to_draw
from localai_flask.documents.reading import draw_pages, read_pages
from localai_flask.errors import InvalidRequest

T = TypeVar("T")
MOST_DOCUMENTS = 64
MOST_BYTES, MOST_TOGETHER = 50 * 2**20, 100 * 2**20
"""Of one document, and of all that a request has and nobody has read yet."""
ALL_S = 60.0
"""How long a request's documents may take, until the last of them is begun."""
MOST_TEXT = 16_000_000
"""Characters of the last documents' texts that are kept, as each turn sends its conversation whole."""
MOST_DRAWN = 64 * 2**20
"""Bytes of the last drawn pages that are kept: some 300 of them."""


def with_documents_read(
    conversation: Conversation, access: ContentAccess, field: str, most_images: int
) -> Generator[None, None, Conversation]:
    """Put their texts in the place of documents, and images of pages behind those of the pages, if there may be any.

    One that cannot be read is refused with `InvalidRequest` in the last message, if that is the user's; in the past and
    in results of tools the model reads in its place what is wrong with it.
    """
    sources = conversation.documents
    places = [
        (key, message is conversation.messages[-1] and message.role == "user")
        for message in conversation.messages
        for key in keys_in(message.content)
        if key in sources
    ]
    if not places:
        return conversation
    if len(places) > MOST_DOCUMENTS:
        said = f"The messages have {len(places)} documents, but at most {MOST_DOCUMENTS} may be sent."
        raise InvalidRequest(said, param=field)
    reading = _Reading(conversation, access, field, most_images)
    for key, is_asked in places:
        yield from reading.read(key, is_asked)
    reading.check_images()
    shown: dict[str, _Shown] = {}
    for key, is_asked in places:
        shown[key] = yield from reading.show(key, is_asked)
    messages = tuple(_with_pages(message, shown) for message in conversation.messages)
    return dataclasses.replace(conversation, messages=messages)


class _Shown(NamedTuple):
    """What the model reads of a document, with the marks of the images in it."""

    text: str
    images: Mapping[str, ImageSource]


def _with_pages(message: Message, shown: Mapping[str, _Shown]) -> Message:
    if not message.documents:
        return message
    images = dict(message.images)

    def put(key: str) -> str | None:
        if key not in shown:
            return None
        images.update(shown[key].images)
        return shown[key].text

    content = replace_marks(message.content, put)
    return dataclasses.replace(message, content=content, images=images, documents={})


class _Read(NamedTuple):
    """A document, the key under which its pages are kept, and which of them are to be drawn."""

    name: str
    kept_as: str
    document: Document
    numbers: list[int]


class _Reading:
    """Reads one request's documents, each once, and then draws their pages."""

    def __init__(self, conversation: Conversation, access: ContentAccess, field: str, most_images: int):
        settings = access.settings
        self._limits = Limits(settings.document_pages, settings.document_text, settings.document_timeout)
        self._sources, images = conversation.documents, conversation.images
        self._images = sum(key in images for message in conversation.messages for key in keys_in(message.content))
        self._access = access
        self._field = field
        self._most_images = most_images
        self._deadline = time.monotonic() + ALL_S
        self._read: dict[str, _Read | Exception] = {}
        self._characters = self._bytes = self._drawn = 0

    def read(self, key: str, is_asked: bool) -> Generator[None, None, None]:
        """Read a document where it stands; raise `InvalidRequest` if one that `is_asked` now cannot be read."""
        if key not in self._read:
            try:
                self._read[key] = yield from self._read_one(self._sources[key])
            except (NotToBeHad, UnreadableDocument) as error:
                self._read[key] = error
        read = self._read[key]
        if isinstance(read, _Read):
            self._characters += read.document.characters
            self._drawn += len(read.numbers)
        elif is_asked:
            raise self._refused(key, read)
        if self._characters > self._limits.characters:
            together = str(too_long(self._limits.characters)).removeprefix("has ")
            raise InvalidRequest(f"The documents have together {together}.", param=self._field)

    def check_images(self) -> None:
        """Raise `InvalidRequest` if more pages are to be drawn than there may be images."""
        if not self._drawn or self._images + self._drawn <= self._most_images:
            return
        beside = f" beside {self._images} images" if self._images else ""
        advice = "send fewer pages"
        if any(source.detail != "low" for source in self._sources.values()):
            advice += ', or with `detail: "low"`, which draws only those without text'
        said = f"{self._drawn} pages of the documents would be drawn{beside}, but at most {self._most_images} images"
        raise InvalidRequest(f"{said} may be sent; {advice}.", param=self._field)

    def show(self, key: str, is_asked: bool) -> Generator[None, None, _Shown]:
        """Return what is shown in a document's place; raise `InvalidRequest` if one that `is_asked` cannot be drawn."""
        source, read = self._sources[key], self._read[key]
        if isinstance(read, _Read):
            try:
                return (yield from self._shown(source, read))
            except (NotToBeHad, UnreadableDocument) as error:
                self._read[key] = read = error
        if is_asked:
            raise self._refused(key, read)
        return _Shown(shown_text(f"[It cannot be read: it {read}.]", source.name), {})

    def _refused(self, key: str, error: Exception) -> InvalidRequest:
        name = self._sources[key].name
        return InvalidRequest(f"{f'The document {name!r}' if name else 'A document'} {error}.", param=self._field)

    def _read_one(self, source: DocumentSource) -> Generator[None, None, _Read]:
        self._check_time()
        stored = self._access.find_file(source.file_id) if source.file_id else None
        kept_as, document = yield from self._document(source)
        numbers = pages_to_draw(document, source.detail) if self._most_images else []
        if document.can_be_drawn and not document.has_text and not numbers:
            if self._most_images:
                raise UnreadableDocument("has nothing on its pages")
            advice = "choose a model that sees, or send its text"
            raise UnreadableDocument(f"has no text, as of scanned pages, and this model sees no images; {advice}")
        return _Read(source.name or (stored.name if stored else ""), kept_as, document, numbers)

    def _document(self, source: DocumentSource) -> Generator[None, None, tuple[str, Document]]:
        # A file's bytes never change under its id, and that whoever asks may have it was seen just now.
        known = _documents.get((source.file_id, self._limits)) if source.file_id else None
        if known:
            return source.file_id, known
        data = yield from self._access.bytes_of(source, MOST_BYTES)
        kept_as = source.file_id or hashlib.sha256(data).hexdigest()
        if (document := _documents.get((kept_as, self._limits))) is None:
            self._bytes += len(data)
            if self._bytes > MOST_TOGETHER:
                said = f"The documents have more than {MOST_TOGETHER} bytes together; send fewer of them."
                raise InvalidRequest(said, param=self._field)
            document = _without_marks((yield from read_pages(data, self._limits, self._access.caller)))
            _documents.put((kept_as, self._limits), document, document.characters)
        return kept_as, document

    def _shown(self, source: DocumentSource, read: _Read) -> Generator[None, None, _Shown]:
        drawn = yield from self._draw(source, read)
        pages = [
            "\n".join(filter(None, (page.text, drawn[number].mark if number in drawn else "")))
            for number, page in enumerate(read.document.pages)
        ]
        images = {image.key: image for image in drawn.values()}
        return _Shown(shown_text(joined(pages), read.name, source.context), images)

    def _draw(self, source: DocumentSource, read: _Read) -> Generator[None, None, dict[int, ImageSource]]:
        found = {number: _drawn.get((read.kept_as, number)) for number in read.numbers}
        drawn = {number: image for number, image in found.items() if image}
        if missing := [number for number in read.numbers if number not in drawn]:
            self._check_time()
            data = yield from self._access.bytes_of(source, MOST_BYTES)
            files = yield from draw_pages(data, missing, self._limits, self._access.caller)
            for number, file in zip(missing, files, strict=True):
                drawn[number] = ImageSource(source.kind, data=file)
                _drawn.put((read.kept_as, number), drawn[number], len(file))
        return drawn

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            said = f"The documents take more than {ALL_S:.0f} s to read; send fewer of them."
            raise InvalidRequest(said, param=self._field)


def _without_marks(document: Document) -> Document:
    pages = [msgspec.structs.replace(page, text=without_marks(page.text)) for page in document.pages]
    return msgspec.structs.replace(document, pages=pages)


class _Kept(Generic[T]):
    """What was read or drawn last, up to a size, under the document's content or its file's id, and more."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, object], tuple[T, int]] = OrderedDict()

    def get(self, key: tuple[str, object]) -> T | None:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: tuple[str, object], value: T, size: int) -> None:
        with self._lock:
            self._size += size - self._kept.pop(key, (None, 0))[1]
            self._kept[key] = value, size
            while self._size > self._most:
                self._size -= self._kept.popitem(last=False)[1][1]


_documents = _Kept[Document](MOST_TEXT)
_drawn = _Kept[ImageSource](MOST_DRAWN)
