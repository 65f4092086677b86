"""Lines of batches: read from any pieces, refused with a reason, and written once whoever holds the batch."""

from __future__ import annotations

import json
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from localai_flask.api.batches.lines import (
    LineAnswer,
    decode_answer,
    encode_answer,
    read_line,
    split_lines,
    write_line,
)
from localai_flask.background.batches import work as batch_work
from localai_flask.background.batches.allowance import LOOK_S, MOST_AT_ONCE, STARVED_S, Allowance
from localai_flask.background.batches.work import BatchWork
from localai_flask.errors import Unavailable
from localai_flask.settings import Settings
from localai_flask.store import files as file_store
from localai_flask.store.batches import Answered, BatchNotFound, LeaseLost, Line, new_batch
from localai_flask.store.files import FileNotFound, FilesFull
from localai_flask.store.opened import Store
from localai_flask.store.tables import batches, metadata
from tests.support import postgres

CHAT = "/v1/chat/completions"
LONGEST = 1000


@given(st.lists(st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"")), max_size=20), st.integers(1, 40))
def test_lines_do_not_depend_on_the_pieces(lines: list[bytes], piece: int) -> None:
    text = b"\n".join(lines)
    pieces = [text[at : at + piece] for at in range(0, len(text), piece)]
    whole = text.split(b"\n") if text else []
    assert list(split_lines(pieces, 1000)) == (whole[:-1] if text.endswith(b"\n") else whole)


@pytest.mark.parametrize("piece", [3, 7, 100])
def test_a_line_that_is_too_long_is_cut_once(piece: int) -> None:
    text = b"ab\n" + b"x" * 50 + b"\ncd"
    pieces = [text[at : at + piece] for at in range(0, len(text), piece)]
    assert list(split_lines(pieces, 10)) == [b"ab", b"x" * 11, b"cd"]


def read(request: Any, known: set[str] | None = None) -> Line:
    text = request if isinstance(request, bytes) else json.dumps(request).encode()
    return read_line(text, 4, CHAT, set() if known is None else known, LONGEST)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (b"nonsense", "not valid JSON"),
        ([], "must be a JSON object"),
        ({"body": {}}, "`custom_id`"),
        ({"custom_id": "", "body": {}}, "`custom_id`"),
        ({"custom_id": "x" * 513, "body": {}}, "`custom_id`"),
        ({"custom_id": "taken", "body": {}}, "stands in a line before"),
        ({"custom_id": "a", "method": "GET", "body": {}}, "`method`"),
        ({"custom_id": "a", "url": "/v1/embeddings", "body": {}}, "`url`"),
        ({"custom_id": "a"}, "`body`"),
        ({"custom_id": "a", "body": {"stream": True}}, "`body.stream`"),
        ({"custom_id": "a", "body": {"background": True}}, "`body.background`"),
        ({"custom_id": "a", "body": {"x": "y" * LONGEST}}, "longer than"),
    ],
)
def test_what_is_no_request_is_answered_with_the_reason(request_: Any, said: str) -> None:
    line = read(request_, {"taken"})
    assert line.outcome == "errored" and line.answer is not None
    error = decode_answer(line.answer).error
    assert error is not None and said in error.message and "line 5" in error.message
    assert json.loads(write_line("batch_1", line))["response"] is None


def test_a_request_keeps_its_body() -> None:
    line = read({"custom_id": "a", "method": "POST", "url": CHAT, "body": {"model": "m", "stream": False}})
    assert (line.custom_id, json.loads(line.request)) == ("a", {"model": "m", "stream": False})


def test_lines_make_way_for_others_but_never_starve() -> None:
    others, now = [0.0], [0.0]
    allowance = Allowance(lambda: others[0], lambda: now[0])

    def take_all() -> int:
        now[0] += LOOK_S
        count = 0
        while allowance.try_take():
            count += 1
        return count

    assert take_all() == MOST_AT_ONCE and not allowance.are_others
    others[0] = 1.0
    for _ in range(MOST_AT_ONCE):
        allowance.give_back()
    assert take_all() == 0 and allowance.are_others
    now[0] += STARVED_S
    assert take_all() == 1 and take_all() == 0
    allowance.give_back()
    assert take_all() == 0
    others[0] = 0.0
    assert take_all() == MOST_AT_ONCE


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.running() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    is_file = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/responses.db" if is_file else str(request.getfixturevalue("server"))
    store = Store.open(Settings(database_url=url, files_size=1))
    yield store
    with store.database.writing() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    store.database.close()


def begin(store: Store, id: str = "b", keeper: str = "") -> None:
    lines = [Line(number, f"id-{number}", b"{}") for number in range(3)]
    store.batches.create(new_batch(id, "openai", keeper, CHAT, b"{}", status="in_progress"), lines)


def test_an_answer_is_written_once(store: Store) -> None:
    begin(store)
    assert store.batches.claim("here/1") is not None and store.batches.claim("here/2") is None
    store.batches.record("here/1", "b", [Answered(0, "succeeded", b"first")])
    store.batches.record("here/1", "b", [Answered(0, "errored", b"second")])
    assert [line.answer for line in store.batches.lines("b")] == [b"first", None, None]
    assert store.batches.counts("b") == {"succeeded": 1, "waiting": 2}


def test_who_has_lost_the_lease_writes_nothing(store: Store) -> None:
    begin(store)
    store.batches.claim("here/1")
    with store.database.writing() as connection:
        connection.execute(batches.update().values(lease_until=time.time() - 1))
    assert store.batches.claim("there/2") is not None
    with pytest.raises(LeaseLost):
        store.batches.record("here/1", "b", [Answered(0, "succeeded", b"late")])
    store.batches.release("here/1", "b")
    assert store.batches.claim("third/3") is None
    store.batches.abandon("there", but="there/9")
    assert store.batches.claim("there/9/a") is not None
    store.batches.abandon("there", but="there/9")
    assert store.batches.claim("there/9/b") is None, "its own are not abandoned"
    assert store.batches.counts("b") == {"waiting": 3}


def test_lines_that_are_read_again_stay_as_they_are(store: Store) -> None:
    begin(store)
    store.batches.claim("here/1")
    store.batches.record("here/1", "b", [Answered(1, "succeeded", b"done")])
    store.batches.add_lines("here/1", "b", [Line(number, "again", b"{}") for number in range(1, 5)])
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


def test_a_file_beyond_the_room_is_not_kept_at_all(store: Store) -> None:
    store.files.put("a", "batch", [b"x" * 600_000])
    with pytest.raises(FilesFull, match="LOCALAI_FILES_SIZE"):
        store.files.put("b", "batch", [b"x" * 300_000] * 2)
    assert [file.name for file in store.files.list()] == ["a"]
    store.files.put("c", "batch", [b"x" * 400_000])


def test_a_file_whose_time_is_over_is_gone(store: Store) -> None:
    old = store.files.put("old", "batch", [b"x"], expires_at=time.time() - 1)
    with pytest.raises(FileNotFound):
        store.files.get(old.id)
    assert store.files.list() == []


def test_of_many_files_the_newest_are_listed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "LONGEST_LIST", 2)
    for name in "abc":
        store.files.put(name, "batch", [b"x"])
    assert [file.name for file in store.files.list()] == ["b", "c"]


def test_a_file_that_is_deleted_meanwhile_does_not_end_early(store: Store) -> None:
    file = store.files.put("a", "batch", [b"one", b"two"])
    pieces = store.files.read(file.id)
    assert next(pieces) == b"one"
    store.files.delete(file.id)
    with pytest.raises(FileNotFound):
        next(pieces)


@pytest.fixture
def work(store: Store) -> BatchWork:
    """The work on a batch of one answered line, that is about to be written."""
    app = Flask("test")
    app.extensions["store"] = lambda: store
    batch = new_batch("b", "openai", "", CHAT, b"{}", status="finalizing")
    store.batches.create(batch, [Line(0, "a", b"{}", "succeeded", encode_answer(LineAnswer(200)))])
    claimed = store.batches.claim("here/1")
    assert claimed is not None
    return BatchWork(app, claimed, "here/1", Allowance(lambda: 0.0))


def test_a_database_that_is_away_takes_no_room_of_lines(store: Store, work: BatchWork) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise Unavailable("away")

    away = types.SimpleNamespace(batches=types.SimpleNamespace(lines=fail))
    for _ in range(MOST_AT_ONCE + 1):
        with pytest.raises(Unavailable):
            work._begin_next(away, -1)  # type: ignore[arg-type]
    assert work._allowance.try_take()


def test_answers_wait_for_room(store: Store, work: BatchWork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_work, "FULL_S", 0.05)
    large = store.files.put("large", "user_data", [b"x" * 2**20])
    work.start()
    time.sleep(0.3)
    assert work.is_alive() and store.batches.get("b").status == "finalizing"
    store.files.delete(large.id)
    work.join(20)
    ended = store.batches.get("b")
    assert ended.status == "completed" and ended.output_file_id is not None
    assert json.loads(b"".join(store.files.read(ended.output_file_id)))["custom_id"] == "a"
