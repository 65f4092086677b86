"""Batches in SQL: each answer is written once whoever holds the batch, and what they take is bounded."""

from __future__ import annotations

import json
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from msgspec import Raw
from sqlalchemy import select

from localai_flask.api.batches.lines import LineAnswer, encode_answer, write_line
from localai_flask.background.batches import work as batch_work
from localai_flask.background.batches.allowance import MOST_AT_ONCE, Allowance
from localai_flask.background.batches.batches import MOST_AT_ONCE as MOST_BATCHES
from localai_flask.background.batches.batches import BatchesAtWork
from localai_flask.background.batches.work import BatchWork
from localai_flask.errors import Unavailable
from localai_flask.pool import runtime
from localai_flask.settings import Settings
from localai_flask.store import database
from localai_flask.store.batches import batches as batches_module
from localai_flask.store.batches import leases
from localai_flask.store.batches.batches import KEPT_S, BatchNotFound, forget_old
from localai_flask.store.batches.leases import LeaseLost
from localai_flask.store.batches.rows import Answered, Line, Outcome, Usage, new_batch, usage_of
from localai_flask.store.files import FileNotFound
from localai_flask.store.opened import Store
from localai_flask.store.room import FilesFull
from localai_flask.store.tables import batches, file_pieces, files
from tests.support.stores import open_store

CHAT = "/v1/chat/completions"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with open_store(url, files_size=1) as store:
        yield store


def begin(store: Store, id: str = "b", keeper: str = "", input_file_id: str | None = "file-1") -> None:
    """Begin a batch of three lines that take 9 bytes each."""
    lines = [Line(number, f"id-{number}", b"{...}") for number in range(3)]
    batch = new_batch(id, "openai", keeper, CHAT, b"{}", status="in_progress", input_file_id=input_file_id)
    store.batches.create(batch, lines)


def counts(store: Store) -> dict[Outcome, int]:
    return store.batches.counts(store.batches.get("b"))


def test_an_answer_is_written_once(store: Store) -> None:
    begin(store)
    assert store.batch_leases.claim("here/1") is not None and store.batch_leases.claim("here/2") is None
    store.batch_leases.record("here/1", "b", [Answered(0, "succeeded", b"first")])
    store.batch_leases.record("here/1", "b", [Answered(0, "errored", b"second")])
    assert [line.answer for line in store.batches.lines("b")] == [b"first", None, None]
    assert counts(store) == {"succeeded": 1, "waiting": 2}


def test_who_has_lost_the_lease_writes_nothing(store: Store) -> None:
    begin(store)
    store.batch_leases.claim("here/1")
    with store.database.writing() as connection:
        connection.execute(batches.update().values(lease_until=time.time() - 1))
    assert store.batch_leases.claim("there/2") is not None
    with pytest.raises(LeaseLost):
        store.batch_leases.record("here/1", "b", [Answered(0, "succeeded", b"late")])
    store.batch_leases.release("here/1", "b")
    assert store.batch_leases.claim("third/3") is None
    store.batch_leases.abandon("there", but="there/9")
    assert store.batch_leases.claim("there/9/a") is not None
    store.batch_leases.abandon("there", but="there/9")
    assert store.batch_leases.claim("there/9/b") is None, "its own are not abandoned"
    assert counts(store) == {"waiting": 3}


def test_lines_that_are_read_again_stay_as_they_are(store: Store) -> None:
    begin(store)
    store.batch_leases.claim("here/1")
    store.batch_leases.record("here/1", "b", [Answered(1, "succeeded", b"done")])
    store.batch_leases.add_lines("here/1", "b", [Line(number, "again", b"{}") for number in range(1, 5)])
    found = store.batches.lines("b")
    assert [(line.custom_id, line.outcome) for line in found[:2]] == [("id-0", "waiting"), ("id-1", "succeeded")]
    assert len(found) == 5


def test_batches_and_files_are_their_keepers(store: Store) -> None:
    begin(store, keeper="me")
    file = store.files.kept_by("me").put("a", "batch", [b"x"])
    with pytest.raises(BatchNotFound):
        store.batches.kept_by("other").get("b")
    with pytest.raises(FileNotFound):
        store.files.kept_by("other").read(file.id)
    assert not store.files.kept_by("other").list() and not store.batches.kept_by("other").list("openai")
    assert store.batches.kept_by("me").get("b").keeper == "me"


def test_lines_take_room_until_they_are_answered_or_given_up(store: Store) -> None:
    begin(store)
    assert store.batches.get("b").size == 27
    store.batch_leases.claim("here/1")
    store.batch_leases.record("here/1", "b", [Answered(0, "succeeded", b"answer")])
    store.batch_leases.record("here/1", "b", [Answered(0, "succeeded", b"a longer answer")])
    assert store.batches.get("b").size == 28, "the request has gone, the answer has come"
    assert [line.request for line in store.batches.lines("b")] == [b"", b"{...}", b"{...}"]
    store.batch_leases.add_lines("here/1", "b", [Line(2, "again", b"{}"), Line(3, "id-3", b"{.}")])
    assert store.batches.get("b").size == 28 + 7
    for _ in range(2):  # the second time none waits any more
        store.batch_leases.close_lines("here/1", "b", "expired")
    assert store.batches.get("b").size == len("answer") + 4 * len("id-0")
    assert all(not line.request for line in store.batches.lines("b"))


def test_batches_count_to_the_room_of_files(store: Store) -> None:
    begin(store)
    store.batch_leases.claim("here/1")
    store.batch_leases.add_lines("here/1", "b", [Line(3, "x", b"x" * 900_000)])
    assert store.batch_leases.has_room()
    for keep in (
        lambda: store.files.put("f", "user_data", [b"x" * 200_000]),
        lambda: store.batch_leases.add_lines("here/1", "b", [Line(4, "y", b"y" * 200_000)]),
        lambda: store.batches.create(
            new_batch("c", "x", "", CHAT, b"{}", "in_progress"), [Line(0, "", b"z" * 200_000)]
        ),
    ):
        with pytest.raises(FilesFull, match="delete some"):
            keep()
    store.batch_leases.record("here/1", "b", [Answered(3, "succeeded", b"x" * 2**20)])
    assert not store.batch_leases.has_room(), "an answer that has come is kept, and no other begins"


@pytest.mark.parametrize("input_file_id", ["file-1", None])
def test_lines_go_at_the_end_where_the_answers_lie_in_files(store: Store, input_file_id: str | None) -> None:
    begin(store, input_file_id=input_file_id)
    store.batch_leases.claim("here/1")
    store.batch_leases.record("here/1", "b", [Answered(1, "succeeded", b"yes")])
    store.batch_leases.advance("here/1", "b", "failed")
    steps = len(list(forget_old(store.database)))
    if input_file_id is None:
        assert steps == 0 and len(store.batches.lines("b")) == 3 and store.batches.get("b").size > 0
    else:
        assert steps > 0 and not store.batches.lines("b") and store.batches.get("b").size == 0
    assert counts(store) == {"succeeded": 1, "waiting": 2}
    assert not list(forget_old(store.database))


def test_old_batches_are_deleted_in_steps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "DELETED_AT_ONCE", 2)
    begin(store)
    store.batch_leases.claim("here/1")
    store.batch_leases.advance("here/1", "b", "completed")
    with store.database.writing() as connection:
        connection.execute(batches.update().values(created_at=time.time() - KEPT_S - 1))
    left = [len(store.batches.lines("b")) for _ in forget_old(store.database)]
    assert left == [1, 0, 0, 0]
    with pytest.raises(BatchNotFound):
        store.batches.get("b")


def test_a_batch_whose_deletion_was_interrupted_is_gone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(store, input_file_id=None)
    store.batch_leases.claim("here/1")
    with monkeypatch.context() as patch:
        patch.setattr(batches_module, "_delete_batch", lambda *_: [])
        store.batches.delete("b")
    with pytest.raises(BatchNotFound):
        store.batches.get("b")
    with pytest.raises(LeaseLost):
        store.batch_leases.record("here/1", "b", [])
    assert store.batch_leases.claim("here/2") is None
    assert list(forget_old(store.database)) and not store.batches.lines("b")


def test_the_usage_of_answers_is_summed_once(store: Store) -> None:
    begin(store)
    store.batch_leases.claim("here/1")
    for numbers in ((0, 1), (1, 2)):
        answered = [Answered(n, "succeeded", b"", Usage(10, 4, n, 1)) for n in numbers]
        batch = store.batch_leases.record("here/1", "b", answered)
    batch = store.batch_leases.record(
        "here/1", "b", [Answered(n, "succeeded", b"", Usage(10, 4, n, 1)) for n in (1, 2)]
    )
    assert usage_of(batch) == usage_of(store.batches.get("b")) == Usage(30, 12, 3, 3)


@pytest.fixture
def work(store: Store) -> BatchWork:
    """The work on a batch of one answered line, that is about to be written."""
    app = Flask("test")
    app.extensions["store"] = lambda: store
    batch = new_batch("b", "openai", "", CHAT, b"{}", status="finalizing", input_file_id="file-1")
    store.batches.create(batch, [Line(0, "a", b"{}", "succeeded", encode_answer(LineAnswer(200)))])
    claimed = store.batch_leases.claim("here/1")
    assert claimed is not None
    return BatchWork(app, claimed, "here/1", Allowance(lambda: 0.0))


def test_a_database_that_is_away_takes_no_room_of_lines(store: Store, work: BatchWork) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise Unavailable("away")

    leases = types.SimpleNamespace(has_room=lambda: True)
    away = types.SimpleNamespace(batches=types.SimpleNamespace(lines=fail), batch_leases=leases)
    for _ in range(MOST_AT_ONCE + 1):
        with pytest.raises(Unavailable):
            work._begin_next(away, -1)  # type: ignore[arg-type]
    assert work._allowance.try_take()


def test_answers_wait_for_room(store: Store, work: BatchWork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_work, "FULL_S", 0.05)
    large = store.files.put("large", "user_data", [b"x" * (2**20 - store.batches.get("b").size)])
    work.start()
    time.sleep(0.3)
    assert work.is_alive() and store.batches.get("b").status == "finalizing"
    store.files.delete(large.id)
    work.join(20)
    ended = store.batches.get("b")
    assert ended.status == "completed" and ended.output_file_id is not None
    assert json.loads(b"".join(store.files.read(ended.output_file_id)))["custom_id"] == "a"


def test_what_takes_longer_than_a_transaction_may_is_written(
    store: Store, work: BatchWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "ANSWER_S", 1.0)
    monkeypatch.setattr(leases, "LEASE_S", 1.0)
    monkeypatch.setattr(batch_work, "RENEW_S", 0.2)
    monkeypatch.setattr(batch_work, "PIECE", 1)
    monkeypatch.setattr(batch_work, "write_line", lambda id, line: time.sleep(0.3) or write_line(id, line))
    answer = encode_answer(LineAnswer(200))
    store.batch_leases.add_lines("here/1", "b", [Line(number, "a", b"", "succeeded", answer) for number in range(1, 8)])
    work.start()
    claims = []
    while work.is_alive():
        claims.append(store.batch_leases.claim("other"))
        assert not store.files.list() or store.batches.get("b").status == "completed", "seen before it is whole"
        time.sleep(0.1)
    ended = store.batches.get("b")
    assert ended.status == "completed" and ended.output_file_id is not None and not any(claims)
    assert len(b"".join(store.files.read(ended.output_file_id)).splitlines()) == 8
    assert counts(store) == {"succeeded": 8}


def test_a_batch_that_is_left_while_it_is_written_leaves_nothing(
    store: Store, work: BatchWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_work, "write_line", lambda *_: work.leaving.set() or b"x")
    work.start()
    work.join(20)
    assert store.batches.get("b").status == "finalizing" and store.batch_leases.claim("there/2") is not None
    with store.database.reading() as connection:
        assert (
            not connection.execute(select(files.c.id)).all() + connection.execute(select(file_pieces.c.position)).all()
        )


def test_a_batch_that_cannot_be_worked_on_leaves_no_line_open(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(store, input_file_id=None)
    claimed = store.batch_leases.claim("here/1")
    assert claimed is not None
    app = Flask("test")
    app.extensions["store"] = lambda: store
    work = BatchWork(app, claimed, "here/1", Allowance(lambda: 0.0))
    monkeypatch.setattr(work, "_answer", lambda _: 1 / 0)
    work.start()
    work.join(20)
    assert store.batches.get("b").status == "failed" and counts(store) == {"errored": 3}
    assert not any(line.request for line in store.batches.lines("b"))


def test_a_file_of_too_many_lines_for_the_room_fails_the_batch(store: Store) -> None:
    app = Flask("test")
    app.extensions |= {"store": lambda: store, "settings": Settings(files_size=1)}
    line = json.dumps({"custom_id": "a", "body": {"x": "y" * 600_000}}).encode()
    uploaded = store.files.put("in", "batch", [line])
    store.batches.create(new_batch("b", "openai", "", CHAT, b"{}", "validating", input_file_id=uploaded.id))
    claimed = store.batch_leases.claim("here/1")
    assert claimed is not None
    work = BatchWork(app, claimed, "here/1", Allowance(lambda: 0.0))
    work.start()
    work.join(20)
    failed = store.batches.get("b")
    assert failed.status == "failed" and b"files_full" in (failed.errors or b"")


def test_answers_are_written_into_the_room_that_they_have(store: Store, work: BatchWork) -> None:
    answer = encode_answer(LineAnswer(200, body=Raw(b'"' + b"x" * 800_000 + b'"')))
    store.batch_leases.add_lines("here/1", "b", [Line(1, "b", b"", "succeeded", answer)])
    work._batch = store.batches.get("b")
    work.start()
    work.join(20)
    assert store.batches.get("b").status == "completed" and store.files.list()[0].size > 800_000


def test_no_line_begins_without_room(store: Store, work: BatchWork) -> None:
    store.batch_leases.add_lines("here/1", "b", [Line(1, "b", b"{}")])
    store.files.put("large", "user_data", [b"x" * (2**20 - store.batches.get("b").size)])
    assert work._begin_next(store, -1) is None and not work._running


def test_one_keys_batches_leave_room_for_anothers(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(runtime.ENV, str(tmp_path))
    stopped = threading.Event()
    monkeypatch.setattr(BatchWork, "run", lambda work: stopped.wait())
    for number in range(9):
        begin(store, f"a{number}", keeper="a")
    begin(store, "b", keeper="b")
    at_work = BatchesAtWork(Flask(__name__), store, "here", "here/1", lambda: 0)
    at_work.tick(1.0)
    taken = [work.keeper for work in at_work._running]
    stopped.set()
    for work in at_work._running:
        work.join()
    assert taken == ["a"] * (MOST_BATCHES // 2) + ["b"]
