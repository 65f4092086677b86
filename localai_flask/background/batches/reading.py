"""Reads a batch's file into lines, a few at a time, so that what reads it stays the owner of the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from localai_flask.api.batches.lines import read_line, split_lines
from localai_flask.api.batches.shapes import BatchError
from localai_flask.errors import NotFound
from localai_flask.store.batches.rows import Line, StoredBatch
from localai_flask.store.opened import Store

MOST_LINES = 50_000
"""As OpenAI documents it."""
LINES_AT_ONCE, BYTES_AT_ONCE = 500, 2**22
BOM = b"\xef\xbb\xbf"


class Unreadable(Exception):
    """The file as a whole is no batch; holds the reason as the batch shows it."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.errors = msgspec.json.encode([BatchError(code, message)])


def read_lines(store: Store, owner: str, batch: StoredBatch, longest: int, check: Callable[[], None]) -> None:
    """Keep all lines of a batch's file; raise `Unreadable`, `LeaseLost`, or what `check` raises between two pieces."""
    count = 0
    for some in _in_groups(_lines(store, batch, longest)):
        check()
        count += len(some)
        if count > MOST_LINES:
            raise Unreadable("too_many_requests", f"The file has more than {MOST_LINES:,} requests; send several.")
        store.batch_leases.add_lines(owner, batch.id, some)
    if not count:
        raise Unreadable("empty_file", "The file has no request; send one JSON object on each line.")


def _lines(store: Store, batch: StoredBatch, longest: int) -> Iterator[Line]:
    assert batch.input_file_id is not None, "a batch that is read has a file"
    known: set[str] = set()
    try:
        pieces = store.files.kept_by(batch.keeper).read(batch.input_file_id)
        for number, text in enumerate(split_lines(pieces, longest)):
            if text := text.removeprefix(BOM).strip():
                yield read_line(text, number, batch.endpoint, known, longest)
    except NotFound as error:
        raise Unreadable("file_not_found", str(error)) from error


def _in_groups(lines: Iterator[Line]) -> Iterator[list[Line]]:
    group: list[Line] = []
    size = 0
    for line in lines:
        group.append(line)
        size += len(line.request)
        if len(group) >= LINES_AT_ONCE or size >= BYTES_AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group
