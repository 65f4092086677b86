"""From the documents that a conversation names to their text in its messages: fetched, read, and bounded."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from localai_flask.api.work.content_bytes import ContentAccess, NotToBeHad
from localai_flask.chat.conversation import Conversation, Message
from localai_flask.chat.documents import DocumentSource, shown_text
from localai_flask.chat.marks import keys_in, replace_marks, without_marks
from localai_flask.documents.limits import Limits, UnreadableDocument, too_long
from localai_flask.documents.text import text_of
from localai_flask.errors import InvalidRequest

MOST_DOCUMENTS = 64
MOST_BYTES, MOST_TOGETHER = 50 * 2**20, 100 * 2**20
"""Of one document, and of all that a request has and nobody has read yet."""
ALL_S = 60.0
"""How long a request's documents may take, until the last of them is begun."""
MOST_KEPT = 16_000_000
"""Characters of the last documents' texts that are kept, as each turn sends its conversation whole."""


def with_documents_read(conversation: Conversation, access: ContentAccess, field: str) -> Conversation:
    """Put their texts in the place of documents.

    One that cannot be read is refused with `InvalidRequest` in the last message, if that is the user's; in the past and
    in results of tools the model reads in its place what is wrong with it.
    """
    sources = conversation.documents
    shown = [key for message in conversation.messages for key in keys_in(message.content) if key in sources]
    if not shown:
        return conversation
    if len(shown) > MOST_DOCUMENTS:
        said = f"The messages have {len(shown)} documents, but at most {MOST_DOCUMENTS} may be sent."
        raise InvalidRequest(said, param=field)
    reading, last = _Reading(sources, access, field), conversation.messages[-1]
    messages = tuple(
        _with_texts(message, reading.asked if message is last and message.role == "user" else reading.shown)
        for message in conversation.messages
    )
    return dataclasses.replace(conversation, messages=messages)


def _with_texts(message: Message, put: Callable[[str], str | None]) -> Message:
    if not message.documents:
        return message
    return dataclasses.replace(message, content=replace_marks(message.content, put), documents={})


class _Read(NamedTuple):
    """What the model reads of a document, and how long its text is."""

    shown: str
    characters: int


class _Reading:
    """Reads one request's documents, each once."""

    def __init__(self, sources: dict[str, DocumentSource], access: ContentAccess, field: str):
        settings = access.settings
        self._limits = Limits(settings.document_pages, settings.document_text, settings.document_timeout)
        self._sources = sources
        self._access = access
        self._field = field
        self._deadline = time.monotonic() + ALL_S
        self._read: dict[str, _Read | Exception] = {}
        self._characters = self._bytes = 0

    def asked(self, key: str) -> str | None:
        """Return what the model reads of a document; raise `InvalidRequest` if it cannot be read."""
        return self._put(key, refuses=True)

    def shown(self, key: str) -> str | None:
        """Return what the model reads of a document, or why it cannot."""
        return self._put(key, refuses=False)

    def _put(self, key: str, *, refuses: bool) -> str | None:
        if (source := self._sources.get(key)) is None:
            return None
        if key not in self._read:
            try:
                self._read[key] = self._read_one(source)
            except (NotToBeHad, UnreadableDocument) as error:
                self._read[key] = error
        read = self._read[key]
        if isinstance(read, _Read):
            self._count(read.characters)
            return read.shown
        named = f"The document {source.name!r}" if source.name else "A document"
        if refuses:
            raise InvalidRequest(f"{named} {read}.", param=self._field)
        return shown_text(f"[It cannot be read: it {read}.]", source.name)

    def _count(self, characters: int) -> None:
        self._characters += characters
        if self._characters > self._limits.characters:
            together = str(too_long(self._limits.characters)).removeprefix("has ")
            raise InvalidRequest(f"The documents have together {together}.", param=self._field)

    def _read_one(self, source: DocumentSource) -> _Read:
        if time.monotonic() > self._deadline:
            said = f"The documents take more than {ALL_S:.0f} s to read; send fewer of them."
            raise InvalidRequest(said, param=self._field)
        stored = self._access.find_file(source.file_id) if source.file_id else None
        text = self._text(source)
        return _Read(shown_text(text, source.name or (stored.name if stored else ""), source.context), len(text))

    def _text(self, source: DocumentSource) -> str:
        # A file's bytes never change under its id, and that whoever asks may have it was seen just now.
        known = source.file_id and _texts.get((source.file_id, self._limits))
        if known:
            return known
        data = self._access.bytes_of(source, MOST_BYTES)
        key = source.file_id or hashlib.sha256(data).hexdigest()
        if (text := _texts.get((key, self._limits))) is None:
            self._bytes += len(data)
            if self._bytes > MOST_TOGETHER:
                said = f"The documents have more than {MOST_TOGETHER} bytes together; send fewer of them."
                raise InvalidRequest(said, param=self._field)
            text = without_marks(text_of(data, self._limits))
            _texts.put((key, self._limits), text)
        return text


_Key = tuple[str, Limits]


class _Texts:
    """The texts of the documents that were read last, by their content or their file's id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, str] = OrderedDict()
        self._size = 0

    def get(self, key: _Key) -> str | None:
        with self._lock:
            if (text := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
            return text

    def put(self, key: _Key, text: str) -> None:
        with self._lock:
            self._size += len(text) - len(self._kept.pop(key, ""))
            self._kept[key] = text
            while self._size > MOST_KEPT:
                self._size -= len(self._kept.popitem(last=False)[1])


_texts = _Texts()
