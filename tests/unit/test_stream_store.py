"""Chat streams on SQLite and on PostgreSQL: one for each conversation of a keeper, and how long it stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from localai_flask.errors import TooManyRequests
from localai_flask.settings import Settings
from localai_flask.store.opened import Store
from localai_flask.store.responses.responses import ResponseNotFound, Stored
from localai_flask.store.responses.retention import forget_old
from localai_flask.store.responses.runs import Batch, StoredEvent
from localai_flask.store.responses.streams import DATA
from localai_flask.store.tables import events, metadata, responses, streams
from tests.support import postgres


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.running() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    is_file = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/responses.db" if is_file else str(request.getfixturevalue("server"))
    store = Store.open(Settings(database_url=url))
    yield store
    with store.database.writing() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    store.database.close()


def begin(store: Store, conversation: str, run: str, keeper: str = "me", most: int = 0) -> None:
    store.streams.kept_by(keeper).begin(conversation, run, b"{}", "here", most)


def write(store: Store, run: str, *pieces: bytes, ended: bool = False) -> frozenset[str]:
    told = [StoredEvent(0, "head", b"{}", False)]
    told += [StoredEvent(number, DATA, piece, False) for number, piece in enumerate(pieces, start=1)]
    return store.runs.write(
        "here/1", {run: Batch(told, True, Stored(run, "completed", True, b"", []) if ended else None)}
    ).lost


def test_its_bytes_are_counted_and_its_end_is_known(store: Store) -> None:
    begin(store, "c", "run")
    claimed = store.runs.claim("here", "here/1")
    assert claimed is not None and (claimed.kind, claimed.keeper, claimed.request) == ("chat", "me", b"{}")
    mine = store.streams.kept_by("me")
    found = mine.find("c")
    assert found is not None and (found.size, found.ended_at, found.run_id) == (0, None, "run")
    assert not write(store, "run", b"one\0", "ü".encode(), ended=True)
    found = mine.find("c")
    assert found is not None and found.size == 6 and found.ended_at is not None
    assert found.ended_at >= found.started_at
    assert mine.list() == [found] and store.streams.kept_by("others").list() == []
    with pytest.raises(ResponseNotFound):
        store.responses.get("run")
    with pytest.raises(ResponseNotFound):
        store.responses.chain("run")


def test_another_one_takes_its_place(store: Store) -> None:
    begin(store, "c", "first")
    begin(store, "c", "theirs", keeper="others")
    assert store.runs.claim("here", "here/1") is not None
    begin(store, "c", "second")
    assert write(store, "first", b"late") == {"first"}, "whoever works on it is told"
    for keeper, run in (("me", "second"), ("others", "theirs")):
        found = store.streams.kept_by(keeper).find("c")
        assert found is not None and found.run_id == run
    store.streams.kept_by("me").delete("c")
    assert store.streams.kept_by("me").find("c") is None and store.streams.kept_by("others").find("c") is not None


def test_many_begin_at_once(store: Store) -> None:
    failed: list[BaseException] = []

    def begin_one(number: int) -> None:
        try:
            begin(store, "c", f"run{number}")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=begin_one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with store.database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(responses)).scalar_one() == 1
        assert connection.execute(select(func.count()).select_from(streams)).scalar_one() == 1


def test_they_count_among_the_runs(store: Store) -> None:
    begin(store, "a", "one", most=4)
    begin(store, "b", "two", most=4)
    with pytest.raises(TooManyRequests, match="LOCALAI_QUEUE_SIZE"):
        begin(store, "c", "three", most=4)
    begin(store, "b", "four", most=4)  # in the place of another
    assert [each.run_id for each in store.streams.kept_by("me").list()] == ["one", "four"]


def test_it_is_forgotten_after_its_end(store: Store) -> None:
    settings = Settings(stream_ttl=1)
    for conversation in ("running", "ended"):
        begin(store, conversation, conversation)
        assert store.runs.claim("here", "here/1") is not None
    write(store, "ended", b"x", ended=True)
    assert sum(forget_old(store.database, settings)) == 0
    with store.database.writing() as connection:
        connection.execute(responses.update().values(used_at=responses.c.used_at - 2))
    assert sum(forget_old(store.database, settings)) == 1
    assert [each.conversation_id for each in store.streams.kept_by("me").list()] == ["running"]


def test_nothing_is_left_of_what_is_written_while_it_is_deleted(store: Store) -> None:
    begin(store, "talk", "run")
    deleting = threading.Thread(target=store.streams.kept_by("me").delete, args=("talk",))
    with store.database.writing() as connection:
        connection.execute(update(responses).values(begun=True))
        deleting.start()
        deleting.join(0.3)
        assert deleting.is_alive(), "it waits for the writer"
        row = {"response_id": "run", "sequence": 0, "type": DATA, "data": b"x", "is_last": False}
        connection.execute(insert(events).values(**row))
    deleting.join(10)
    with store.database.reading() as connection:
        for table in (responses, events, streams):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0, table.name
