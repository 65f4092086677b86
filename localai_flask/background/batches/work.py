"""The work on one batch: a thread that reads its lines, has them answered, and writes what was answered into files."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import msgspec
from flask import Flask

from localai_flask.api import current
from localai_flask.api.answer.errors import MISTAKE
from localai_flask.api.batches.lines import write_line
from localai_flask.api.batches.shapes import BatchError
from localai_flask.background.batches.allowance import Allowance
from localai_flask.background.batches.answering import LineWork
from localai_flask.background.batches.reading import Unreadable, read_lines
from localai_flask.errors import ApiError, Unavailable
from localai_flask.store.batches.leases import LeaseLost, advance
from localai_flask.store.batches.rows import Answered, Line, Outcome, Status, StoredBatch
from localai_flask.store.files import PIECE, Draft
from localai_flask.store.opened import Store
from localai_flask.store.room import FilesFull

log = logging.getLogger("gunicorn.error")

TICK_S = 0.05
RENEW_S = 2.0
RETRY_S = 1.0
UNWRITTEN_S = 8.0
"""How long a database may be away before the batch is left; its lease is over by then, or will be soon."""
FULL_S = 30.0
"""How long to wait for room before the answers' files are tried again."""
LAST_WORDS_S = 5.0
"""How long lines that were stopped get to end."""
OUTCOMES_OF_FILES: dict[str, tuple[Outcome, ...]] = {
    "output": ("succeeded",),
    "error": ("errored", "canceled", "expired"),
}


class Leaving(Exception):
    """This process ends, or the batch is not its own any more."""


class BatchWork(threading.Thread):
    """Works on a batch until it has ended, was given up, or the process leaves."""

    def __init__(self, app: Flask, batch: StoredBatch, owner: str, allowance: Allowance):
        super().__init__(name=batch.id, daemon=True)
        self._app = app
        self._batch = batch
        self._owner = owner
        self._allowance = allowance
        self._running: dict[int, LineWork] = {}
        self._ended: queue.SimpleQueue[tuple[Line, Answered | None]] = queue.SimpleQueue()
        self._renewed_at = time.monotonic()
        self._is_room = True
        self._look_for_room_at = 0.0
        self.leaving = threading.Event()

    @property
    def keeper(self) -> str:
        return self._batch.keeper

    def run(self) -> None:
        with self._app.app_context():
            try:
                self._work(current.store())
            except Leaving:
                self._stop_lines()
                self._leave(current.store())
            except LeaseLost:
                self._stop_lines()
            except Unavailable:
                self._stop_lines()
                log.warning("the batch %s is left to whoever finds it when the database is back", self._batch.id)
            except (
                Exception
            ) as error:  # the thread's boundary: a batch that cannot be worked on must not be tried for ever
                self._stop_lines()
                log.exception("working on the batch %s failed", self._batch.id)
                self._give_up(current.store(), error)

    def _work(self, store: Store) -> None:
        if self._batch.status == "validating":
            self._read(store)
        if self._batch.status == "in_progress":
            self._answer(store)
        while self._batch.status == "finalizing":
            self._check()
            try:
                self._write_files(store)
            except FilesFull as error:
                if time.time() >= self._batch.expires_at:
                    raise
                log.warning("the answers of the batch %s wait for room: %s", self._batch.id, error)
                self._wait(store, FULL_S)

    def _read(self, store: Store) -> None:
        longest = current.settings().upload_limit * 2**20
        try:
            read_lines(store, self._owner, self._batch, longest, self._check)
        except Unreadable as error:
            self._advance(store, "failed", errors=error.errors)
        except FilesFull as error:
            self._give_up(store, error)
        else:
            self._advance(store, "in_progress")

    def _answer(self, store: Store) -> None:
        """Have all lines answered, or give up those that are left."""
        after = -1
        told: list[Answered] = []
        while True:
            self._check()
            told += self._take_ended()
            if self._record(store, told):
                told = []
            if (outcome := self._why_no_more()) is not None:
                self._stop_lines()
                store.batch_leases.record(self._owner, self._batch.id, [*told, *self._take_ended()])
                store.batch_leases.close_lines(self._owner, self._batch.id, outcome)
                break
            self._make_way()
            next_line = self._begin_next(store, after)
            after = after if next_line is None else next_line
            if next_line is None and not self._running and self._ended.empty() and not told:
                if not store.batches.lines(self._batch.id, most=1, outcome="waiting"):
                    break
                after = -1  # those that were left behind
            if next_line is None:
                time.sleep(TICK_S)
        self._advance(store, "finalizing")

    def _begin_next(self, store: Store, after: int) -> int | None:
        """Begin the next line if it may be, and its answer has a place; return its number."""
        if not self._has_room(store) or not self._allowance.try_take():
            return None
        try:
            found = store.batches.lines(self._batch.id, after, most=1, outcome="waiting")
        except BaseException:
            self._allowance.give_back()
            raise
        if not found:
            self._allowance.give_back()
            return None
        work = LineWork(self._app, self._batch, found[0], self._note_end)
        work.is_starved = self._allowance.are_others
        self._running[found[0].number] = work
        work.start()
        return found[0].number

    def _has_room(self, store: Store) -> bool:
        """Return whether answers may take more space than they do, as it was when it was last looked at."""
        now = time.monotonic()
        if now >= self._look_for_room_at:
            had_room, self._is_room = self._is_room, store.batch_leases.has_room()
            self._look_for_room_at = now + RENEW_S
            if had_room and not self._is_room:
                log.warning("the batch %s waits: files and batches have no room left", self._batch.id)
        return self._is_room

    def _make_way(self) -> None:
        """Stop what is being answered while others ask: its turn comes again, and its prompt is cached by then."""
        if any(not work.is_starved for work in self._running.values()) and self._allowance.are_others:
            for work in self._running.values():
                if not work.is_starved:
                    work.stop()

    def _note_end(self, line: Line, answered: Answered | None) -> None:
        self._allowance.give_back()
        self._ended.put((line, answered))

    def _take_ended(self) -> list[Answered]:
        answers = []
        while not self._ended.empty():
            line, answered = self._ended.get()
            del self._running[line.number]
            if answered is not None:
                answers.append(answered)
        return answers

    def _record(self, store: Store, told: list[Answered]) -> bool:
        """Write answers, or renew the lease if it is time to; return whether nothing is left to be written."""
        now = time.monotonic()
        if not told and now - self._renewed_at < RENEW_S:
            return True
        try:
            self._batch = store.batch_leases.record(self._owner, self._batch.id, told)
        except Unavailable:
            if now - self._renewed_at > UNWRITTEN_S:
                raise
            time.sleep(RETRY_S)
            return False
        self._renewed_at = now
        return True

    def _why_no_more(self) -> Outcome | None:
        if self._batch.cancelled:
            return "canceled"
        return "expired" if time.time() >= self._batch.expires_at else None

    def _stop_lines(self) -> None:
        for work in self._running.values():
            work.stop()
        deadline = time.monotonic() + LAST_WORDS_S
        for work in self._running.values():
            work.join(max(0.0, deadline - time.monotonic()))

    def _write_files(self, store: Store) -> None:
        """Write the output and error files, which are seen once the batch has ended."""
        batch = self._batch
        counts = store.batches.counts(batch)
        expires_at = None if batch.output_lives_s is None else time.time() + batch.output_lives_s
        with ExitStack() as stack:
            drafts = {}
            for name, outcomes in OUTCOMES_OF_FILES.items():
                if batch.is_of_files and any(counts.get(outcome) for outcome in outcomes):
                    drafting = store.files.kept_by(batch.keeper).drafting(
                        f"{batch.id}_{name}.jsonl", "batch_output", spare=batch.size
                    )
                    drafts[f"{name}_file_id"] = draft = stack.enter_context(drafting)
                    self._write_file(store, draft, outcomes)
            with store.database.writing() as connection:
                written = {column: draft.finish(connection, expires_at).id for column, draft in drafts.items()}
                self._batch = advance(connection, self._owner, batch.id, self._final_status(counts), **written)

    def _write_file(self, store: Store, draft: Draft, outcomes: tuple[Outcome, ...]) -> None:
        """Write answers in transactions of their own, as all of them may take longer than a lease or a transaction."""
        for piece in _in_pieces(_text_of(store, self._batch.id, outcomes)):
            self._check()
            self._record(store, [])
            draft.add(piece)

    def _final_status(self, counts: dict[Outcome, int]) -> Status:
        if self._batch.cancelled:
            return "cancelled"
        return "expired" if counts.get("expired") else "completed"

    def _leave(self, store: Store) -> None:
        """Write what was answered meanwhile, and leave the rest to whoever takes the batch."""
        with suppress(Unavailable, LeaseLost):
            store.batch_leases.record(self._owner, self._batch.id, self._take_ended())
            store.batch_leases.release(self._owner, self._batch.id)

    def _give_up(self, store: Store, error: Exception) -> None:
        said = str(error) if isinstance(error, ApiError) else MISTAKE
        code = error.info.code if isinstance(error, ApiError) else ApiError.code
        with suppress(Unavailable, LeaseLost):
            store.batch_leases.close_lines(self._owner, self._batch.id, "errored")
            self._advance(store, "failed", errors=msgspec.json.encode([BatchError(code, said)]))

    def _wait(self, store: Store, for_s: float) -> None:
        """Keep the batch meanwhile."""
        until = time.monotonic() + for_s
        while time.monotonic() < until:
            self._check()
            self._record(store, [])
            time.sleep(TICK_S)

    def _advance(self, store: Store, status: Status, errors: bytes | None = None) -> None:
        values = {} if errors is None else {"errors": errors}
        self._batch = store.batch_leases.advance(self._owner, self._batch.id, status, **values)

    def _check(self) -> None:
        if self.leaving.is_set():
            raise Leaving


def _text_of(store: Store, id: str, outcomes: tuple[Outcome, ...]) -> Iterator[bytes]:
    after = -1
    while lines := store.batches.lines(id, after):
        for line in lines:
            if line.outcome in outcomes:
                yield write_line(id, line)
        after = lines[-1].number


def _in_pieces(texts: Iterator[bytes]) -> Iterator[bytes]:
    gathered: list[bytes] = []
    size = 0
    for text in texts:
        gathered.append(text)
        size += len(text)
        if size >= PIECE:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)
