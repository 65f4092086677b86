"""Files in SQL: whole or not at all, written and deleted in short transactions."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select

from localai_flask.store import files as file_store
from localai_flask.store.files import UNFINISHED_S, FileNotFound, forget_expired
from localai_flask.store.opened import Store
from localai_flask.store.room import FilesFull
from localai_flask.store.tables import file_pieces, files
from tests.support.stores import open_store


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with open_store(url, files_size=1) as store:
        yield store


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


def count_pieces(store: Store) -> int:
    with store.database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(file_pieces)).scalar_one())


def test_what_could_not_be_kept_whole_leaves_nothing(store: Store) -> None:
    with pytest.raises(FilesFull):
        store.files.put("b", "batch", [b"x" * 300_000] * 4)
    assert count_pieces(store) == 0
    store.files.put("c", "batch", [b"x" * 900_000])


def test_a_file_that_is_being_written_takes_room_and_is_not_seen(store: Store) -> None:
    with store.files.drafting("a", "batch") as draft:
        draft.add(b"x" * 900_000)
        assert not store.files.list()
        with pytest.raises(FileNotFound):
            store.files.get(draft.id)
        with pytest.raises(FilesFull):
            store.files.put("b", "batch", [b"x" * 200_000])
        with store.database.writing() as connection:
            assert draft.finish(connection).size == 900_000
    assert [file.name for file in store.files.list()] == ["a"] and store.files.list()[0].expires_at is None


def test_what_a_killed_process_was_writing_expires(store: Store) -> None:
    drafting = store.files.drafting("a", "batch")
    draft = drafting.__enter__()
    draft.add(b"x")
    assert not list(forget_expired(store.database))
    with store.database.writing() as connection:
        connection.execute(files.update().values(expires_at=files.c.expires_at - UNFINISHED_S))
    assert list(forget_expired(store.database)) and count_pieces(store) == 0
    with pytest.raises(FileNotFound):
        draft.add(b"y")


def test_an_expired_file_is_deleted_in_steps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "DELETED_AT_ONCE", 2)
    store.files.put("old", "batch", [b"x"] * 5, expires_at=time.time() - 1)
    store.files.put("new", "batch", [b"y"])
    assert [count_pieces(store) for _ in forget_expired(store.database)] == [6, 4, 2, 1, 1]
    assert [file.name for file in store.files.list()] == ["new"] and not list(forget_expired(store.database))
