"""Background runs in SQL: queued by one process, claimed under a lease by another, followed from anywhere.

Who runs a response renews its lease with all it writes. A lease that has run out may be claimed by anybody; what the
former owner still writes is then ignored, and it is told.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from localai_flask.errors import Overloaded, TooManyRequests
from localai_flask.store.database import Database, time_of
from localai_flask.store.kept import ANSWERED, ENDED, Kept, size_of
from localai_flask.store.responses.conversations import ConversationHeld, ConversationNotFound, end_turn, release
from localai_flask.store.responses.responses import KIND, Stored, add, items_of, write_output
from localai_flask.store.tables import events, responses

LEASE_S = 5.0
ELSEWHERE_S = 2.0
"""How long a queued run is left to the server that took the request."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    sequence: int
    type: str
    data: bytes
    is_last: bool


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that is ours now; `begun` if a client may have seen part of its output, from an owner that is gone."""

    id: str
    request: bytes
    body: bytes
    previous_id: str | None
    next_sequence: int
    attempts: int
    begun: bool
    cancelled: bool
    keeper: str
    kind: str


@dataclass(slots=True)
class Batch:
    """What is new of one run; `ended` is the whole response once it has."""

    events: list[StoredEvent] = field(default_factory=list)
    begun: bool = False
    ended: Stored | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What an owner hears of its runs: those that are no longer its own, and those that a client has cancelled."""

    lost: frozenset[str]
    cancelled: frozenset[str]


class Runs:
    """The background runs of a database."""

    def __init__(self, database: Database):
        self._database = database

    def queue(
        self,
        stored: Stored,
        inputs: Sequence[Kept],
        previous_id: str | None,
        request: bytes,
        home: str,
        first: Sequence[StoredEvent],
        keeper: str = "",
        most: int = 0,
        conversation_id: str | None = None,
    ) -> None:
        """Keep a response that is to be made, and its first events.

        Raises what `check_room` does.
        """
        with self._database.writing() as connection:
            check_room(connection, home, most, keeper)
            more = {"home": home, "next_sequence": len(first), "keeper": keeper, "conversation_id": conversation_id}
            add(connection, stored, inputs, previous_id, request, **more)
            _insert_events(connection, stored.id, first)

    def claim(self, home: str, owner: str, only_cancelled: bool = False, resting: Sequence[str] = ()) -> Claimed | None:
        """Take over one run that nobody works on, but no response that keepers who are `resting` wait for."""
        with self._database.writing() as connection:
            now = time_of(connection)
            waits = and_(
                responses.c.status == "queued",
                or_(responses.c.home == home, responses.c.created_at < now - ELSEWHERE_S),
            )
            orphaned = and_(responses.c.status == "in_progress", responses.c.lease_until < now)
            query = select(responses).where(responses.c.background, or_(waits, orphaned))
            if only_cancelled:
                query = query.where(responses.c.cancelled)
            if resting:
                others = or_(responses.c.kind != KIND, responses.c.keeper.not_in(resting))
                query = query.where(or_(responses.c.cancelled, others))
            row = connection.execute(
                query.order_by(responses.c.created_at).limit(1).with_for_update(skip_locked=True)
            ).first()
            if row is None:
                return None
            taken = {"status": "in_progress", "owner": owner, "lease_until": now + LEASE_S}
            connection.execute(
                update(responses).where(responses.c.id == row.id).values(**taken, attempts=row.attempts + 1)
            )
        return Claimed(
            row.id,
            row.request,
            row.body,
            row.previous_id,
            row.next_sequence,
            row.attempts + 1,
            row.begun,
            row.cancelled,
            row.keeper,
            row.kind,
        )

    def write(self, owner: str, batches: Mapping[str, Batch]) -> Told:
        """Write what is new of this owner's runs and renew their leases, in one transaction."""
        lost = set()
        with self._database.writing() as connection:
            lease = time_of(connection) + LEASE_S
            for id, batch in batches.items():
                if not _write(connection, owner, id, batch, lease):
                    lost.add(id)
            query = select(responses.c.id).where(responses.c.id.in_(batches), responses.c.cancelled)
            cancelled = frozenset(connection.execute(query).scalars())
        return Told(frozenset(lost), cancelled)

    def release(self, owner: str, ids: Sequence[str]) -> None:
        """Return runs to the queue of which no client has seen output."""
        with self._database.writing() as connection:
            ours = and_(responses.c.id.in_(ids), responses.c.owner == owner, responses.c.begun.is_(False))
            connection.execute(
                update(responses)
                .where(ours, responses.c.status == "in_progress")
                .values(status="queued", owner=None, lease_until=None)
            )

    def abandon(self, home: str, but: str) -> None:
        """End the leases of this server's owners before `but`, which has come in their place."""
        with self._database.writing() as connection:
            theirs = and_(responses.c.owner.startswith(f"{home}/", autoescape=True), responses.c.owner != but)
            connection.execute(
                update(responses).where(theirs, responses.c.status == "in_progress").values(lease_until=0.0)
            )

    def cancel(self, id: str) -> None:
        """Ask whoever runs it to stop; one that has ended stays as it is."""
        with self._database.writing() as connection:
            connection.execute(
                update(responses).where(responses.c.id == id, responses.c.status.not_in(ENDED)).values(cancelled=True)
            )

    def events_after(self, id: str, sequence: int, most: int = 500) -> list[StoredEvent]:
        """Return the next events of a run."""
        query = (
            select(events.c.sequence, events.c.type, events.c.data, events.c.is_last)
            .where(events.c.response_id == id, events.c.sequence > sequence)
            .order_by(events.c.sequence)
            .limit(most)
        )
        with self._database.reading() as connection:
            return [StoredEvent(*row) for row in connection.execute(query)]

    def exists(self, id: str) -> bool:
        """Return whether a run was not deleted."""
        with self._database.reading() as connection:
            return connection.execute(select(responses.c.id).where(responses.c.id == id)).first() is not None

    def last_event(self, id: str) -> StoredEvent | None:
        """Return the newest event of a run; None if it has none."""
        query = select(events.c.sequence, events.c.type, events.c.data, events.c.is_last)
        newest = query.where(events.c.response_id == id).order_by(events.c.sequence.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(newest).first()
        return None if row is None else StoredEvent(*row)


def _write(connection: Connection, owner: str, id: str, batch: Batch, lease: float) -> bool:
    """Write one run's news; False if it is not this owner's any more."""
    values: dict[str, object] = {"lease_until": lease}
    added = 0
    if batch.begun:
        values["begun"] = True
    if batch.events:
        values["next_sequence"] = batch.events[-1].sequence + 1
        added += sum(len(event.data) for event in batch.events)
    if batch.ended is not None:
        values |= {"status": batch.ended.status, "body": batch.ended.body, "owner": None, "used_at": time.time()}
        added += size_of(batch.ended.output)
    if added:
        values["size"] = responses.c.size + added
    ours = and_(responses.c.id == id, responses.c.owner == owner, responses.c.status == "in_progress")
    if connection.execute(update(responses).where(ours).values(**values)).rowcount == 0:
        return False
    _insert_events(connection, id, batch.events)
    if batch.ended is not None:
        write_output(connection, id, batch.ended.output)
        _leave_conversation(connection, id, batch.ended)
    return True


def _leave_conversation(connection: Connection, id: str, ended: Stored) -> None:
    """Release the conversation of a run, if it is one's, with the turn that it has made."""
    conversation_id = connection.execute(select(responses.c.conversation_id).where(responses.c.id == id)).scalar_one()
    if conversation_id is None:
        return
    if ended.status not in ANSWERED:
        release(connection, conversation_id, id)
        return
    with suppress(ConversationNotFound, ConversationHeld):  # its rows were changed by hand: the response stays
        end_turn(connection, conversation_id, id, [*items_of(connection, id, is_output=False), *ended.output])


def check_room(connection: Connection, home: str, most: int, keeper: str) -> None:
    """Raise `Overloaded` if `most` runs of a server, if that is not 0, have not ended yet.

    Raises `TooManyRequests` if half of as many are those of one key's keeper, so that there is room for others' too.
    """
    if not most:
        return
    if _count_unfinished(connection, home) >= most:
        raise Overloaded(
            f"{most} background responses and kept streams of this server have not ended yet, as many as may; try "
            "again later or raise LOCALAI_QUEUE_SIZE."
        )
    share = max(1, most // 2)
    if keeper and _count_unfinished(connection, home, keeper) >= share:
        raise TooManyRequests(
            f"{share} background responses and kept streams of this key have not ended yet, as many as one key may "
            "have, which is half of LOCALAI_QUEUE_SIZE; wait for one of them to end.",
            retry_after=1.0,
        )


def _count_unfinished(connection: Connection, home: str, keeper: str | None = None) -> int:
    unfinished = and_(responses.c.background, responses.c.status.in_(("queued", "in_progress")))
    query = select(func.count()).select_from(responses).where(unfinished, responses.c.home == home)
    if keeper is not None:
        query = query.where(responses.c.keeper == keeper)
    return int(connection.execute(query).scalar_one())


def _insert_events(connection: Connection, id: str, told: Sequence[StoredEvent]) -> None:
    rows = [
        {"response_id": id, "sequence": each.sequence, "type": each.type, "data": each.data, "is_last": each.is_last}
        for each in told
    ]
    if rows:
        connection.execute(insert(events), rows)
