"""Batches as those have them who ask for them: they begin one, see how far it is, and give it up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, exists, func, insert, or_, select, update

from localai_flask.errors import NotFound, Overloaded
from localai_flask.settings import Settings
from localai_flask.store.batches.rows import (
    UNFINISHED,
    Line,
    Outcome,
    StoredBatch,
    count_outcomes,
    insert_lines,
    select_batches,
    with_moment,
)
from localai_flask.store.database import Database
from localai_flask.store.kept import ID
from localai_flask.store.room import check_room
from localai_flask.store.tables import batch_lines, batches

MOST_UNFINISHED = 100
"""Batches that may wait or run."""
RETRY_S = 60.0
KEPT_S = 30 * 86400.0
"""How long a batch that has ended is kept, with its lines."""
DELETED = "deleted"
"""The kind of batches that are gone, but for some of their lines."""
DELETED_AT_ONCE = 200
"""Lines that one transaction deletes."""


class BatchNotFound(NotFound):
    """No batch has this id, or it was deleted."""

    def __init__(self, id: str):
        super().__init__(f"There is no batch {id}.", param="batch_id")


class Batches:
    """The batches of a database that this keeper may have: its own, and those that nobody keeps; None may have all."""

    def __init__(self, database: Database, settings: Settings, keeper: str | None = None):
        self._database = database
        self._settings = settings
        self._keeper = keeper

    def kept_by(self, keeper: str | None) -> Batches:
        return Batches(self._database, self._settings, keeper)

    def create(self, batch: StoredBatch, lines: Sequence[Line] = ()) -> None:
        """Keep a batch that is to be worked on.

        Raises `Overloaded` if too many have not ended, and `FilesFull` if there is no room for its lines.
        """
        with self._database.writing() as connection:
            unfinished = select(func.count()).select_from(batches).where(batches.c.status.in_(UNFINISHED))
            if connection.execute(unfinished).scalar_one() >= MOST_UNFINISHED:
                said = f"{MOST_UNFINISHED} batches have not ended yet, as many as may; try again later."
                raise Overloaded(said, retry_after=RETRY_S)
            check_room(connection, self._settings, sum(line.size for line in lines))
            row = {field: getattr(batch, field) for field in StoredBatch.__slots__}
            connection.execute(insert(batches).values(**row))
            insert_lines(connection, batch.id, lines)

    def get(self, id: str) -> StoredBatch:
        """Return a batch; raise `BatchNotFound` if there is none."""
        with self._database.reading() as connection:
            return self._row(connection, id)

    def list(self, kind: str) -> Sequence[StoredBatch]:
        """Return the batches of one API family, the oldest first."""
        query = self._select().where(batches.c.kind == kind).order_by(batches.c.created_at, batches.c.id)
        with self._database.reading() as connection:
            return [StoredBatch(*row) for row in connection.execute(query)]

    def counts(self, batch: StoredBatch) -> dict[Outcome, int]:
        """Return how many lines have come to each outcome."""
        with self._database.reading() as connection:
            return count_outcomes(connection, batch)

    def lines(self, id: str, after: int = -1, most: int = 100, outcome: Outcome | None = None) -> Sequence[Line]:
        """Return the next lines behind a number, of one outcome if that is given."""
        query = select(*(batch_lines.c[name] for name in Line.__slots__))
        query = query.where(batch_lines.c.batch_id == id, batch_lines.c.number > after)
        if outcome is not None:
            query = query.where(batch_lines.c.outcome == outcome)
        with self._database.reading() as connection:
            return [Line(*row) for row in connection.execute(query.order_by(batch_lines.c.number).limit(most))]

    def cancel(self, id: str) -> StoredBatch:
        """Ask for a batch to be given up; one that has ended stays as it is."""
        with self._database.writing() as connection:
            batch = self._row(connection, id)
            if batch.status in UNFINISHED and not batch.cancelled:
                moments = with_moment(batch.moments, "cancelling")
                ours = batches.c.id == id
                connection.execute(update(batches).where(ours).values(cancelled=True, moments=moments))
            return self._row(connection, id)

    def delete(self, id: str) -> None:
        """Delete a batch with its lines; a process that works on it notices."""
        with self._database.writing() as connection:
            self._row(connection, id)
            gone = {"kind": DELETED, "status": "failed", "owner": None, "lease_until": None, "size": 0}
            connection.execute(update(batches).where(batches.c.id == id).values(**gone))
        for _ in _delete_batch(self._database, id):
            pass

    def _row(self, connection: Connection, id: str) -> StoredBatch:
        row = connection.execute(self._select().where(batches.c.id == id)).first() if ID.fullmatch(id) else None
        if row is None:
            raise BatchNotFound(id)
        return StoredBatch(*row)

    def _select(self) -> Select:
        query = select_batches().where(batches.c.kind != DELETED)
        return query if self._keeper is None else query.where(batches.c.keeper.in_(("", self._keeper)))


def forget_old(database: Database) -> Iterator[None]:
    """Delete batches that ended long ago, and lines that nobody needs any more, a few at each step."""
    ended_long_ago = and_(batches.c.status.not_in(UNFINISHED), batches.c.created_at < time.time() - KEPT_S)
    for id in _ids(database, or_(batches.c.kind == DELETED, ended_long_ago)):
        yield from _delete_batch(database, id)
    has_lines = exists().where(batch_lines.c.batch_id == batches.c.id)
    for id in _ids(database, and_(batches.c.counts.is_not(None), has_lines)):
        yield from _delete_lines(database, id)


def _ids(database: Database, condition: ColumnElement[bool]) -> Sequence[str]:
    with database.reading() as connection:
        return connection.execute(select(batches.c.id).where(condition)).scalars().all()


def _delete_batch(database: Database, id: str) -> Iterator[None]:
    yield from _delete_lines(database, id)
    with database.writing() as connection:
        connection.execute(delete(batches).where(batches.c.id == id))
    yield


def _delete_lines(database: Database, id: str) -> Iterator[None]:
    of_batch = batch_lines.c.batch_id == id
    is_left = True
    while is_left:
        with database.writing() as connection:
            first = connection.execute(select(func.min(batch_lines.c.number)).where(of_batch)).scalar_one()
            is_left = first is not None
            if is_left:
                few = batch_lines.c.number < first + DELETED_AT_ONCE
                connection.execute(delete(batch_lines).where(of_batch, few))
        yield
