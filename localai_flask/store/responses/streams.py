"""Streams of chat completions that can be read again, under the ids of conversations that their clients choose.

A stream is a run whose events are the bytes that its client gets. Each key has conversations of its own, and each of
these has one stream: another one takes its place.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Row, Select, func, insert, or_, select

from localai_flask.settings import Settings
from localai_flask.store.database import Database
from localai_flask.store.kept import ENDED
from localai_flask.store.responses.responses import Stored, add, remove
from localai_flask.store.responses.runs import check_room
from localai_flask.store.tables import events, responses, streams

KIND = "chat"
DATA = "data"
"""The type of the events that are bytes of the stream."""


@dataclass(frozen=True, slots=True)
class StoredStream:
    """A stream, and how many bytes it has so far; `ended_at` is None while it is made."""

    conversation_id: str
    run_id: str
    started_at: float
    ended_at: float | None
    size: int


class Streams:
    """The streams of one keeper; those that have ended `stream_ttl` seconds ago are gone."""

    def __init__(self, database: Database, settings: Settings, keeper: str = ""):
        self._database = database
        self._settings = settings
        self._keeper = keeper

    def kept_by(self, keeper: str) -> Streams:
        return Streams(self._database, self._settings, keeper)

    def begin(self, conversation_id: str, run_id: str, request: bytes, home: str, most: int = 0) -> None:
        """Queue a run that makes a conversation's stream; the one before is deleted, and whoever works on it stops.

        Raises what `check_room` does.
        """
        stored = Stored(run_id, "queued", True, b"", [])
        with self._database.writing() as connection:
            self._lock(connection, conversation_id)
            self._remove(connection, conversation_id)
            check_room(connection, home, most, self._keeper)
            add(connection, stored, [], None, request, home=home, keeper=self._keeper, kind=KIND)
            row = {"keeper": self._keeper, "conversation_id": conversation_id, "run_id": run_id}
            connection.execute(insert(streams).values(**row))

    def find(self, conversation_id: str) -> StoredStream | None:
        """Return a conversation's stream, if it has one."""
        with self._database.reading() as connection:
            row = connection.execute(self._alive().where(streams.c.conversation_id == conversation_id)).first()
        return None if row is None else _stream(row)

    def list(self) -> list[StoredStream]:
        """Return all streams, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(self._alive().order_by(responses.c.created_at)).all()
        return [_stream(row) for row in rows]

    def delete(self, conversation_id: str) -> None:
        """Delete a conversation's stream, if it has one; whoever works on it stops."""
        with self._database.writing() as connection:
            self._remove(connection, conversation_id)

    def delete_run(self, run_id: str) -> None:
        """Delete a stream, unless another one has taken its place already."""
        with self._database.writing() as connection:
            remove(connection, [run_id])

    def _lock(self, connection: Connection, conversation_id: str) -> None:
        """Have two that begin a stream of one conversation come one after the other; on SQLite all writers do."""
        if connection.dialect.name == "postgresql":
            named = hashlib.sha256(f"{self._keeper} {conversation_id}".encode()).digest()
            number = int.from_bytes(named[:8], signed=True)
            connection.execute(select(func.pg_advisory_xact_lock(number)))

    def _remove(self, connection: Connection, conversation_id: str) -> None:
        found = select(streams.c.run_id).where(self._is_mine(), streams.c.conversation_id == conversation_id)
        remove(connection, connection.execute(found).scalars().all())

    def _is_mine(self) -> ColumnElement[bool]:
        return streams.c.keeper == self._keeper

    def _alive(self) -> Select:
        size = select(func.coalesce(func.sum(func.length(events.c.data)), 0))
        size = size.where(events.c.response_id == streams.c.run_id, events.c.type == DATA)
        columns = (streams.c.conversation_id, streams.c.run_id, responses.c.created_at, responses.c.used_at)
        return (
            select(*columns, responses.c.status, size.scalar_subquery().label("size"))
            .join(responses, responses.c.id == streams.c.run_id)
            .where(self._is_mine())
            .where(or_(responses.c.status.not_in(ENDED), responses.c.used_at >= ended_before(self._settings)))
        )


def ended_before(settings: Settings) -> float:
    """Return when a stream must have ended that is to be forgotten now."""
    return time.time() - settings.stream_ttl


def _stream(row: Row) -> StoredStream:
    ended_at = row.used_at if row.status in ENDED else None
    return StoredStream(row.conversation_id, row.run_id, row.created_at, ended_at, row.size)
