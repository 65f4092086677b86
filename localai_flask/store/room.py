"""How much files and batches take together, and whether there is room for more."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from localai_flask.errors import ApiError
from localai_flask.settings import Settings
from localai_flask.store.tables import batches, files


class FilesFull(ApiError):
    """All files and batches together would be larger than they may."""

    status, type, code = 413, "invalid_request_error", "files_full"


def check_room(connection: Connection, settings: Settings, more: int, param: str | None = None) -> None:
    """Raise `FilesFull` if this many bytes more would be too many."""
    most = settings.files_size * 2**20
    if not most:
        return
    taken = sum(
        connection.execute(select(func.coalesce(func.sum(table.c.size), 0))).scalar_one() for table in (files, batches)
    )
    if taken + more > most:
        raise FilesFull(
            f"All files and batches together may take {settings.files_size} MB, and {taken // 2**20} MB are taken; "
            "delete some, or raise LOCALAI_FILES_SIZE.",
            param=param,
        )
