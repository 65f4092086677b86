"""What is old is deleted a step at a time, so that the thread that does it can do something else in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from localai_flask.background.housekeeping import LOOK_S, Housekeeping
from localai_flask.errors import Unavailable
from localai_flask.settings import Settings
from localai_flask.store.opened import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(Settings(database_url=f"sqlite:///{tmp_path}/responses.db"))
    yield store
    store.database.close()


def count_transactions(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    writing, count = store.database.writing, []
    monkeypatch.setattr(store.database, "writing", lambda: count.append(None) or writing())
    return count


def test_each_tick_takes_one_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        store.files.put(name, "batch", [b"x"], expires_at=time.time() - 1)
    keeping = Housekeeping(store, Settings(), lambda: None)
    count = count_transactions(store, monkeypatch)
    done = [0]
    for tick in range(20):
        keeping.tick(100.0 + tick / 20)
        done.append(len(count))
    assert max(after - before for before, after in pairwise(done)) == 1 and done[-1] == 9
    keeping.tick(100.0 + LOOK_S - 1)
    assert len(count) == 9
    store.files.put("d", "batch", [b"x"], expires_at=time.time() - 1)
    for _ in range(5):
        keeping.tick(100.0 + LOOK_S)
    with store.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM files").scalar_one() == 0


def test_a_database_that_was_away_is_looked_at_again(store: Store) -> None:
    tries: list[None] = []

    def forget_jobs() -> None:
        tries.append(None)
        if len(tries) == 1:
            raise Unavailable("away")

    keeping = Housekeeping(store, Settings(), forget_jobs)
    with pytest.raises(Unavailable):
        for _ in range(3):
            keeping.tick(100.0)
    for _ in range(3):
        keeping.tick(100.0 + LOOK_S)
    assert len(tries) == 2
