"""The shapes of files, as the official `openai` package parses them."""

from __future__ import annotations

import math

import msgspec

from localai_flask.store.files import StoredFile


class File(msgspec.Struct):
    id: str
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    object: str = "file"
    status: str = "processed"


class DeletedFile(msgspec.Struct):
    id: str
    object: str = "file"
    deleted: bool = True


class FileList(msgspec.Struct):
    data: list[File]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: str = "list"


def file_shape(stored: StoredFile) -> File:
    expires_at = None if stored.expires_at is None else math.ceil(stored.expires_at)
    return File(stored.id, stored.size, int(stored.created_at), expires_at, stored.name, stored.purpose)
