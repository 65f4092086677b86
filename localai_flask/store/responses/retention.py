"""Forgets responses, streams and conversations that have expired, and the longest unused while all are too large."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    and_,
    delete,
    func,
    literal,
    select,
    union_all,
)

from localai_flask.settings import Settings
from localai_flask.store.database import Database, time_of
from localai_flask.store.kept import ENDED, by
from localai_flask.store.responses.conversations import is_free, remove_conversations
from localai_flask.store.responses.responses import remove
from localai_flask.store.responses.streams import KIND, ended_before
from localai_flask.store.tables import conversations, responses

DELETED_AT_ONCE = 100


@dataclass(frozen=True)
class Kind:
    """What is forgotten: which rows of a table may be, at a moment, and what removes all that belongs to them."""

    table: Table
    may_go: Callable[[float], ColumnElement[bool]]
    remove: Callable[[Connection, Sequence[str]], None]


KINDS = {
    "response": Kind(responses, lambda now: responses.c.status.in_(ENDED), remove),
    "conversation": Kind(conversations, is_free, remove_conversations),
}


def forget_old(database: Database, settings: Settings) -> Iterator[int]:
    """Delete what has expired or is too much, but nothing that is being made; yield how many each step deleted."""
    most_bytes = settings.open_responses_store_size * 2**20
    with database.reading() as connection:
        old = [*_old_streams(connection, settings)]
        old += _old(connection, settings.open_responses_store_ttl, most_bytes)
    for name, kind in KINDS.items():
        for few in by(DELETED_AT_ONCE, [row for row in old if row.kind == name]):
            with database.writing() as connection:
                count = _delete(connection, kind, few)
            yield count


def _delete(connection: Connection, kind: Kind, rows: Sequence[Row]) -> int:
    """Delete those of the rows that may still go and were not used since; return how many."""
    table, used_at = kind.table, max(row.used_at for row in rows)
    is_old = and_(table.c.id.in_([row.id for row in rows]), table.c.used_at <= used_at)
    old = delete(table).where(is_old, kind.may_go(time_of(connection))).returning(table.c.id)
    ids = connection.execute(old).scalars().all()
    kind.remove(connection, ids)
    return len(ids)


def _old_streams(connection: Connection, settings: Settings) -> Sequence[Row]:
    """Return the streams that have ended too long ago; like responses they may have to go before, too."""
    table, may_go = responses, KINDS["response"].may_go(time_of(connection))
    is_old = and_(table.c.kind == KIND, may_go, table.c.used_at < ended_before(settings))
    columns = literal("response").label("kind"), table.c.id, table.c.used_at, table.c.size
    return connection.execute(select(*columns).where(is_old)).all()


def _old(connection: Connection, ttl_s: float, most_bytes: int) -> list[Row]:
    """Return what is to be deleted; of no limit if that is 0."""
    total = sum(
        connection.execute(select(func.coalesce(func.sum(table.c.size), 0))).scalar_one()
        for table in (responses, conversations)
    )
    if not ttl_s and not (most_bytes and total > most_bytes):
        return []
    expired_before = time.time() - ttl_s if ttl_s else 0.0
    old = []
    for row in connection.execute(_ended(time_of(connection))):
        if row.used_at >= expired_before and not (most_bytes and total > most_bytes):
            break
        old.append(row)
        total -= row.size
    return old


def _ended(now: float) -> Select:
    """Select what may be deleted, the longest unused first."""
    every = union_all(
        *(
            select(literal(name).label("kind"), kind.table.c.id, kind.table.c.used_at, kind.table.c.size).where(
                kind.may_go(now)
            )
            for name, kind in KINDS.items()
        )
    ).subquery()
    return select(every.c.kind, every.c.id, every.c.used_at, every.c.size).order_by(every.c.used_at)
