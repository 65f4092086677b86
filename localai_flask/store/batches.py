"""Batches of requests: lines that are answered one by one by whichever process holds the batch's lease.

A line's answer is written once, in a transaction that also checks the lease: a process that has lost it, or was killed,
leaves the line to the next one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, Select, and_, delete, func, insert, or_, select, update

from localai_flask.errors import NotFound, Overloaded
from localai_flask.store.database import Database, time_of
from localai_flask.store.kept import ID
from localai_flask.store.tables import batch_lines, batches

LEASE_S = 10.0
MOST_UNFINISHED = 100
"""Batches that may wait or run."""
RETRY_S = 60.0
LIVES_S = 24 * 3600.0
"""How long a batch may take, in both APIs."""
KEPT_S = 30 * 86400.0
"""How long a batch that has ended is kept, with its lines."""

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelled"]
UNFINISHED: tuple[Status, ...] = ("validating", "in_progress", "finalizing")
Outcome = Literal["waiting", "succeeded", "errored", "canceled", "expired"]


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch without its lines; `moments`, `metadata` and `errors` are JSON."""

    id: str
    kind: str
    keeper: str
    endpoint: str
    input_file_id: str | None
    metadata: bytes
    output_lives_s: int | None
    created_at: float
    expires_at: float
    status: Status
    moments: bytes
    errors: bytes | None
    output_file_id: str | None
    error_file_id: str | None
    cancelled: bool

    @property
    def times(self) -> dict[str, float]:
        """When it came to be in each status."""
        return msgspec.json.decode(self.moments, type=dict[str, float])


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a batch, and what has become of it; the answer is JSON of a status and a body."""

    number: int
    custom_id: str
    request: bytes
    outcome: Outcome = "waiting"
    answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What has become of a line."""

    number: int
    outcome: Outcome
    answer: bytes | None = None


class BatchNotFound(NotFound):
    """No batch has this id, or it was deleted."""

    def __init__(self, id: str):
        super().__init__(f"There is no batch {id}.", param="batch_id")


class LeaseLost(Exception):
    """Another process works on the batch now, or it was deleted."""


class Batches:
    """The batches of a database that this keeper may have: its own, and those that nobody keeps; None may have all."""

    def __init__(self, database: Database, keeper: str | None = None):
        self._database = database
        self._keeper = keeper

    def kept_by(self, keeper: str | None) -> Batches:
        return Batches(self._database, keeper)

    def create(self, batch: StoredBatch, lines: Sequence[Line] = ()) -> None:
        """Keep a batch that is to be worked on; raise `Overloaded` if too many have not ended."""
        with self._database.writing() as connection:
            unfinished = select(func.count()).select_from(batches).where(batches.c.status.in_(UNFINISHED))
            if connection.execute(unfinished).scalar_one() >= MOST_UNFINISHED:
                said = f"{MOST_UNFINISHED} batches have not ended yet, as many as may; try again later."
                raise Overloaded(said, retry_after=RETRY_S)
            row = {field: getattr(batch, field) for field in StoredBatch.__slots__}
            connection.execute(insert(batches).values(**row))
            _insert_lines(connection, batch.id, lines)

    def get(self, id: str) -> StoredBatch:
        """Return a batch; raise `BatchNotFound` if there is none."""
        with self._database.reading() as connection:
            return self._row(connection, id)

    def list(self, kind: str) -> Sequence[StoredBatch]:
        """Return the batches of one API family, the oldest first."""
        query = self._select().where(batches.c.kind == kind).order_by(batches.c.created_at, batches.c.id)
        with self._database.reading() as connection:
            return [StoredBatch(*row) for row in connection.execute(query)]

    def counts(self, id: str) -> dict[Outcome, int]:
        """Return how many lines have come to each outcome."""
        query = select(batch_lines.c.outcome, func.count()).where(batch_lines.c.batch_id == id)
        with self._database.reading() as connection:
            rows = connection.execute(query.group_by(batch_lines.c.outcome)).all()
            return {row[0]: row[1] for row in rows}

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
                moments = _with_moment(batch.moments, "cancelling")
                ours = batches.c.id == id
                connection.execute(update(batches).where(ours).values(cancelled=True, moments=moments))
            return self._row(connection, id)

    def delete(self, id: str) -> None:
        """Delete a batch with its lines; a process that works on it notices."""
        with self._database.writing() as connection:
            self._row(connection, id)
            _remove(connection, [id])

    def forget_old(self) -> None:
        """Delete batches that ended long ago."""
        old = and_(batches.c.status.not_in(UNFINISHED), batches.c.created_at < time.time() - KEPT_S)
        with self._database.reading() as connection:
            ids = connection.execute(select(batches.c.id).where(old)).scalars().all()
        for id in ids:
            with self._database.writing() as connection:
                _remove(connection, [id])

    def claim(self, owner: str) -> StoredBatch | None:
        """Take over the oldest batch that nobody works on."""
        with self._database.writing() as connection:
            now = time_of(connection)
            free = or_(batches.c.owner.is_(None), batches.c.lease_until < now)
            query = self._select().where(batches.c.status.in_(UNFINISHED), free).order_by(batches.c.created_at)
            row = connection.execute(query.limit(1).with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            lease = {"owner": owner, "lease_until": now + LEASE_S}
            connection.execute(update(batches).where(batches.c.id == row.id).values(**lease))
            return StoredBatch(*row)

    def add_lines(self, owner: str, id: str, lines: Sequence[Line]) -> None:
        """Keep lines that were read; those that are there already, from a reader that died, stay."""
        with self._database.writing() as connection:
            _renewed(connection, owner, id)
            there = select(batch_lines.c.number).where(batch_lines.c.batch_id == id)
            known = set(connection.execute(there.where(batch_lines.c.number >= lines[0].number)).scalars())
            _insert_lines(connection, id, [line for line in lines if line.number not in known])

    def record(self, owner: str, id: str, answered: Sequence[Answered]) -> StoredBatch:
        """Write answers of lines that had none, and renew the lease."""
        with self._database.writing() as connection:
            batch = _renewed(connection, owner, id)
            for each in answered:
                waits = and_(
                    batch_lines.c.batch_id == id,
                    batch_lines.c.number == each.number,
                    batch_lines.c.outcome == "waiting",
                )
                values = {"outcome": each.outcome, "answer": each.answer}
                connection.execute(update(batch_lines).where(waits).values(**values))
            return batch

    def close_lines(self, owner: str, id: str, outcome: Outcome) -> None:
        """Give all lines that still wait the same outcome."""
        with self._database.writing() as connection:
            _renewed(connection, owner, id)
            waits = and_(batch_lines.c.batch_id == id, batch_lines.c.outcome == "waiting")
            connection.execute(update(batch_lines).where(waits).values(outcome=outcome))

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

    def _row(self, connection: Connection, id: str) -> StoredBatch:
        row = connection.execute(self._select().where(batches.c.id == id)).first() if ID.fullmatch(id) else None
        if row is None:
            raise BatchNotFound(id)
        return StoredBatch(*row)

    def _select(self) -> Select:
        query = select(*(batches.c[name] for name in StoredBatch.__slots__))
        return query if self._keeper is None else query.where(batches.c.keeper.in_(("", self._keeper)))


def advance(connection: Connection, owner: str, id: str, status: Status, **values: Any) -> StoredBatch:
    """Bring a batch into another status, in a transaction that does more."""
    batch = _renewed(connection, owner, id)
    values |= {"status": status, "moments": _with_moment(batch.moments, status)}
    if status not in UNFINISHED:
        values |= {"owner": None, "lease_until": None}
    connection.execute(update(batches).where(batches.c.id == id).values(**values))
    return _batch(connection, id)


def new_batch(
    id: str,
    kind: str,
    keeper: str,
    endpoint: str,
    metadata: bytes,
    status: Status,
    input_file_id: str | None = None,
    output_lives_s: int | None = None,
) -> StoredBatch:
    """Make a batch that begins now."""
    now = time.time()
    return StoredBatch(
        id=id,
        kind=kind,
        keeper=keeper,
        endpoint=endpoint,
        input_file_id=input_file_id,
        metadata=metadata,
        output_lives_s=output_lives_s,
        created_at=now,
        expires_at=now + LIVES_S,
        status=status,
        moments=_with_moment(b"{}", status),
        errors=None,
        output_file_id=None,
        error_file_id=None,
        cancelled=False,
    )


def _renewed(connection: Connection, owner: str, id: str) -> StoredBatch:
    lease = {"lease_until": time_of(connection) + LEASE_S}
    ours = and_(batches.c.id == id, batches.c.owner == owner)
    if not connection.execute(update(batches).where(ours).values(**lease)).rowcount:
        raise LeaseLost
    return _batch(connection, id)


def _batch(connection: Connection, id: str) -> StoredBatch:
    query = select(*(batches.c[name] for name in StoredBatch.__slots__)).where(batches.c.id == id)
    row: Row = connection.execute(query).one()
    return StoredBatch(*row)


def _with_moment(moments: bytes, name: str) -> bytes:
    known: Mapping[str, float] = msgspec.json.decode(moments)
    return msgspec.json.encode({name: time.time(), **known})  # what comes twice counts from its first time


def _insert_lines(connection: Connection, id: str, lines: Sequence[Line]) -> None:
    rows = [{"batch_id": id, **{field: getattr(line, field) for field in Line.__slots__}} for line in lines]
    if rows:
        connection.execute(insert(batch_lines), rows)


def _remove(connection: Connection, ids: Sequence[str]) -> None:
    connection.execute(delete(batch_lines).where(batch_lines.c.batch_id.in_(ids)))
    connection.execute(delete(batches).where(batches.c.id.in_(ids)))
