"""Documents read and drawn at once, for tests of what comes of it."""

from __future__ import annotations

from collections.abc import Sequence

from localai_flask.api.work.plans import finish
from localai_flask.documents.limits import Limits
from localai_flask.documents.pages import Document
from localai_flask.documents.reading import draw_pages, read_pages


def read_now(data: bytes, limits: Limits) -> Document:
    return finish(read_pages(data, limits, "me"))


def draw_now(data: bytes, numbers: Sequence[int], limits: Limits) -> list[bytes]:
    return finish(draw_pages(data, numbers, limits, "me"))
