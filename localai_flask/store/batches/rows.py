"""A batch and its lines as they are stored, and what both those who ask for batches and those who work on them read."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from sqlalchemy import Connection, Select, func, insert, select, update

from localai_flask.store.tables import batch_lines, batches

LIVES_S = 24 * 3600.0
"""How long a batch may take, in both APIs."""

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelled"]
UNFINISHED: tuple[Status, ...] = ("validating", "in_progress", "finalizing")
Outcome = Literal["waiting", "succeeded", "errored", "canceled", "expired"]


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch without its lines; `moments`, `metadata`, `errors`, `usage` and `counts` are JSON."""

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
    errors: bytes | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    cancelled: bool = False
    size: int = 0
    """What its lines take."""
    usage: bytes | None = None
    counts: bytes | None = None
    """What has become of its lines, once they are deleted."""

    @property
    def is_of_files(self) -> bool:
        """Whether it is read from a file and answered in files, as OpenAI's are: it needs no lines after its end."""
        return self.input_file_id is not None

    @property
    def times(self) -> dict[str, float]:
        """When it came to be in each status."""
        return msgspec.json.decode(self.moments, type=dict[str, float])


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a batch, and what has become of it; the answer is JSON of a status and a body.

    The request is there until it is answered.
    """

    number: int
    custom_id: str
    request: bytes
    outcome: Outcome = "waiting"
    answer: bytes | None = None

    @property
    def size(self) -> int:
        return len(self.custom_id) + len(self.request) + len(self.answer or b"")


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Tokens that answers took."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.cached + other.cached,
            self.output + other.output,
            self.reasoning + other.reasoning,
        )


NO_USAGE = Usage()


def usage_of(batch: StoredBatch) -> Usage:
    """Return what all answers of a batch took."""
    return NO_USAGE if batch.usage is None else msgspec.json.decode(batch.usage, type=Usage)


@dataclass(frozen=True, slots=True)
class Answered:
    """What has become of a line."""

    number: int
    outcome: Outcome
    answer: bytes | None = None
    usage: Usage = NO_USAGE


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
        moments=with_moment(b"{}", status),
    )


def with_moment(moments: bytes, name: str) -> bytes:
    """Note that a batch comes to be in a status now."""
    known: Mapping[str, float] = msgspec.json.decode(moments)
    return msgspec.json.encode({name: time.time(), **known})  # what comes twice counts from its first time


def select_batches() -> Select:
    return select(*(batches.c[name] for name in StoredBatch.__slots__))


def count_outcomes(connection: Connection, batch: StoredBatch) -> dict[Outcome, int]:
    """Return how many lines have come to each outcome."""
    if batch.counts is not None:
        return msgspec.json.decode(batch.counts, type=dict[Outcome, int])
    query = select(batch_lines.c.outcome, func.count()).where(batch_lines.c.batch_id == batch.id)
    return {row[0]: row[1] for row in connection.execute(query.group_by(batch_lines.c.outcome))}


def insert_lines(connection: Connection, id: str, lines: Sequence[Line]) -> None:
    """Add lines to a batch, with what they take."""
    rows = [{"batch_id": id, **{field: getattr(line, field) for field in Line.__slots__}} for line in lines]
    if rows:
        connection.execute(insert(batch_lines), rows)
        size = batches.c.size + sum(line.size for line in lines)
        connection.execute(update(batches).where(batches.c.id == id).values(size=size))
