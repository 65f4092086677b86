"""Batches as those have them who work on them: one process at a time, under a lease that it renews with all it writes.

A line's answer is written once, in a transaction that also checks the lease: a process that has lost it, or was killed,
leaves the line to the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from localai_flask.settings import Settings
from localai_flask.store.batches.rows import (
    UNFINISHED,
    Answered,
    Line,
    Outcome,
    Status,
    StoredBatch,
    count_outcomes,
    insert_lines,
    select_batches,
    usage_of,
    with_moment,
)
from localai_flask.store.database import Database, time_of
from localai_flask.store.room import FilesFull, check_room
from localai_flask.store.tables import batch_lines, batches

LEASE_S = 10.0


class LeaseLost(Exception):
    """Another process works on the batch now, or it was deleted."""


class BatchLeases:
    """The work on the batches of a database."""

    def __init__(self, database: Database, settings: Settings):
        self._database = database
        self._settings = settings

    def claim(self, owner: str, resting: Sequence[str] = ()) -> StoredBatch | None:
        """Take over the oldest batch that nobody works on, but none of keepers who are `resting`."""
        with self._database.writing() as connection:
            now = time_of(connection)
            free = or_(batches.c.owner.is_(None), batches.c.lease_until < now)
            free = and_(free, batches.c.keeper.not_in(resting))
            query = select_batches().where(batches.c.status.in_(UNFINISHED), free).order_by(batches.c.created_at)
            row = connection.execute(query.limit(1).with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            lease = {"owner": owner, "lease_until": now + LEASE_S}
            connection.execute(update(batches).where(batches.c.id == row.id).values(**lease))
            return StoredBatch(*row)

    def add_lines(self, owner: str, id: str, lines: Sequence[Line]) -> None:
        """Keep lines that were read; those that are there already, from a reader that died, stay.

        Raises `FilesFull` if there is no room for them.
        """
        with self._database.writing() as connection:
            _renewed(connection, owner, id)
            there = select(batch_lines.c.number).where(batch_lines.c.batch_id == id)
            known = set(connection.execute(there.where(batch_lines.c.number >= lines[0].number)).scalars())
            new = [line for line in lines if line.number not in known]
            check_room(connection, self._settings, sum(line.size for line in new))
            insert_lines(connection, id, new)

    def has_room(self) -> bool:
        """Return whether files and batches may take more than they do."""
        with self._database.reading() as connection:
            try:
                check_room(connection, self._settings, 1)
            except FilesFull:
                return False
        return True

    def record(self, owner: str, id: str, answered: Sequence[Answered]) -> StoredBatch:
        """Write answers of lines that had none, in the place of the requests, and renew the lease."""
        with self._database.writing() as connection:
            batch = _renewed(connection, owner, id)
            if not answered:
                return batch
            waiting = _sizes_of_waiting(connection, id, [each.number for each in answered])
            more, usage = 0, usage_of(batch)
            for each in answered:
                if each.number not in waiting:
                    continue
                ours = and_(batch_lines.c.batch_id == id, batch_lines.c.number == each.number)
                values = {"outcome": each.outcome, "answer": each.answer, "request": b""}
                connection.execute(update(batch_lines).where(ours).values(**values))
                more += len(each.answer or b"") - waiting[each.number]
                usage += each.usage
            taken = {"size": batches.c.size + more, "usage": msgspec.json.encode(usage)}
            connection.execute(update(batches).where(batches.c.id == id).values(**taken))
            return _batch(connection, id)

    def close_lines(self, owner: str, id: str, outcome: Outcome) -> None:
        """Close all lines that still wait with the same outcome."""
        with self._database.writing() as connection:
            _renewed(connection, owner, id)
            waits = _waits_in(id)
            freed = select(func.coalesce(func.sum(func.length(batch_lines.c.request)), 0)).where(waits)
            size = batches.c.size - freed.scalar_subquery()
            connection.execute(update(batches).where(batches.c.id == id).values(size=size))
            connection.execute(update(batch_lines).where(waits).values(outcome=outcome, request=b""))

    def advance(self, owner: str, id: str, status: Status, **values: Any) -> StoredBatch:
        """Bring a batch into another status, with further columns; one that has ended has no owner any more."""
        with self._database.writing() as connection:
            return advance(connection, owner, id, status, **values)

    def release(self, owner: str, id: str) -> None:
        """Leave a batch to whichever process takes it."""
        with self._database.writing() as connection:
            ours = and_(batches.c.id == id, batches.c.owner == owner)
            connection.execute(update(batches).where(ours).values(owner=None, lease_until=None))

    def abandon(self, home: str, but: str) -> None:
        """End the leases of this server's owners before `but`, which has come in their place."""
        with self._database.writing() as connection:
            theirs = and_(
                batches.c.owner.startswith(f"{home}/", autoescape=True),
                ~batches.c.owner.startswith(f"{but}/", autoescape=True),
            )
            connection.execute(update(batches).where(theirs).values(owner=None, lease_until=None))


def advance(connection: Connection, owner: str, id: str, status: Status, **values: Any) -> StoredBatch:
    """Bring a batch into another status, in a transaction that does more; its lines go at the end if they may."""
    batch = _renewed(connection, owner, id)
    values |= {"status": status, "moments": with_moment(batch.moments, status)}
    if status not in UNFINISHED:
        values |= {"owner": None, "lease_until": None}
        if batch.is_of_files:
            values |= {"counts": msgspec.json.encode(count_outcomes(connection, batch)), "size": 0}
    connection.execute(update(batches).where(batches.c.id == id).values(**values))
    return _batch(connection, id)


def _renewed(connection: Connection, owner: str, id: str) -> StoredBatch:
    lease = {"lease_until": time_of(connection) + LEASE_S}
    ours = and_(batches.c.id == id, batches.c.owner == owner)
    if not connection.execute(update(batches).where(ours).values(**lease)).rowcount:
        raise LeaseLost
    return _batch(connection, id)


def _batch(connection: Connection, id: str) -> StoredBatch:
    return StoredBatch(*connection.execute(select_batches().where(batches.c.id == id)).one())


def _waits_in(id: str) -> ColumnElement[bool]:
    return and_(batch_lines.c.batch_id == id, batch_lines.c.outcome == "waiting")


def _sizes_of_waiting(connection: Connection, id: str, numbers: Sequence[int]) -> Mapping[int, int]:
    """Return how long the requests are of these lines, as far as they wait."""
    query = select(batch_lines.c.number, func.length(batch_lines.c.request))
    query = query.where(_waits_in(id), batch_lines.c.number.in_(numbers))
    return {row[0]: row[1] for row in connection.execute(query)}
