"""Conversations on SQLite and on PostgreSQL: their items in order, one turn at a time, and what becomes of holders."""

from __future__ import annotations

import time
from typing import Any

import pytest

from localai_flask.errors import NotFound
from localai_flask.settings import Settings
from localai_flask.store.kept import Kept
from localai_flask.store.opened import Store
from localai_flask.store.responses import conversations as module
from localai_flask.store.responses import retention
from localai_flask.store.responses.conversations import ConversationHeld, ConversationNotFound
from localai_flask.store.responses.responses import Stored
from localai_flask.store.responses.retention import forget_old
from localai_flask.store.responses.runs import Batch
from localai_flask.store.tables import conversations, responses


def kept(*ids: str) -> list[Kept]:
    return [Kept(id, id.encode()) for id in ids]


def ids(store: Store, id: str = "c") -> list[str]:
    return [each.id for each in store.conversations.items(id)]


def answer(id: str, status: str = "completed", background: bool = False) -> Stored:
    return Stored(id, status, background, b"{}", kept(f"{id}-out"))


def let_holds_run_out(store: Store) -> None:
    with store.database.writing() as connection:
        connection.execute(conversations.update().values(held_until=time.time() - 1))


def test_items_stay_in_order_and_one_is_deleted(store: Store) -> None:
    store.conversations.create("c", b"{}", kept("a", "b"))
    store.conversations.add("c", kept("d", "e"))
    store.conversations.delete_item("c", "b")
    store.conversations.add("c", kept("f"))
    assert ids(store) == ["a", "d", "e", "f"]
    with pytest.raises(NotFound, match="no item b"):
        store.conversations.delete_item("c", "b")


def test_a_turn_comes_with_its_response(store: Store) -> None:
    store.conversations.create("c", b"{}", kept("a"))
    store.conversations.hold("c", "r")
    store.responses.put(answer("r"), kept("in"), None, "c")
    assert ids(store) == ["a", "in", "r-out"] and store.responses.get("r").status == "completed"
    store.conversations.hold("c", "r2")  # free again


def test_a_failed_response_is_no_turn(store: Store) -> None:
    store.conversations.create("c", b"{}", kept("a"))
    store.conversations.hold("c", "r")
    store.responses.put(answer("r", "failed"), kept("in"), None, "c")
    store.conversations.release("c", "r")
    assert ids(store) == ["a"]


@pytest.mark.parametrize("verb", ["hold", "add", "delete_item", "delete"])
def test_who_holds_it_is_alone(store: Store, verb: str) -> None:
    store.conversations.create("c", b"{}", kept("a"))
    store.conversations.hold("c", "r")
    more: dict[str, list[Any]] = {"hold": ["r2"], "add": [kept("b")], "delete_item": ["a"]}
    with pytest.raises(ConversationHeld) as told:
        getattr(store.conversations, verb)("c", *more.get(verb, []))
    assert told.value.info.status == 409 and told.value.info.retry_after
    store.conversations.release("c", "other")
    with pytest.raises(ConversationHeld):
        store.conversations.hold("c", "r2")
    store.conversations.release("c", "r")
    store.conversations.hold("c", "r2")
    assert ids(store) == ["a"]


def test_a_holder_that_died_loses_its_hold(store: Store) -> None:
    store.conversations.create("c", b"{}", [])
    store.conversations.hold("c", "dead")
    let_holds_run_out(store)
    store.conversations.hold("c", "r2")
    with pytest.raises(ConversationHeld):  # and what it says later is not mixed into the other's turn
        store.conversations.end_turn("c", "dead", kept("late"))
    store.conversations.end_turn("c", "r2", kept("x"))
    assert ids(store) == ["x"]


def test_a_living_holder_renews_its_hold(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEWAL_S", 0.02)
    store.conversations.create("c", b"{}", [])
    store.conversations.hold("c", "r")
    let_holds_run_out(store)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with store.database.reading() as connection:
            if connection.execute(conversations.select()).one().held_until > time.time() + 1:
                break
        time.sleep(0.02)
    with pytest.raises(ConversationHeld):
        store.conversations.hold("c", "r2")
    store.conversations.release("c", "r")


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_a_run_holds_it_until_it_has_ended(store: Store, status: str) -> None:
    store.conversations.create("c", b"{}", kept("a"))
    store.conversations.hold("c", "run")
    queued = Stored("run", "queued", True, b"{}", [])
    store.runs.queue(queued, kept("in"), None, b"{}", "here", [], conversation_id="c")
    store.conversations.leave("c", "run")
    let_holds_run_out(store)
    with pytest.raises(ConversationHeld):
        store.conversations.hold("c", "r2")
    store.runs.claim("here", "here/1")
    store.runs.write("here/1", {"run": Batch(ended=answer("run", status, background=True))})
    assert ids(store) == (["a", "in", "run-out"] if status == "completed" else ["a"])
    store.conversations.hold("c", "r2")


def test_a_conversation_is_its_keepers(store: Store) -> None:
    store.conversations.kept_by("me").create("mine", b"{}", [])
    store.conversations.kept_by(None).create("anyones", b"{}", [])
    other = store.conversations.kept_by("other")
    for ask in (other.get, other.items, other.delete, lambda id: other.hold(id, "r"), lambda id: other.add(id, [])):
        with pytest.raises(ConversationNotFound):
            ask("mine")
    assert other.get("anyones").id == "anyones" and store.conversations.get("mine").id == "mine"
    for odd in ("", "x" * 97, "nul\0", "ünknown"):
        with pytest.raises(ConversationNotFound):
            store.conversations.get(odd)


def test_what_is_unused_is_forgotten_but_not_while_it_is_held(store: Store) -> None:
    for id in ("old", "held", "new"):
        store.conversations.create(id, b"{}", kept("a"))
    store.conversations.hold("held", "r")
    with store.database.writing() as connection:
        connection.execute(
            conversations.update().where(conversations.c.id != "new").values(used_at=conversations.c.used_at - 100)
        )
    assert sum(forget_old(store.database, Settings(open_responses_store_ttl=60.0))) == 1
    assert ids(store, "held") == ids(store, "new") == ["a"]
    with pytest.raises(ConversationNotFound):
        store.conversations.get("old")


def test_the_longest_unused_of_all_make_room(store: Store) -> None:
    store.conversations.create("c", b"{}", [Kept("a", b"x" * 700_000)])
    store.responses.put(Stored("r", "completed", False, b"x" * 700_000, []), [], None)
    assert sum(forget_old(store.database, Settings(open_responses_store_size=1))) == 1
    assert store.responses.exists("r")
    with pytest.raises(ConversationNotFound):
        store.conversations.items("c")


def test_what_is_used_or_held_since_it_was_looked_at_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "DELETED_AT_ONCE", 1)
    for id in ("first", "held", "used"):
        store.conversations.create(id, b"{}", kept("a"))
    store.responses.put(answer("r"), [], None)
    with store.database.writing() as connection:
        for number, id in enumerate(("first", "held", "used")):
            connection.execute(conversations.update().where(conversations.c.id == id).values(used_at=number))
        connection.execute(responses.update().values(used_at=0.0))
    steps = forget_old(store.database, Settings(open_responses_store_ttl=60.0))
    assert next(steps) == 1 and not store.responses.exists("r")
    assert next(steps) == 1
    with store.database.writing() as connection:
        values = {"holder": "x", "held_until": time.time() + 60}
        connection.execute(conversations.update().where(conversations.c.id == "held").values(**values))
        connection.execute(conversations.update().where(conversations.c.id == "used").values(used_at=time.time()))
    assert sum(steps) == 0
    assert ids(store, "held") == ids(store, "used") == ["a"]
