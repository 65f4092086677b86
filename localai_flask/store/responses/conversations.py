"""Conversations: an ordered list of items under an id, to which each response that is made on it adds its turn.

One turn is made at a time: whoever makes it holds the conversation. A hold is a lease, which its process renews, or,
for a background run, lasts until the run has ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, exists, insert, or_, select, update

from localai_flask.errors import ApiError, Conflict, NotFound
from localai_flask.settings import Settings
from localai_flask.store.database import Database, time_of
from localai_flask.store.kept import ENDED, ID, Kept, size_of
from localai_flask.store.tables import conversation_items, conversations, responses

HOLD_S = 15.0
"""How long a conversation stays held after its holder was last heard of."""
RENEWAL_S = 5.0
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """A conversation without its items; `metadata` is JSON."""

    id: str
    created_at: float
    metadata: bytes


class ConversationNotFound(NotFound):
    """No conversation has this id, or it has expired."""

    def __init__(self, id: str, param: str = "conversation_id"):
        super().__init__(f"There is no conversation {id}; it has expired or was deleted.", param=param)


class ConversationHeld(Conflict):
    """A response is being made on the conversation."""

    code = "conversation_locked"

    def __init__(self, id: str):
        said = f"A response is being made on the conversation {id}; ask again when it has ended."
        super().__init__(said, param="conversation", retry_after=RETRY_S)


class Conversations:
    """The conversations of a database; those that were not used for the store's `ttl` are gone."""

    def __init__(
        self, database: Database, settings: Settings, keeper: str | None = None, renewals: Renewals | None = None
    ):
        self._database = database
        self._settings = settings
        self._keeper = keeper
        self._renewals = renewals or Renewals(database)

    def kept_by(self, keeper: str | None) -> Conversations:
        """Return the conversations that this keeper may have, as of responses."""
        return Conversations(self._database, self._settings, keeper, self._renewals)

    def create(self, id: str, metadata: bytes, items: Sequence[Kept]) -> StoredConversation:
        now = time.time()
        row = {"id": id, "created_at": now, "used_at": now, "keeper": self._keeper or "", "metadata": metadata}
        with self._database.writing() as connection:
            connection.execute(insert(conversations).values(**row, size=len(metadata)))
            _append(connection, id, items, position=0)
        return StoredConversation(id, now, metadata)

    def get(self, id: str, param: str = "conversation_id") -> StoredConversation:
        """Return a conversation; raise `ConversationNotFound` if there is none."""
        with self._database.reading() as connection:
            return _stored(self._row(connection, id, param))

    def items(self, id: str, param: str = "conversation_id") -> list[Kept]:
        """Return all items of a conversation in their order."""
        query = select(conversation_items.c.id, conversation_items.c.body)
        query = query.where(conversation_items.c.conversation_id == id).order_by(conversation_items.c.position)
        with self._database.reading() as connection:
            self._row(connection, id, param)
            return [Kept(row.id, row.body) for row in connection.execute(query)]

    def set_metadata(self, id: str, metadata: bytes) -> StoredConversation:
        with self._database.writing() as connection:
            row = self._row(connection, id, lock=True)
            size = row.size - len(row.metadata) + len(metadata)
            change(connection, id, metadata=metadata, size=size)
            return StoredConversation(id, row.created_at, metadata)

    def add(self, id: str, items: Sequence[Kept]) -> None:
        """Put items at the end; raise `ConversationHeld` while a response is being made."""
        with self._database.writing() as connection:
            row = self._free_row(connection, id)
            _append(connection, id, items, row.next_position)

    def delete_item(self, id: str, item_id: str) -> StoredConversation:
        """Delete an item; raise `NotFound` if the conversation has none of this id."""
        with self._database.writing() as connection:
            row = self._free_row(connection, id)
            ours = and_(conversation_items.c.conversation_id == id, conversation_items.c.id == item_id)
            sizes = [len(body) for body in connection.execute(select(conversation_items.c.body).where(ours)).scalars()]
            if not sizes:
                raise NotFound(f"There is no item {item_id} in the conversation {id}.", param="item_id")
            connection.execute(delete(conversation_items).where(ours))
            change(connection, id, size=row.size - sum(sizes))
            return _stored(row)

    def delete(self, id: str) -> None:
        with self._database.writing() as connection:
            self._free_row(connection, id)
            remove_conversations(connection, [id])

    def hold(self, id: str, holder: str) -> None:
        """Take a conversation for a response of this id; raise `ConversationHeld` if another is being made."""
        with self._database.writing() as connection:
            self._free_row(connection, id, "conversation")
            change(connection, id, holder=holder, held_until=time_of(connection) + HOLD_S)
        self._renewals.add(id, holder)

    def leave(self, id: str, holder: str) -> None:
        """Renew a hold no longer: it has ended, or is a stored background run's and lasts until that has ended."""
        self._renewals.remove(id, holder)

    def release(self, id: str, holder: str) -> None:
        """Release a conversation, if it is still this holder's."""
        self._renewals.remove(id, holder)
        with self._database.writing() as connection:
            release(connection, id, holder)

    def end_turn(self, id: str, holder: str, turn: Sequence[Kept]) -> None:
        """Put a turn at the end and give the conversation free; raise `ConversationHeld` if it is another's by now."""
        with self._database.writing() as connection:
            end_turn(connection, id, holder, turn)

    def _free_row(self, connection: Connection, id: str, param: str = "conversation_id") -> Row:
        row = self._row(connection, id, param, lock=True)
        free = select(conversations.c.id).where(conversations.c.id == id, is_free(time_of(connection)))
        if connection.execute(free).first() is None:
            raise ConversationHeld(id)
        return row

    def _row(self, connection: Connection, id: str, param: str = "conversation_id", lock: bool = False) -> Row:
        query = self._visible(select(conversations).where(conversations.c.id == id))
        row = connection.execute(query.with_for_update() if lock else query).first() if ID.fullmatch(id) else None
        if row is None:
            raise ConversationNotFound(id, param)
        return row

    def _visible(self, query: Select) -> Select:
        if self._keeper is not None:
            query = query.where(conversations.c.keeper.in_(("", self._keeper)))
        if ttl_s := self._settings.open_responses_store_ttl:
            query = query.where(
                or_(conversations.c.used_at >= time.time() - ttl_s, conversations.c.holder.is_not(None))
            )
        return query


class Renewals:
    """Renews the holds of this process in a thread, which starts with the first of them."""

    def __init__(self, database: Database):
        self._database = database
        self._held: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, id: str, holder: str) -> None:
        with self._lock:
            self._held.add((id, holder))
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew, name="conversation-holds", daemon=True)
                self._thread.start()

    def remove(self, id: str, holder: str) -> None:
        with self._lock:
            self._held.discard((id, holder))

    def _renew(self) -> None:
        while True:
            time.sleep(RENEWAL_S)
            with self._lock:
                holders = [holder for _, holder in self._held]
            try:
                self._write(holders)
            except ApiError:
                continue  # the store has logged it; a hold that runs out meanwhile is noticed at the turn's end

    def _write(self, holders: Sequence[str]) -> None:
        if holders:
            with self._database.writing() as connection:
                ours = conversations.c.holder.in_(holders)
                values = {"held_until": time_of(connection) + HOLD_S}
                connection.execute(update(conversations).where(ours).values(**values))


def is_free(now: float) -> ColumnElement[bool]:
    """Return the condition of a conversation on which no response is being made, by the clock of leases."""
    runs = exists().where(responses.c.id == conversations.c.holder, responses.c.status.not_in(ENDED))
    return or_(conversations.c.holder.is_(None), and_(conversations.c.held_until < now, ~runs))


def release(connection: Connection, id: str, holder: str) -> None:
    """Release a conversation, if it is still this holder's."""
    held = and_(conversations.c.id == id, conversations.c.holder == holder)
    connection.execute(update(conversations).where(held).values(holder=None, held_until=None))


def end_turn(connection: Connection, id: str, holder: str, turn: Sequence[Kept]) -> None:
    """Put a turn at a conversation's end and give it free, in a transaction that does more."""
    query = select(conversations.c.holder, conversations.c.next_position).where(conversations.c.id == id)
    row = connection.execute(query.with_for_update()).first()
    if row is None:
        raise ConversationNotFound(id, "conversation")
    if row.holder != holder:
        raise ConversationHeld(id)
    _append(connection, id, turn, row.next_position)
    change(connection, id, holder=None, held_until=None)


def remove_conversations(connection: Connection, ids: Sequence[str]) -> None:
    """Delete conversations with their items."""
    connection.execute(delete(conversations).where(conversations.c.id.in_(ids)))  # first, as responses are
    connection.execute(delete(conversation_items).where(conversation_items.c.conversation_id.in_(ids)))


def change(connection: Connection, id: str, **values: Any) -> None:
    """Write columns of a conversation, which counts as used."""
    connection.execute(update(conversations).where(conversations.c.id == id).values(used_at=time.time(), **values))


def _append(connection: Connection, id: str, items: Iterable[Kept], position: int) -> None:
    items = list(items)
    rows = [
        {"conversation_id": id, "position": position + index, "id": each.id, "body": each.body}
        for index, each in enumerate(items)
    ]
    if rows:
        connection.execute(insert(conversation_items), rows)
        size = conversations.c.size + size_of(items)
        change(connection, id, next_position=position + len(rows), size=size)


def _stored(row: Row) -> StoredConversation:
    return StoredConversation(row.id, row.created_at, row.metadata)
