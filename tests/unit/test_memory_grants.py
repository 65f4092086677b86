"""How much memory workers may take, and who gives some back when another model is to come."""

from __future__ import annotations

from localai_flask.machine import SPARED_BYTES
from localai_flask.pool.manager.plan.grants import grant_memory, room_for
from localai_flask.pool.manager.table.entries import ModelEntry
from tests.unit.test_pool_room import GIB, NOW, asked, entry, loaded, loading, planned, rules, table

TEN = rules(memory_budget=10 * GIB)


def full(name: str, gib: float = 4, spare: float = 3, **more: float) -> ModelEntry:
    """A model that keeps most of what it has for later only."""
    model = loaded(name, gib=gib, **more)  # type: ignore[arg-type]  # mypy takes each of the fields for a config's
    model.workers[name].spare_bytes = int(spare * GIB)
    model.need_bytes = int((gib - spare) * GIB)
    return model


def granted(*models: ModelEntry, available: float | None = None, budget: float | None = 10) -> dict[str, float]:
    given = rules(
        memory_budget=None if budget is None else int(budget * GIB),
        available_bytes=None if available is None else int(available * GIB),
    )
    return {name: size / GIB for name, size in grant_memory(table(*models), given, NOW).items()}


def test_what_is_free_is_shared_out() -> None:
    assert granted(full("a"), full("b", 2, 0)) == {"a": 6, "b": 4}
    assert granted(full("a"), available=3 + SPARED_BYTES / GIB) == {"a": 7}, "the machine has less than the budget"


def test_what_a_cache_may_come_to_take_is_not_shared_out() -> None:
    begun = full("a")
    begun.workers["a"].reserved_bytes = 3 * GIB
    assert granted(begun, full("b", 2, 0)) == {"a": 4.5, "b": 2.5}
    assert granted(begun, available=4 + SPARED_BYTES / GIB) == {"a": 5}


def test_nobody_grows_into_what_another_is_to_have() -> None:
    assert granted(full("a"), asked("new", gib=5)) == {"a": 5}
    coming = asked("new", gib=1)
    coming.wished_bytes = 5 * GIB
    assert granted(full("a"), coming) == {"a": 5}, "with the contexts that it would like to have"
    begun = loading("new")
    begun.need_bytes = 5 * GIB
    assert granted(full("a"), begun) == {"a": 5}


def test_who_is_used_least_gives_back_first() -> None:
    old, recent, busy = full("old", used_s=90), full("recent", used_s=9), full("busy", 1, 1, running=1)
    assert granted(old, recent, busy, asked("new", gib=3)) == {"old": 2, "recent": 4, "busy": 1}
    assert granted(old, recent, busy, asked("new", gib=6)) == {"old": 1, "recent": 2, "busy": 1}
    assert granted(old, recent, busy, asked("new", gib=9)) == {"old": 1, "recent": 1, "busy": 0}


def test_a_machine_without_memory_takes_from_idle_stores_whatever_the_budget() -> None:
    short = SPARED_BYTES / GIB - 2
    assert granted(full("a"), available=short) == {"a": 2}
    assert granted(full("a"), available=short, budget=None) == {"a": 2}
    assert granted(full("a"), available=99, budget=None) == {}, "then it may take what there is"


def test_a_new_worker_has_room_beside_those_that_load() -> None:
    first = loading("first")
    first.need_bytes, first.wished_bytes = GIB, 4 * GIB
    second = entry("second", gib=1)
    assert room_for(second, table(first, second), TEN) == 6 * GIB
    assert room_for(second, table(first, second), rules()) is None
    assert room_for(entry("large", gib=20), {}, TEN) == 20 * GIB


def test_a_model_waits_until_others_have_given_back_and_nobody_leaves() -> None:
    old, new = full("old", 8, 7), asked("new", gib=5)
    models = table(old, new)
    assert planned(models, TEN) == []
    old.workers["old"].memory_bytes, old.workers["old"].spare_bytes = 5 * GIB, 4 * GIB
    assert planned(models, TEN) == ["start new"]


def test_it_waits_for_the_machine_too() -> None:
    models = table(full("old", 8, 7), asked("new", gib=5))
    for budget in (None, 100 * GIB):
        scarce = rules(memory_budget=budget, available_bytes=4 * GIB + SPARED_BYTES)
        ample = rules(memory_budget=budget, available_bytes=5 * GIB + SPARED_BYTES)
        assert (planned(models, scarce), planned(models, ample)) == ([], ["start new"])


def test_what_cannot_be_given_back_is_not_waited_for() -> None:
    hangs = full("old", 8, 7)
    hangs.workers["old"].engine_silent_s = 60
    assert planned(table(hangs, asked("new", gib=5)), TEN) == ["unload old"]
    assert planned(table(full("old", 8, 7), asked("new", gib=5, waited_s=11)), TEN) == ["start new"], (
        "it takes too long"
    )
    assert planned(table(full("old", 8, 1), asked("new", gib=5)), TEN) == ["unload old"], "it would not suffice"
