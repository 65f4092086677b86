"""Uploaded and written files: in SQL, in pieces, each under its keeper's key."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Row, Select, delete, func, insert, or_, select

from localai_flask.errors import ApiError, NotFound
from localai_flask.settings import Settings
from localai_flask.store.database import Database
from localai_flask.store.kept import ID
from localai_flask.store.tables import file_pieces, files

PIECE = 2**19
"""Bytes of a piece: what one statement carries, and what a reader holds in memory."""
LONGEST_NAME = 255
LONGEST_LIST = 10_000


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file without its bytes; times are Unix times."""

    id: str
    created_at: float
    expires_at: float | None
    name: str
    purpose: str
    size: int


class FileNotFound(NotFound):
    """No file has this id, or it has expired."""

    def __init__(self, id: str, param: str = "file_id"):
        super().__init__(f"There is no file {id}; it has expired or was deleted.", param=param)


class FilesFull(ApiError):
    """All files together would be larger than they may."""

    status, type, code = 413, "invalid_request_error", "files_full"


class Files:
    """The files of a database that this keeper may have: its own, and those that nobody keeps; None may have all."""

    def __init__(self, database: Database, settings: Settings, keeper: str | None = None):
        self._database = database
        self._settings = settings
        self._keeper = keeper

    def kept_by(self, keeper: str | None) -> Files:
        return Files(self._database, self._settings, keeper)

    def put(self, name: str, purpose: str, pieces: Iterable[bytes], expires_at: float | None = None) -> StoredFile:
        """Keep a file, whole or not at all; raise `FilesFull` if there is no room for it."""
        with self._database.writing() as connection:
            return self.write(connection, name, purpose, pieces, expires_at)

    def write(
        self, connection: Connection, name: str, purpose: str, pieces: Iterable[bytes], expires_at: float | None = None
    ) -> StoredFile:
        """Keep a file in a transaction that does more."""
        id, now, size = f"file-{uuid.uuid4().hex}", time.time(), 0
        most = self._settings.files_size * 2**20
        others = connection.execute(select(func.coalesce(func.sum(files.c.size), 0))).scalar_one()
        for position, piece in enumerate(pieces):
            size += len(piece)
            if most and others + size > most:
                raise FilesFull(
                    f"All files together may take {self._settings.files_size} MB, and {others // 2**20} MB are taken; "
                    "delete some, or raise LOCALAI_FILES_SIZE.",
                    param="file",
                )
            connection.execute(insert(file_pieces).values(file_id=id, position=position, data=piece))
        stored = StoredFile(id, now, expires_at, name[:LONGEST_NAME], purpose, size)
        row = {field: getattr(stored, field) for field in StoredFile.__slots__}
        connection.execute(insert(files).values(**row, keeper=self._keeper or ""))
        return stored

    def get(self, id: str, param: str = "file_id") -> StoredFile:
        """Return a file; raise `FileNotFound` if there is none."""
        with self._database.reading() as connection:
            return self._row(connection, id, param)

    def read(self, id: str, param: str = "file_id") -> Iterator[bytes]:
        """Return the pieces of a file, each read when it is asked for; raise `FileNotFound` at once."""
        return self._pieces(self.get(id, param), param)

    def _pieces(self, stored: StoredFile, param: str) -> Iterator[bytes]:
        position, left = 0, stored.size
        query = select(file_pieces.c.data).where(file_pieces.c.file_id == stored.id)
        while left > 0:
            with self._database.reading() as connection:
                data = connection.execute(query.where(file_pieces.c.position == position)).scalar_one_or_none()
            if data is None:  # deleted meanwhile
                raise FileNotFound(stored.id, param)
            yield data
            position, left = position + 1, left - len(data)

    def list(self, purpose: str | None = None) -> list[StoredFile]:
        """Return the files, the oldest first; of very many the newest."""
        query = self._select().order_by(files.c.created_at.desc(), files.c.id.desc()).limit(LONGEST_LIST)
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        with self._database.reading() as connection:
            return [_file(row) for row in reversed(connection.execute(query).all())]

    def delete(self, id: str) -> None:
        with self._database.writing() as connection:
            self._row(connection, id)
            remove_files(connection, [id])

    def _row(self, connection: Connection, id: str, param: str = "file_id") -> StoredFile:
        row = connection.execute(self._select().where(files.c.id == id)).first() if ID.fullmatch(id) else None
        if row is None:
            raise FileNotFound(id, param)
        return _file(row)

    def _select(self) -> Select:
        query = select(*(files.c[name] for name in StoredFile.__slots__))
        query = query.where(or_(files.c.expires_at.is_(None), files.c.expires_at > time.time()))
        return query if self._keeper is None else query.where(files.c.keeper.in_(("", self._keeper)))


def forget_expired(database: Database) -> None:
    """Delete files whose time is over."""
    with database.reading() as connection:
        ids = connection.execute(select(files.c.id).where(files.c.expires_at < time.time())).scalars().all()
    for id in ids:
        with database.writing() as connection:
            remove_files(connection, [id])


def remove_files(connection: Connection, ids: Iterable[str]) -> None:
    """Delete files with their pieces."""
    for id in ids:
        connection.execute(delete(file_pieces).where(file_pieces.c.file_id == id))
        connection.execute(delete(files).where(files.c.id == id))


def _file(row: Row) -> StoredFile:
    return StoredFile(*row)
