"""Stored responses: keep one, give it back, follow its chain, delete it, and forget what is old.

Knows a response as JSON bytes with an id, a status and items; what is in them is the API's matter.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import CTE, Connection, Row, Select, delete, insert, literal, or_, select, update

from localai_flask.errors import InvalidRequest, NotFound
from localai_flask.settings import Settings
from localai_flask.store.database import Database
from localai_flask.store.kept import ANSWERED, ENDED, ID, Kept, by, size_of
from localai_flask.store.responses.conversations import end_turn
from localai_flask.store.tables import events, items, responses, streams

ASKED_AT_ONCE = 500
TOUCHED_AT_ONCE = 100
KIND = "response"
IS_RESPONSE = responses.c.kind == KIND
TOUCH_S = 1.0
"""A response that was used less than this ago counts as used now, so that it need not be written again."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A response: its JSON without the output, and the items that are the output."""

    id: str
    status: str
    background: bool
    body: bytes
    output: list[Kept]


class ResponseNotFound(NotFound):
    """No response has this id, or it has expired."""

    def __init__(self, id: str, param: str = "response_id"):
        super().__init__(f"There is no response {id}; it was not stored, has expired or was deleted.", param=param)


class Responses:
    """The responses of a database; those that have ended and were not used for `ttl_s` seconds are gone (0: none)."""

    def __init__(self, database: Database, settings: Settings, keeper: str | None = None):
        self._database = database
        self._settings = settings
        self._keeper = keeper
        self._ttl_s = settings.open_responses_store_ttl

    def kept_by(self, keeper: str | None) -> Responses:
        """Return the responses that this keeper may have: its own, and those that nobody keeps; None may have all."""
        return Responses(self._database, self._settings, keeper)

    def put(
        self, stored: Stored, inputs: Sequence[Kept], previous_id: str | None, conversation_id: str | None = None
    ) -> None:
        """Keep a response that has ended; if it is one of a conversation, which it holds, that gets its turn."""
        with self._database.writing() as connection:
            add(connection, stored, inputs, previous_id, keeper=self._keeper or "", conversation_id=conversation_id)
            write_output(connection, stored.id, stored.output)
            if conversation_id is not None and stored.status in ANSWERED:
                end_turn(connection, conversation_id, stored.id, [*inputs, *stored.output])

    def get(self, id: str, param: str = "response_id") -> Stored:
        """Return a response; raise `ResponseNotFound` if there is none."""
        with self._database.reading() as connection:
            row = self._row(connection, id, param)
            output = items_of(connection, id, is_output=True)
        return Stored(id, row.status, row.background, row.body, output)

    def exists(self, id: str) -> bool:
        if not ID.fullmatch(id):
            return False
        with self._database.reading() as connection:
            return connection.execute(self._alive(select(responses.c.id), id)).first() is not None

    def inputs(self, id: str) -> list[Kept]:
        """Return the items that a response was made from, in their order."""
        with self._database.reading() as connection:
            self._row(connection, id, "response_id")
            return items_of(connection, id, is_output=False)

    def chain(self, id: str) -> list[bytes]:
        """Return all items, in and out, of a response and of all those before it, oldest first; they count as used.

        Raises `ResponseNotFound` for one that is not there any more, and `InvalidRequest` for one that still runs.
        """
        if not ID.fullmatch(id):
            raise ResponseNotFound(id, "previous_response_id")
        links = _links(id)
        with self._database.reading() as connection:
            chained = connection.execute(select(links).order_by(links.c.depth)).all()
            self._check_chain(id, chained)
            query = select(items.c.body).join(links, links.c.id == items.c.response_id)
            ordered = query.order_by(links.c.depth.desc(), items.c.is_output, items.c.position)
            bodies = list(connection.execute(ordered).scalars())
        self._touch([row.id for row in chained if row.used_at < time.time() - TOUCH_S])
        return bodies

    def _touch(self, ids: Sequence[str]) -> None:
        """Note that responses were used, but for those that another client has in hand, who notes it too.

        Waiting for one another, clients of one chain would end in a deadlock.
        """
        for few in by(TOUCHED_AT_ONCE, ids):
            with self._database.writing() as connection:
                free = select(responses.c.id).where(responses.c.id.in_(few)).with_for_update(skip_locked=True)
                found = connection.execute(free).scalars().all()
                connection.execute(update(responses).where(responses.c.id.in_(found)).values(used_at=time.time()))

    def _check_chain(self, id: str, chained: Sequence[Row]) -> None:
        next_id: str | None = id
        for row in chained:
            if row.status not in ENDED:
                raise InvalidRequest(
                    f"The response {row.id} has not ended yet; wait for it, or cancel it.",
                    param="previous_response_id",
                )
            if self._ttl_s and row.used_at < time.time() - self._ttl_s:
                break
            if self._keeper is not None and row.keeper not in ("", self._keeper):
                break
            next_id = row.previous_id
        if next_id is not None:
            raise ResponseNotFound(next_id, "previous_response_id")

    def find_items(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the newest items with these ids, those that there are."""
        query = (
            select(items.c.id, items.c.body)
            .join(responses, responses.c.id == items.c.response_id)
            .order_by(responses.c.created_at, items.c.is_output)
        )
        found: dict[str, bytes] = {}
        with self._database.reading() as connection:
            # PostgreSQL refuses NUL, in an id that cannot be there.
            for few in by(ASKED_AT_ONCE, [id for id in ids if "\0" not in id]):
                rows = connection.execute(self._visible(query.where(items.c.id.in_(few))))
                found |= {row.id: row.body for row in rows}
        return found

    def delete(self, id: str) -> None:
        """Delete a response; a process that runs it notices, and stops. Raises `ResponseNotFound`."""
        with self._database.writing() as connection:
            self._row(connection, id, "response_id")
            remove(connection, [id])

    def _row(self, connection: Connection, id: str, param: str) -> Row:
        row = connection.execute(self._alive(select(responses), id)).first() if ID.fullmatch(id) else None
        if row is None:
            raise ResponseNotFound(id, param)
        return row

    def _alive(self, query: Select, id: str) -> Select:
        return self._visible(query.where(responses.c.id == id))

    def _visible(self, query: Select) -> Select:
        query = query.where(IS_RESPONSE)
        if self._keeper is not None:
            query = query.where(responses.c.keeper.in_(("", self._keeper)))
        if not self._ttl_s:
            return query
        return query.where(or_(responses.c.used_at >= time.time() - self._ttl_s, responses.c.status.not_in(ENDED)))


def add(
    connection: Connection,
    stored: Stored,
    inputs: Sequence[Kept],
    previous_id: str | None,
    request: bytes | None = None,
    **more: object,
) -> None:
    """Insert a response and the items it is made from; `request` and `more` are further columns."""
    now = time.time()
    size = len(stored.body) + size_of(inputs) + size_of(stored.output) + len(request or b"")
    fixed = {"created_at": now, "used_at": now, "previous_id": previous_id, "size": size, "request": request, **more}
    row = {"id": stored.id, "status": stored.status, "background": stored.background, "body": stored.body}
    connection.execute(insert(responses).values(**row, **fixed))
    _insert_items(connection, stored.id, inputs, is_output=False)


def write_output(connection: Connection, id: str, output: Sequence[Kept]) -> None:
    """Insert the items of a response's output."""
    _insert_items(connection, id, output, is_output=True)


def remove(connection: Connection, ids: Sequence[str]) -> None:
    """Delete responses with all that belongs to them."""
    connection.execute(delete(responses).where(responses.c.id.in_(ids)))  # first: it waits for who writes to them now
    connection.execute(delete(events).where(events.c.response_id.in_(ids)))
    connection.execute(delete(items).where(items.c.response_id.in_(ids)))
    connection.execute(delete(streams).where(streams.c.run_id.in_(ids)))


def _links(id: str) -> CTE:
    """Select a response and all those before it, the newest at depth 0."""
    columns = (
        responses.c.id,
        responses.c.previous_id,
        responses.c.status,
        responses.c.used_at,
        responses.c.keeper,
    )
    first = select(*columns, literal(0).label("depth")).where(responses.c.id == id, IS_RESPONSE)
    newest = first.cte("links", recursive=True)
    before = select(*columns, newest.c.depth + 1).join(newest, responses.c.id == newest.c.previous_id)
    return newest.union_all(before)


def items_of(connection: Connection, id: str, is_output: bool) -> list[Kept]:
    """Return the items that a response was made from, or those of its output, in their order."""
    query = select(items.c.id, items.c.body).where(items.c.response_id == id, items.c.is_output == is_output)
    return [Kept(row.id, row.body) for row in connection.execute(query.order_by(items.c.position))]


def _insert_items(connection: Connection, id: str, kept: Sequence[Kept], is_output: bool) -> None:
    rows = [
        {"response_id": id, "is_output": is_output, "position": position, "id": each.id, "body": each.body}
        for position, each in enumerate(kept)
    ]
    if rows:
        connection.execute(insert(items), rows)
