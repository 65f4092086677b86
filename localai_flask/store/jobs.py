"""Jobs that fill models folders, in SQL: queued by one process, worked on under a lease by another, seen from anywhere.

A job belongs to a models folder. Whoever works on one renews its lease with all it tells; a lease that has run out may
be claimed by any process with that folder. What the former owner still tells is then ignored, and it hears of it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, and_, delete, insert, or_, select, update

from localai_flask.errors import Overloaded
from localai_flask.store.database import Database, time_of
from localai_flask.store.tables import jobs

LEASE_S = 10.0
MOST_UNFINISHED = 200
"""Jobs of one folder that may wait or run."""
MOST_KEPT, KEPT_S = 500, 7 * 86400.0
"""How many jobs that have ended are kept for each folder, and for how long."""
RETRY_S = 60.0
SUBMISSION = 0x10CA1A2
"""The number of the lock under which jobs are added; any will do that nobody else takes."""

Status = Literal["queued", "running", "completed", "failed", "cancelled"]
UNFINISHED: tuple[Status, ...] = ("queued", "running")


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job as it is stored."""

    id: str
    name: str
    request: bytes
    status: Status
    created_at: float
    changed_at: float
    claims: int
    failures: int
    cancelled: bool
    progress: bytes
    error: str | None
    result: bytes | None


class Jobs:
    """The jobs of one models folder in a database."""

    def __init__(self, database: Database, folder: str):
        self._database = database
        self._folder = folder

    def submit(self, name: str, likeness: str, request: bytes, progress: bytes = b"") -> str:
        """Queue a job and return its id, or that of one alike that has not ended.

        Raises `Overloaded` if as many have not ended as may.
        """
        with self._database.writing() as connection:
            if connection.dialect.name == "postgresql":  # else two servers could add two that are alike
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({SUBMISSION})")
            unfinished = select(jobs.c.id, jobs.c.likeness).where(self._ours, jobs.c.status.in_(UNFINISHED))
            rows = connection.execute(unfinished.where(jobs.c.cancelled.is_(False))).all()
            for row in rows:
                if row.likeness == likeness:
                    return str(row.id)
            if len(rows) >= MOST_UNFINISHED:
                said = f"{MOST_UNFINISHED} jobs have not ended yet, as many as may; try again later."
                raise Overloaded(said, retry_after=RETRY_S)
            return self._add(connection, name, likeness, request, progress, status="queued")

    def record(self, name: str, request: bytes, progress: bytes, result: bytes, error: str | None = None) -> str:
        """Keep what was done at once as a job that has ended, and return its id."""
        status: Status = "completed" if error is None else "failed"
        with self._database.writing() as connection:
            more = {"status": status, "result": result, "error": error}
            return self._add(connection, name, "", request, progress, **more)

    def get(self, id: str) -> StoredJob | None:
        """Return a job; None if there is none of this id, or it is another folder's."""
        with self._database.reading() as connection:
            row = connection.execute(self._select().where(jobs.c.id == id)).first()
        return None if row is None else _job(row)

    def list(self, unfinished_only: bool = False) -> Sequence[StoredJob]:
        """Return the jobs of this folder, the newest first."""
        query = self._select().order_by(jobs.c.created_at.desc(), jobs.c.id).limit(MOST_KEPT + MOST_UNFINISHED)
        if unfinished_only:
            query = query.where(jobs.c.status.in_(UNFINISHED))
        with self._database.reading() as connection:
            return [_job(row) for row in connection.execute(query)]

    def cancel(self, id: str) -> bool:
        """Ask for a job to be given up; return whether it had not ended. One that nobody works on ends at once."""
        with self._database.writing() as connection:
            ours = and_(self._ours, jobs.c.id == id)
            waits = and_(ours, jobs.c.status == "queued")
            ended = {"status": "cancelled", "cancelled": True, "changed_at": time.time()}
            if connection.execute(update(jobs).where(waits).values(**ended)).rowcount:
                return True
            runs = and_(ours, jobs.c.status == "running")
            return bool(connection.execute(update(jobs).where(runs).values(cancelled=True)).rowcount)

    def claim(self, owner: str) -> StoredJob | None:
        """Take over the oldest job that nobody works on and that may begin."""
        with self._database.writing() as connection:
            now = time_of(connection)
            waits = and_(jobs.c.status == "queued", jobs.c.not_before <= now)
            orphaned = and_(jobs.c.status == "running", jobs.c.lease_until < now)
            query = select(jobs).where(self._ours, or_(waits, orphaned)).order_by(jobs.c.created_at).limit(1)
            row = connection.execute(query.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            taken = {"status": "running", "owner": owner, "lease_until": now + LEASE_S, "claims": row.claims + 1}
            connection.execute(update(jobs).where(jobs.c.id == row.id).values(**taken))
            return _job(connection.execute(self._select().where(jobs.c.id == row.id)).one())

    def record_progress(self, owner: str, id: str, progress: bytes) -> Literal["go on", "cancelled", "lost"]:
        """Write how far a job is, and renew its lease; return what has become of it meanwhile."""
        with self._database.writing() as connection:
            values = {"progress": progress, "changed_at": time.time(), "lease_until": time_of(connection) + LEASE_S}
            if not connection.execute(update(jobs).where(self._owned(owner, id)).values(**values)).rowcount:
                return "lost"
            cancelled = connection.execute(select(jobs.c.cancelled).where(jobs.c.id == id)).scalar_one()
        return "cancelled" if cancelled else "go on"

    def end(self, owner: str, id: str, status: Status, *, error: str | None = None, result: bytes = b"") -> None:
        """Write how a job has ended; nothing if it is not this owner's any more."""
        values = {"status": status, "error": error, "result": result, "owner": None, "changed_at": time.time()}
        with self._database.writing() as connection:
            connection.execute(update(jobs).where(self._owned(owner, id)).values(**values))

    def postpone(self, owner: str, id: str, pause_s: float, error: str) -> None:
        """Return a job to the queue that has failed, to be tried again after a pause."""
        with self._database.writing() as connection:
            values: dict[str, Any] = {"status": "queued", "owner": None, "error": error, "changed_at": time.time()}
            values |= {"not_before": time_of(connection) + pause_s, "failures": jobs.c.failures + 1}
            connection.execute(update(jobs).where(self._owned(owner, id)).values(**values))

    def release(self, owner: str, id: str) -> None:
        """Return a job to the queue whose process has to leave."""
        with self._database.writing() as connection:
            values = {"status": "queued", "owner": None, "lease_until": None, "claims": jobs.c.claims - 1}
            connection.execute(update(jobs).where(self._owned(owner, id)).values(**values))

    def abandon(self, home: str, but: str) -> None:
        """End the leases of this server's owners before `but`, which has come in their place."""
        with self._database.writing() as connection:
            theirs = and_(jobs.c.owner.startswith(f"{home}/", autoescape=True), jobs.c.owner != but)
            connection.execute(update(jobs).where(self._ours, theirs).values(lease_until=0.0))

    def forget_old(self) -> None:
        """Delete jobs that ended long ago, and those beyond the number that is kept."""
        ended = and_(self._ours, jobs.c.status.not_in(UNFINISHED))
        with self._database.writing() as connection:
            connection.execute(delete(jobs).where(ended, jobs.c.changed_at < time.time() - KEPT_S))
            surplus = select(jobs.c.id).where(ended).order_by(jobs.c.changed_at.desc()).offset(MOST_KEPT).limit(1000)
            ids: Sequence[str] = connection.execute(surplus).scalars().all()
            connection.execute(delete(jobs).where(jobs.c.id.in_(ids)))

    @property
    def _ours(self) -> Any:
        return jobs.c.folder == self._folder

    def _owned(self, owner: str, id: str) -> Any:
        return and_(self._ours, jobs.c.id == id, jobs.c.owner == owner, jobs.c.status == "running")

    def _select(self) -> Select:
        return select(*(jobs.c[name] for name in StoredJob.__slots__)).where(self._ours)

    def _add(
        self, connection: Connection, name: str, likeness: str, request: bytes, progress: bytes, **more: object
    ) -> str:
        now = time.time()
        row = {"id": str(uuid.uuid4()), "folder": self._folder, "likeness": likeness, "name": name[:255]}
        row |= {"request": request, "progress": progress, "created_at": now, "changed_at": now}  # type: ignore[dict-item]
        connection.execute(insert(jobs).values(**row, **more))
        return row["id"]


def _job(row: Row) -> StoredJob:
    return StoredJob(*row)
