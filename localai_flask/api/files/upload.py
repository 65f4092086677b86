"""An upload: a form with a file and what it is for."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from localai_flask.api import current
from localai_flask.errors import ApiError, InvalidRequest
from localai_flask.store.files import PIECE

PURPOSES = ("batch", "user_data", "vision", "assistants")
"""What OpenAI's clients upload files for that this server has a use for."""
TAKES_UPLOAD = "takes_upload"
FORM_BYTES = 2**20
"""What stands around a file in its form, at most."""
DAY_S = 86400
BATCH_LIVES_S = 30 * DAY_S
"""How long a batch's input is kept if nothing is said, as OpenAI has it."""
SHORTEST_LIFE_S, LONGEST_LIFE_S = 3600, 30 * DAY_S


View = TypeVar("View", bound=Callable[..., Any])


def takes_upload(view: View) -> View:
    """Mark a view that takes bodies as large as a file may be, which the server then keeps on disk."""
    setattr(view, TAKES_UPLOAD, True)
    return view


class FileTooLarge(ApiError):
    """The upload is larger than one may be."""

    status, type, code = 413, "invalid_request_error", "request_too_large"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is being uploaded."""

    name: str
    purpose: str
    content: IO[bytes]
    expires_at: float | None

    def pieces(self) -> Iterator[bytes]:
        while piece := self.content.read(PIECE):
            yield piece


def read_upload() -> Upload:
    """Read the form of the present request; raise `InvalidRequest` for what is wrong with it."""
    limit = current.settings().file_limit
    request.max_content_length = limit * 2**20 + FORM_BYTES
    if request.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("An upload is kept as it comes; send it without `Content-Encoding`.")
    if request.mimetype != "multipart/form-data":
        raise InvalidRequest("The body must be a form (multipart/form-data) with the fields `file` and `purpose`.")
    try:
        form, found = request.form, request.files.get("file")
    except RequestEntityTooLarge as error:
        if not _is_body_too_long():
            raise InvalidRequest("The form has too many fields, or too long ones; send the file as `file`.") from error
        raise _too_large(limit) from error
    if found is None:
        raise InvalidRequest("`file` is required: a field of the form that has a file name.", param="file")
    if found.stream.seek(0, os.SEEK_END) > limit * 2**20:
        raise _too_large(limit)
    found.stream.seek(0)
    purpose = form.get("purpose", "")
    if purpose not in PURPOSES:
        raise InvalidRequest(f"`purpose` must be one of: {', '.join(PURPOSES)}.", param="purpose")
    lives_s = _life(form) or (BATCH_LIVES_S if purpose == "batch" else None)
    expires_at = None if lives_s is None else time.time() + lives_s
    return Upload(found.filename or "upload", purpose, found.stream, expires_at)


def _too_large(limit: int) -> FileTooLarge:
    return FileTooLarge(f"The file is larger than {limit} MB; send less, or raise LOCALAI_FILE_LIMIT.")


def _is_body_too_long() -> bool:
    """Return whether it was the body's length that was refused; werkzeug says the same of what it has too much of."""
    if request.content_length is not None:
        return request.content_length > (request.max_content_length or 0)
    return bool(getattr(request.stream, "is_exhausted", False))


def _life(form: Mapping[str, str]) -> int | None:
    """Return how many seconds the file is to be kept, if the form says so."""
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise InvalidRequest("`expires_after[anchor]` must be created_at.", param="expires_after[anchor]")
    if not re.fullmatch("[0-9]{1,9}", seconds or "") or not SHORTEST_LIFE_S <= int(seconds or 0) <= LONGEST_LIFE_S:
        said = f"`expires_after[seconds]` must be a whole number between {SHORTEST_LIFE_S} and {LONGEST_LIFE_S}."
        raise InvalidRequest(said, param="expires_after[seconds]")
    return int(seconds or 0)
