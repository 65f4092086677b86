"""Uploaded and written files: in SQL, in pieces, each under its keeper's key.

A file is written and deleted in many short transactions, as a large one takes longer than a transaction may. Until its
last piece is there, nobody sees it, and what a process leaves behind that is killed meanwhile expires.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, func, insert, or_, select, update

from localai_flask.errors import NotFound, Unavailable
from localai_flask.settings import Settings
from localai_flask.store.database import Database
from localai_flask.store.kept import ID
from localai_flask.store.room import check_room
from localai_flask.store.tables import file_pieces, files

PIECE = 2**19
"""Bytes of a piece: what one statement carries, and what a reader holds in memory."""
DELETED_AT_ONCE = 16
"""Pieces that one transaction deletes."""
UNFINISHED_S = 600.0
"""How long a file is left alone that is being written, after its last piece."""
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


class Draft:
    """A file that is being written."""

    def __init__(self, database: Database, settings: Settings, id: str, spare: int):
        self.id = id
        self._database = database
        self._settings = settings
        self._spare = spare
        self._pieces = 0

    def add(self, piece: bytes) -> None:
        """Write the next piece; raise `FilesFull` if there is no room for it."""
        with self._database.writing() as connection:
            check_room(connection, self._settings, len(piece) - self._spare, param="file")
            self._change(connection, size=files.c.size + len(piece), expires_at=time.time() + UNFINISHED_S)
            row = {"file_id": self.id, "position": self._pieces, "data": piece}
            connection.execute(insert(file_pieces).values(**row))
        self._pieces += 1

    def finish(self, connection: Connection, expires_at: float | None = None) -> StoredFile:
        """Make it a file that is seen, in a transaction that may do more."""
        self._change(connection, is_whole=True, created_at=time.time(), expires_at=expires_at)
        return _file(connection.execute(_columns().where(files.c.id == self.id)).one())

    def discard(self) -> None:
        """Delete what was written; if the database is away, it expires."""
        with suppress(Unavailable):
            _delete(self._database, self.id)

    def _change(self, connection: Connection, **values: object) -> None:
        ours = and_(files.c.id == self.id, files.c.is_whole.is_(False), files.c.expires_at > 0)
        if not connection.execute(update(files).where(ours).values(**values)).rowcount:
            raise FileNotFound(self.id)  # it has expired, as this process stood still for long


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
        with self.drafting(name, purpose) as draft:
            for piece in pieces:
                draft.add(piece)
            with self._database.writing() as connection:
                return draft.finish(connection, expires_at)

    @contextmanager
    def drafting(self, name: str, purpose: str, spare: int = 0) -> Iterator[Draft]:
        """Begin a file, of which nothing is kept if the block fails.

        It may take `spare` bytes beyond the room that there is, as many as will be free when it is finished.
        """
        now = time.time()
        draft = Draft(self._database, self._settings, f"file-{uuid.uuid4().hex}", spare)
        stored = StoredFile(draft.id, now, now + UNFINISHED_S, name[:LONGEST_NAME], purpose, size=0)
        row = {field: getattr(stored, field) for field in StoredFile.__slots__}
        with self._database.writing() as connection:
            connection.execute(insert(files).values(**row, keeper=self._keeper or "", is_whole=False))
        try:
            yield draft
        except BaseException:
            draft.discard()
            raise

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
        _delete(self._database, id)

    def _row(self, connection: Connection, id: str, param: str = "file_id") -> StoredFile:
        row = connection.execute(self._select().where(files.c.id == id)).first() if ID.fullmatch(id) else None
        if row is None:
            raise FileNotFound(id, param)
        return _file(row)

    def _select(self) -> Select:
        lives = or_(files.c.expires_at.is_(None), files.c.expires_at > time.time())
        query = _columns().where(files.c.is_whole, lives)
        return query if self._keeper is None else query.where(files.c.keeper.in_(("", self._keeper)))


def forget_expired(database: Database) -> Iterator[None]:
    """Delete files whose time is over, a few pieces at each step."""
    is_expired = files.c.expires_at < time.time()
    with database.reading() as connection:
        ids = connection.execute(select(files.c.id).where(is_expired)).scalars().all()
    for id in ids:
        yield from _delete_in_steps(database, and_(files.c.id == id, is_expired))


def _delete(database: Database, id: str) -> None:
    for _ in _delete_in_steps(database, files.c.id == id):
        pass


def _delete_in_steps(database: Database, condition: ColumnElement[bool]) -> Iterator[None]:
    """Delete the file for which this holds: it is gone, and its room free, from the first step on."""
    with database.writing() as connection:
        gone = {"expires_at": 0.0, "is_whole": False, "size": 0}
        id = connection.execute(
            update(files).where(condition).values(**gone).returning(files.c.id)
        ).scalar_one_or_none()
    yield
    of_file = file_pieces.c.file_id == id
    is_left = True
    while is_left:
        with database.writing() as connection:
            first = connection.execute(select(func.min(file_pieces.c.position)).where(of_file)).scalar_one()
            is_left = first is not None
            if is_left:
                few = file_pieces.c.position < first + DELETED_AT_ONCE
                connection.execute(delete(file_pieces).where(of_file, few))
            else:
                connection.execute(delete(files).where(files.c.id == id))
        yield


def _columns() -> Select:
    return select(*(files.c[name] for name in StoredFile.__slots__))


def _file(row: Row) -> StoredFile:
    return StoredFile(*row)
