"""Forgets responses and conversations: those that have expired, and the longest unused while all are too large."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sqlalchemy import Connection, Select, func, literal, select, union_all

from localai_flask.settings import Settings
from localai_flask.store.conversations import is_free, remove_conversations
from localai_flask.store.database import Database
from localai_flask.store.kept import ENDED, by
from localai_flask.store.responses import remove
from localai_flask.store.tables import conversations, responses

DELETED_AT_ONCE = 100
REMOVERS: dict[str, Callable[[Connection, Sequence[str]], None]] = {
    "response": remove,
    "conversation": remove_conversations,
}


def forget_old(database: Database, settings: Settings) -> int:
    """Delete what has expired or is too much, but nothing that is being made; return how many were deleted."""
    most_bytes = settings.open_responses_store_size * 2**20
    with database.reading() as connection:
        old = _old(connection, settings.open_responses_store_ttl, most_bytes)
    for kind, remove_those in REMOVERS.items():
        for few in by(DELETED_AT_ONCE, [id for its_kind, id in old if its_kind == kind]):
            with database.writing() as connection:
                remove_those(connection, few)
    return len(old)


def _old(connection: Connection, ttl_s: float, most_bytes: int) -> list[tuple[str, str]]:
    """Return the kinds and ids of what is to be deleted; of no limit if that is 0."""
    total = sum(
        connection.execute(select(func.coalesce(func.sum(table.c.size), 0))).scalar_one()
        for table in (responses, conversations)
    )
    if not ttl_s and not (most_bytes and total > most_bytes):
        return []
    expired_before = time.time() - ttl_s if ttl_s else 0.0
    old = []
    for kind, id, used_at, size in connection.execute(_ended()):
        if used_at >= expired_before and not (most_bytes and total > most_bytes):
            break
        old.append((kind, id))
        total -= size
    return old


def _ended() -> Select:
    """Select what may be deleted, the longest unused first."""
    parts = [
        (responses, "response", responses.c.status.in_(ENDED)),
        (conversations, "conversation", is_free(time.time())),
    ]
    every = union_all(
        *(
            select(literal(kind).label("kind"), table.c.id, table.c.used_at, table.c.size).where(ended)
            for table, kind, ended in parts
        )
    ).subquery()
    return select(every.c.kind, every.c.id, every.c.used_at, every.c.size).order_by(every.c.used_at)
