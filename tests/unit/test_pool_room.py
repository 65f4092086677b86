"""Which models the planner lets in, and which have to leave for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from localai_flask.config.model import ModelConfig
from localai_flask.errors import ErrorInfo, OutOfMemory
from localai_flask.generation import ModelInfo
from localai_flask.machine import choose_budget
from localai_flask.pool.manager.plan.actions import Action, Kill, Refuse, Start, Unload
from localai_flask.pool.manager.plan.planner import plan
from localai_flask.pool.manager.plan.rules import Rules
from localai_flask.pool.manager.table.entries import Intent, ModelEntry
from localai_flask.pool.manager.table.model_table import ModelTable
from localai_flask.pool.manager.table.worker_entry import WorkerEntry

NOW = 1000.0
GIB = 1 << 30
INFO = ModelInfo(backend="echo", engine_version="1", context_length=1, capabilities=frozenset())


def rules(**fields: Any) -> Rules:
    return Rules(worker_silence_s=10, load_stall_s=120, engine_stall_s=300, grace_s=30, **fields)


ONE, TWO = rules(max_models=1), rules(max_models=2)
MEMORY = rules(memory_budget=10 * GIB)
NO_LIMIT = rules()


def entry(name: str, gib: float = 0, **config: Any) -> ModelEntry:
    intent = Intent(wanted=False)
    return ModelEntry(ModelConfig(name=name, backend="echo", **config), intent, need_bytes=int(gib * GIB))


def loaded(
    name: str = "old", used_s: float = 100, ready_s: float = 500, running: int = 0, gib: float = 0, **config: Any
) -> ModelEntry:
    """A model that has been ready for `ready_s`, and was last used `used_s` ago."""
    model = entry(name, gib, **config)
    model.intent.wanted = True
    model.workers[name] = WorkerEntry(name, pid=1, heard=NOW, ready=True, address="there")
    model.workers[name].running, model.workers[name].memory_bytes = running, int(gib * GIB)
    model.info, model.ready_at = INFO, NOW - ready_s
    model.used_at = NOW if running else NOW - used_s
    return model


def leaving(name: str = "old", gib: float = 0, **config: Any) -> ModelEntry:
    model = loaded(name, gib=gib, **config)
    model.workers[name].will_leave(NOW)
    model.unload()
    return model


def loading(name: str = "old", **config: Any) -> ModelEntry:
    model = entry(name, **config)
    model.intent.wanted = True
    model.workers[name] = WorkerEntry(name, pid=1, heard=NOW)
    return model


def asked(name: str = "new", waited_s: float = 0.1, gib: float = 0, **config: Any) -> ModelEntry:
    """A model for which requests have waited for so long."""
    model = entry(name, gib, **config)
    model.ask(NOW - waited_s)
    model.ask(NOW)
    model.intent.asked_since = NOW - waited_s
    return model


def table(*models: ModelEntry) -> dict[str, ModelEntry]:
    return {model.config.name: model for model in models}


def planned(models: Mapping[str, ModelEntry], by: Rules) -> list[str]:
    """Plan, and write the actions shortly."""
    return [_written(action) for action in plan(models, by, NOW)]


def _written(action: Action) -> str:
    match action:
        case Start():
            return f"start {action.key}"
        case Unload():
            return f"{'force' if action.is_forced else 'unload'} {action.key}"
        case Refuse():
            return f"refuse {action.key}"
        case Kill():
            return f"kill {action.worker_id}"
    return str(action)


G, H, GH = ({"concurrency_groups": tuple(letters)} for letters in ("g", "h", "gh"))
SOFT = rules(memory_budget=10 * GIB, is_budget_firm=False)

CASES: list[tuple[str, list[ModelEntry], Rules, list[str]]] = [
    ("there is no limit", [loaded(), asked()], NO_LIMIT, ["start new"]),
    ("there is a place", [loaded(), asked()], TWO, ["start new"]),
    ("the place has to be made", [loaded(), asked()], ONE, ["unload old"]),
    ("the least recently used leaves", [loaded("a", 10), loaded("b", 99), asked()], TWO, ["unload b"]),
    ("what never was used is as old as its load", [loaded("a", 10), loaded("b", 1e9, 5), asked()], TWO, ["unload a"]),
    ("nothing is loaded beside what leaves", [leaving(), asked()], ONE, []),
    ("nor does another leave meanwhile", [leaving("a"), loaded("b", 400), asked()], TWO, []),
    ("what is to be kept leaves last", [loaded("a", 99, keep_alive=-1), loaded("b", 1), asked()], TWO, ["unload b"]),
    ("but it leaves", [loaded(keep_alive=-1), asked()], ONE, ["unload old"]),
    ("a busy model is waited for", [loaded(running=1), asked(waited_s=29)], ONE, []),
    ("an idle one leaves in its stead", [loaded("a", running=1), loaded("b", 1), asked()], TWO, ["unload b"]),
    ("until it has had its turn", [loaded(running=1), asked(waited_s=31)], ONE, ["unload old"]),
    ("which lasts a while", [loaded(running=1, ready_s=9), asked(waited_s=99)], ONE, []),
    ("it may be forced", [loaded(running=1), asked()], rules(max_models=1, forces_eviction=True), ["force old"]),
    ("what was just loaded is waited for", [loaded(used_s=1e9, ready_s=1), asked()], ONE, []),
    ("unless it has been used since", [loaded(used_s=0.5, ready_s=1), asked()], ONE, ["unload old"]),
    ("what is being loaded too", [loading(), asked(waited_s=99)], ONE, []),
    ("even by force", [loading(), asked()], rules(max_models=1, forces_eviction=True), []),
    ("a pinned model never leaves", [loaded(pinned=True), asked()], ONE, ["refuse new"]),
    ("another one does", [loaded("a", 999, pinned=True), loaded("b", 1), asked()], TWO, ["unload b"]),
    ("a pinned model is let in", [loaded(), asked(pinned=True)], ONE, ["unload old"]),
    ("who came first is served first", [asked("b", 1), asked("a", 2)], ONE, ["start a"]),
    ("and keeps what leaves for it", [leaving(), asked("b", 1), asked("a", 2)], ONE, []),
    ("none slips in", [loaded(running=1, gib=8), asked("a", 2, gib=9), asked("b", 1, gib=2)], MEMORY, []),
    ("there is memory", [loaded(gib=5), asked(gib=5)], MEMORY, ["start new"]),
    ("there is too little", [loaded(gib=5), asked(gib=5.1)], MEMORY, ["unload old"]),
    ("as many as must", [loaded("a", 9, gib=1), loaded("b", gib=6), asked(gib=9.5)], MEMORY, ["unload a", "unload b"]),
    ("nor too small ones", [loaded("a", 9, gib=1), loaded("b", 8, gib=6), asked(gib=8)], MEMORY, ["unload b"]),
    ("none leaves in vain", [loaded("a", gib=4), loaded("b", gib=4, running=1), asked(gib=8)], MEMORY, []),
    ("what leaves still takes its memory", [leaving(gib=6), asked(gib=5)], MEMORY, []),
    ("it does not fit at all", [loaded(gib=1), asked(gib=11)], MEMORY, ["refuse new"]),
    ("nor beside what is pinned", [loaded(gib=4, pinned=True), asked(gib=7)], MEMORY, ["refuse new"]),
    ("nobody has set the budget", [loaded(gib=1), asked(gib=11)], SOFT, ["unload old"]),
    ("two that are let in at once", [asked("a", 2, gib=6), asked("b", 1, gib=6)], MEMORY, ["start a"]),
    ("a group", [loaded(**GH), asked(**G)], NO_LIMIT, ["unload old"]),
    ("another group", [loaded(**G), asked(**H)], NO_LIMIT, ["start new"]),
    ("only the group leaves", [loaded("a", 99), loaded("b", **G), asked(**G)], NO_LIMIT, ["unload b"]),
    ("two of a group at once", [asked("a", 2, **G), asked("b", 1, **G)], NO_LIMIT, ["start a"]),
    ("a pinned one of the group", [loaded(pinned=True, **G), asked(**G)], NO_LIMIT, ["refuse new"]),
    ("they have come to take too much", [loaded("a", 9, gib=6), loaded("b", 8, gib=5)], MEMORY, ["unload a"]),
    ("there are too many", [loaded("a", 9), loaded("b", 8)], ONE, ["unload a"]),
    ("all busy", [loaded("a", running=1), loaded("b", running=1)], ONE, []),
    ("but one alone stays", [loaded(gib=11)], MEMORY, []),
]  # fmt: skip


@pytest.mark.parametrize(("what", "models", "by", "expected"), CASES, ids=[case[0] for case in CASES])
def test_who_is_let_in_and_who_leaves(what: str, models: list[ModelEntry], by: Rules, expected: list[str]) -> None:
    assert planned(table(*models), by) == expected


def test_a_model_that_nobody_waits_for_takes_no_place() -> None:
    crashed = entry("new")
    crashed.intent.wanted = True
    assert planned(table(loaded(), crashed), ONE) == ["unload new"]
    left = asked()
    left.intent.asked_at = NOW - 3
    assert planned(table(loaded(), left), ONE) == ["unload new"], "those who waited have gone"
    required = entry("new")
    required.intent.required = True
    assert planned(table(loaded(), required), ONE) == ["refuse new"]
    required.unload()
    assert planned(table(required), ONE) == [], "it was unloaded, and comes back when it is asked for"


def test_who_waits_for_a_refused_model_hears_of_it_and_may_ask_again() -> None:
    models = ModelTable(cooldown_s=10)
    models.models |= table(loaded(pinned=True), asked())
    [refusal] = plan(models.models, ONE, NOW)
    assert isinstance(refusal, Refuse)
    models.refused(refusal, NOW)
    new = models.models["new"]
    for seconds, state, error in (
        (0.05, "failed", refusal.error),
        (0.9, "failed", refusal.error),
        (1.1, "loading", None),
    ):
        new.ask(NOW + seconds)
        assert (new.state(NOW + seconds), new.status(NOW + seconds).error) == (state, error)
    models.refused(Refuse("new", refusal.error, until_asked=True), NOW + 5)
    new.ask(NOW + 5)
    assert new.state(NOW + 5) == "loading", "now somebody waits"
    models.refused(refusal, NOW + 9)
    models.unloaded("old", "", NOW + 9)
    new.ask(NOW + 9)
    assert new.state(NOW + 9) == "loading", "now there may be room"


def test_a_model_that_has_come_to_take_more_than_expected_is_expected_to_do_so_again() -> None:
    grown = asked(gib=3)
    grown.peak_bytes = 6 * GIB
    assert planned(table(loaded(gib=5), grown), MEMORY) == ["unload old"]
    assert planned(table(loaded(gib=5, pinned=True), grown), MEMORY) == ["start new"], "it has managed with less"


def test_what_a_cache_may_come_to_take_is_no_room_for_another() -> None:
    models = table(loaded(gib=4), asked(gib=5))
    assert planned(models, MEMORY) == ["start new"]
    models["old"].workers["old"].reserved_bytes = 2 * GIB
    assert planned(models, MEMORY) == ["unload old"]


def test_a_model_is_loaded_beside_its_own_worker_that_still_leaves_if_there_is_room() -> None:
    model = leaving("new", gib=6)
    model.need_bytes = 3 * GIB
    model.ask(NOW)
    assert planned(table(model), MEMORY) == ["start new"]
    model.need_bytes = 5 * GIB
    assert planned(table(model), MEMORY) == []


def test_replicas_come_as_far_as_there_is_memory() -> None:
    assert planned(table(asked(gib=4, replicas=3)), MEMORY) == ["start new", "start new"]
    assert planned(table(loaded(gib=4, replicas=3)), rules(memory_budget=5 * GIB)) == []


def refusal(models: Mapping[str, ModelEntry], by: Rules) -> ErrorInfo:
    [action] = plan(models, by, NOW)
    assert isinstance(action, Refuse)
    return action.error


def test_a_refusal_tells_small_sizes_in_mebibytes() -> None:
    assert (
        "needs 512 MiB of memory" in refusal(table(loaded("big", gib=10, pinned=True), asked(gib=0.5)), MEMORY).message
    )


def test_a_refusal_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    models = ModelTable(cooldown_s=1.0)
    models.models = table(loaded("big", gib=4, pinned=True), asked(gib=7))
    for second in range(3):
        [action] = plan(models.models, MEMORY, NOW + 2 * second)
        assert isinstance(action, Refuse)
        models.refused(action, NOW + 2 * second)
        models.models[action.key].ask(NOW + 2 * second + 2)
    assert len(caplog.records) == 1


def test_a_refusal_tells_sizes_and_who_has_the_room() -> None:
    error = refusal(table(loaded("big", gib=4, pinned=True), asked(gib=7)), MEMORY)
    assert (error.status, error.code) == (507, "no_room")
    assert "Model new needs 7.0 GiB of memory" in error.message
    assert "of the 10.0 GiB that models may take 6.0 GiB are free beside big (pinned)" in error.message
    error = refusal(table(loaded("big", pinned=True), asked()), ONE)
    assert (
        "LOCALAI_MAX_ACTIVE_BACKENDS lets 1 be loaded at once, and there is already: big (pinned); raise it"
        in error.message
    )


def test_a_load_that_found_no_memory_is_tried_again_once_another_has_left() -> None:
    error = OutOfMemory("no memory").info
    new = asked()
    new.room_error = error
    models = table(loaded("a", 9), loaded("b", 99), new)
    assert planned(models, NO_LIMIT) == ["unload b"]
    models["b"], new.room_error, new.awaits = leaving("b"), None, {"b"}
    assert planned(models, NO_LIMIT) == [], "it is loaded beside what still leaves"
    del models["b"]
    assert planned(models, NO_LIMIT) == ["start new"]
    new.room_error = error
    assert refusal(table(new), NO_LIMIT) == error, "there is none that could leave"


@pytest.mark.parametrize(
    ("used_s", "yaml", "request_s", "server", "leaves"),
    [
        (100, None, None, None, False),
        (100, None, None, 99, True),
        (100, None, None, 101, False),
        (100, 99, None, None, True),
        (100, 101, None, 99, False),
        (100, 99, 101, None, False),
        (100, 101, 99, None, True),
        (100, -1, None, 99, False),
        (100, 99, -1, 99, False),
        (0, None, 0, None, True),
    ],
)
def test_idle_models_are_unloaded(
    used_s: float, yaml: float | None, request_s: float | None, server: float | None, leaves: bool
) -> None:
    model = loaded(used_s=used_s, keep_alive=yaml)
    model.intent.keep_alive_s = request_s
    by = rules(idle_timeout_s=server)
    assert planned(table(model), by) == (["unload old"] if leaves else [])
    model.workers["old"].running = 1
    assert planned(table(model), by) == [], "it is busy"
    model.workers["old"].running, model.config = 0, ModelConfig(name="old", pinned=True, keep_alive=yaml)
    assert planned(table(model), by) == [], "it is pinned"


def test_the_time_of_a_kept_model_counts_from_the_request_that_said_it() -> None:
    model = loaded(used_s=100, keep_alive=50)
    model.intent.kept_at = NOW - 40
    assert planned(table(model), NO_LIMIT) == []
    model = loaded(used_s=1e9, ready_s=500, keep_alive=50)
    model.intent.kept_at = NOW - 40
    assert planned(table(model), NO_LIMIT) == [], "it was loaded by hand, for so long"
    model = loaded(used_s=1e9, ready_s=1, keep_alive=0)
    assert planned(table(model), NO_LIMIT) == [], "those who have waited for it have had no time to ask"


def test_a_worker_that_brings_forth_nothing_is_replaced() -> None:
    model = loaded(running=1)
    model.workers["old"].fruitless_s = 301
    assert planned(table(model), NO_LIMIT) == []
    assert planned(table(model), rules(busy_timeout_s=300)) == ["kill old"]
    model.workers["old"].fruitless_s = 299
    assert planned(table(model), rules(busy_timeout_s=300)) == []


def test_a_backlog_on_two_models_swaps_them_by_turns() -> None:
    """Ask for both without a pause for ten minutes, with one place, and count the loads."""
    models = table(entry("a"), entry("b"))
    now, loads, served = NOW, 0, {"a": 0.0, "b": 0.0}
    for _ in range(3000):
        now += 0.2
        for name, model in models.items():
            if worker := model.workers.get(name):
                if worker.leaving:
                    del model.workers[name]
                elif not worker.ready:
                    worker.ready = True
                    model.loaded(INFO, now, 1.0)
            if model.usable:
                model.workers[name].running, model.used_at = 4, now
                served[name] += 0.2
            else:
                model.ask(now)
        for action in plan(models, ONE, now):
            if isinstance(action, Start):
                loads += 1
                models[action.key].workers[action.key] = WorkerEntry(action.key, 1, now)
            elif isinstance(action, Unload):
                models[action.key].workers[action.key].will_leave(now)
                models[action.key].unload()
        assert sum(bool(model.workers) for model in models.values()) <= 1
    assert 600 / 40 <= loads <= 600 / 30 + 1, "each waits for half a minute"
    assert min(served.values()) > 250, "one starves"


@pytest.mark.parametrize(
    ("text", "budget"), [("4GB", 4 * GIB), ("50%", 8 * GIB), ("0", None), ("1048576", 1 << 20), ("1.5g", 3 * GIB // 2)]
)
def test_the_budget_as_it_is_set(text: str, budget: int | None) -> None:
    assert choose_budget(text, 16 * GIB) == budget


@pytest.mark.parametrize(("total", "budget"), [(16, 14.4), (4, 3)])
def test_the_budget_where_nobody_has_set_it(monkeypatch: pytest.MonkeyPatch, total: int, budget: float) -> None:
    monkeypatch.setattr("localai_flask.machine.has_gpu_device", lambda: False)
    assert choose_budget("", total * GIB) == pytest.approx(budget * GIB)
    monkeypatch.setattr("localai_flask.machine.has_gpu_device", lambda: True)
    assert choose_budget("", total * GIB) is None
