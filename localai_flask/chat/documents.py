"""Documents in a conversation: where they come from, and how a model is shown what is in them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from localai_flask.chat.marks import mark_of

LONGEST_NAME = 255
_UNNAMED = re.compile(r'[\x00-\x1f\x7f"<>]+')


@dataclass(frozen=True, slots=True)
class DocumentSource:
    """A document's file, its address, or the id of an uploaded one; `kind` is what the request calls it.

    `detail` says which of its pages a model that sees is shown as images.
    """

    kind: str
    data: bytes = b""
    url: str = ""
    file_id: str = ""
    name: str = ""
    context: str = ""
    detail: str = "auto"

    @property
    def key(self) -> str:
        where = (self.kind, self.url, self.file_id, self.name, self.context, self.detail)
        return hashlib.sha256(repr(where).encode("utf-8", "replace") + self.data).hexdigest()[:32]

    @property
    def mark(self) -> str:
        """What stands for it in a message's text."""
        return mark_of(self.key)


def shown_text(text: str, name: str = "", context: str = "") -> str:
    """Return a document's text as the model reads it: between tags, behind what the client says about it."""
    name = _UNNAMED.sub(" ", name).strip()[:LONGEST_NAME]
    head = f'<document name="{name}">' if name else "<document>"
    return "\n".join([head, *filter(None, (context, text)), "</document>"]) + "\n"
