"""What the manager's planner has done about models and workers: from plain data, at times of our choosing."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from localai_flask.config.folder.look import Look
from localai_flask.config.model import ModelConfig
from localai_flask.config.model import encode as encode_config
from localai_flask.errors import LoadCrashed, Unavailable
from localai_flask.generation import ModelInfo
from localai_flask.pool.in_hand import Mark
from localai_flask.pool.manager.plan.actions import Action, Forget, Kill, Retire, SendAway, Start
from localai_flask.pool.manager.plan.planner import plan
from localai_flask.pool.manager.plan.rules import Rules
from localai_flask.pool.manager.table.death import Death
from localai_flask.pool.manager.table.entries import Intent, ModelEntry
from localai_flask.pool.manager.table.model_table import ModelTable
from localai_flask.pool.manager.table.worker_entry import WorkerEntry
from localai_flask.pool.protocol import ModelState, Registration, Report, Wanted

NOW = 1000.0
RULES = Rules(worker_silence_s=10, load_stall_s=120, engine_stall_s=300, grace_s=30)
STOPPING = Rules(worker_silence_s=10, load_stall_s=120, engine_stall_s=300, grace_s=30, kill_at=NOW + 30)
ADOPTING = Rules(worker_silence_s=10, load_stall_s=120, engine_stall_s=300, grace_s=30, is_adopting=True)
INFO = ModelInfo(backend="echo", engine_version="1", context_length=1, capabilities=frozenset())


def config(name: str = "m", **fields: Any) -> ModelConfig:
    return ModelConfig(name=name, backend="echo", **fields)


def worker(name: str = "w", *, silent_s: float = 0.0, stalled_s: float = 0.0, **fields: Any) -> WorkerEntry:
    entry = WorkerEntry(name, pid=1, heard=NOW - silent_s, **fields)
    entry.advanced = NOW - stalled_s
    return entry


def ready(name: str = "w", **fields: Any) -> WorkerEntry:
    return worker(name, ready=True, address="there", **fields)


def model(*workers: WorkerEntry, replicas: int = 1, **intent: Any) -> ModelEntry:
    entry = ModelEntry(config(replicas=replicas), Intent(**intent), workers={each.id: each for each in workers})
    entry.info = INFO if entry.usable else None
    return entry


def failed(entry: ModelEntry, seconds_ago: float) -> ModelEntry:
    entry.load_failed(LoadCrashed("no").info, 10, NOW - seconds_ago)
    return entry


def planned(entry: ModelEntry, rules: Rules = RULES) -> list[Action]:
    return plan({"k": entry}, rules, NOW)


START = Start("k")

PLANS = [
    ("a wanted model is started", model(), RULES, [START]),
    ("once for each replica", model(replicas=3), RULES, [START] * 3),
    ("and only where one is missing", model(ready("a"), worker("b"), replicas=3), RULES, [START]),
    ("what nobody wants is not", model(wanted=False), RULES, []),
    ("what is required is", model(wanted=False, required=True), RULES, [START]),
    ("not while the pool stops", model(), STOPPING, []),
    ("not while workers may register", model(), ADOPTING, []),
    ("a failed load cools down", failed(model(), 9), RULES, []),
    ("and nobody wants it after that", failed(model(), 11), RULES, []),
    ("unless it is required", failed(model(required=True), 11), RULES, [START]),
    ("or a replica serves", failed(model(ready(), replicas=2), 11), RULES, [START]),
    ("but not before", failed(model(ready(), required=True, replicas=2), 9), RULES, []),
    ("a leaving worker is replaced", model(ready(leaving_since=NOW)), RULES, [START]),
    ("surplus workers leave, the loading first", model(worker("a"), ready("b")), RULES, [Retire("a")]),
    (
        "all leave when the pool stops",
        model(ready("a"), worker("b"), replicas=2),
        STOPPING,
        [SendAway("a"), SendAway("b")],
    ),
    ("and when the model is withdrawn", model(ready("a"), wanted=False, withdrawn_at=NOW), RULES, [Retire("a")]),
    ("which is forgotten", model(wanted=False, withdrawn_at=NOW - 3), RULES, [Forget("k")]),
    ("but not at once", model(wanted=False, withdrawn_at=NOW - 2), RULES, []),
    (
        "nor with a worker",
        model(ready(leaving_since=NOW - 3), wanted=False, withdrawn_at=NOW - 3),
        RULES,
        [],
    ),
]


@pytest.mark.parametrize(("what", "entry", "rules", "expected"), PLANS, ids=[case[0] for case in PLANS])
def test_workers_are_started_and_sent_away(what: str, entry: ModelEntry, rules: Rules, expected: list[Any]) -> None:
    assert planned(entry, rules) == expected


DEAD_AT = Rules(worker_silence_s=10, load_stall_s=120, engine_stall_s=300, grace_s=30, kill_at=NOW - 1)

KILLS = [
    ("a heartbeat that is late", ready(silent_s=9), RULES, None),
    ("a silent worker", ready(silent_s=11), RULES, "it gave no sign of life for 11 s"),
    ("a load holds the interpreter's lock", worker(silent_s=60), RULES, None),
    ("for too long", worker(silent_s=121), RULES, "it gave no sign of life for 121 s"),
    ("a load that stalls", worker(stalled_s=121), RULES, "loading made no progress for 121 s"),
    ("a load long behind it", ready(stalled_s=500), RULES, None),
    ("an engine at a long step", ready(engine_silent_s=301), RULES, "its engine has been at one step for 301 s"),
    ("one that takes its leave", ready(leaving_since=NOW - 34, leaves_by=NOW - 4, engine_silent_s=301), RULES, None),
    (
        "for longer than it may",
        ready(leaving_since=NOW - 35, leaves_by=NOW - 5),
        RULES,
        "it was told to leave and did not",
    ),
    ("one that was killed and lives", ready(ended_because="so"), RULES, "so"),
    ("the pool's time is over", ready(leaving_since=NOW), DEAD_AT, ""),
]


@pytest.mark.parametrize(("what", "entry", "rules", "because"), KILLS, ids=[case[0] for case in KILLS])
def test_workers_are_killed(what: str, entry: WorkerEntry, rules: Rules, because: str | None) -> None:
    kills = [action for action in planned(model(entry), rules) if isinstance(action, Kill)]
    assert kills == ([] if because is None else [Kill("w", because, is_silent="no sign of life" in because)])


def test_the_plan_of_one_model_does_not_wait_for_anothers() -> None:
    models = {"a": model(ready("w", silent_s=11)), "b": model()}
    assert plan(models, RULES, NOW) == [Kill("w", "it gave no sign of life for 11 s", True), Start("b")]


STATES = [
    (model(wanted=False), ModelState.ABSENT),
    (model(), ModelState.LOADING),
    (model(worker()), ModelState.LOADING),
    (model(ready(), worker("b"), replicas=2), ModelState.READY),
    (model(ready(leaving_since=NOW), wanted=False), ModelState.DRAINING),
    (failed(model(), 9), ModelState.COOLING),
    (failed(model(), 11), ModelState.FAILED),
    (failed(model(ready(), replicas=2), 9), ModelState.READY),
]


@pytest.mark.parametrize(("entry", "state"), STATES, ids=[state for _, state in STATES])
def test_the_state_of_a_model(entry: ModelEntry, state: ModelState) -> None:
    assert entry.state(NOW) is state


def test_a_withdrawn_model_cannot_be_had() -> None:
    entry = model(ready(leaving_since=NOW))
    entry.withdraw(Unavailable("gone").info, NOW)
    assert entry.state(NOW) is ModelState.DRAINING
    assert (error := entry.status(NOW).error) is not None and error.message == "gone"


def test_a_failed_replica_leaves_the_others_usable() -> None:
    entry = failed(model(ready("a"), replicas=2), seconds_ago=1)
    status = entry.status(NOW)
    assert (status.state, status.error, status.info) == (ModelState.READY, None, INFO)


def test_a_failed_load_says_how_long_it_cools_down() -> None:
    error = failed(model(), seconds_ago=4).status(NOW).error
    assert error is not None and error.retry_after == pytest.approx(6)


class TestTable:
    """What news changes."""

    @pytest.fixture
    def table(self) -> ModelTable:
        table = ModelTable(cooldown_s=10)
        table.ask(Wanted(encode_config(config()), Look(1, 1)), NOW)
        return table

    def start(self, table: ModelTable, worker_id: str = "w") -> ModelEntry:
        [entry] = table.models.values()
        table.started(entry, worker_id, 1, NOW)
        return entry

    def register(self, table: ModelTable, worker_id: str = "w", now: float = NOW, **fields: Any) -> None:
        values = {"address": "there", "config": encode_config(config()), "info": INFO, "pid": 1} | fields
        table.register(Registration(worker_id=worker_id, **values), now)

    def test_a_worker_that_registers_makes_its_model_ready(self, table: ModelTable) -> None:
        entry = self.start(table)
        self.register(table)
        assert entry.state(NOW) is ModelState.READY
        assert plan(table.models, RULES, NOW) == []

    def test_a_worker_of_a_former_manager_is_taken_up(self) -> None:
        table = ModelTable(cooldown_s=10)
        self.register(table)
        assert [entry.state(NOW) for entry in table.models.values()] == [ModelState.READY]

    def test_one_that_is_leaving_is_not_replaced(self) -> None:
        table = ModelTable(cooldown_s=10)
        self.register(table, leaving=True)
        assert plan(table.models, RULES, NOW) == []

    def test_progress_and_silence_are_counted_from_reports(self, table: ModelTable) -> None:
        self.start(table)
        assert table.report(Report(worker_id="w", progress=0.5), NOW + 100).known
        assert plan(table.models, RULES, NOW + 219) == []
        table.report(Report(worker_id="w", progress=0.5), NOW + 219)
        assert plan(table.models, RULES, NOW + 221) == [Kill("w", "loading made no progress for 121 s")]
        assert not table.report(Report(worker_id="other", progress=0.5), NOW).known

    def test_a_pause_of_the_manager_is_held_against_no_worker(self, table: ModelTable) -> None:
        self.start(table)
        self.register(table)
        table.forgive(50)
        assert plan(table.models, RULES, NOW + 55) == []

    def test_a_death_while_loading_cools_down_and_one_while_serving_does_not(self, table: ModelTable) -> None:
        entry = self.start(table)
        table.ended("w", Death(exit_status=1), NOW)
        assert entry.state(NOW) is ModelState.COOLING
        table.ask(Wanted(encode_config(entry.config), Look(2, 2)), NOW + 11)
        self.start(table)
        self.register(table, now=NOW + 11)
        table.ended("w", Death(exit_status=1), NOW + 11)
        assert plan(table.models, RULES, NOW + 11) == [Start(entry.config.key)]

    def test_a_fault_while_loading_costs_speedups_first(self, table: ModelTable) -> None:
        entry = self.start(table)
        table.ended("w", Death(exit_status=-signal.SIGILL), NOW)
        assert entry.is_cautious and plan(table.models, RULES, NOW) == [Start(entry.config.key)]
        self.start(table)
        table.ended("w", Death(exit_status=-signal.SIGILL), NOW)
        assert not entry.is_cautious and entry.state(NOW) is ModelState.COOLING

    def test_a_request_is_suspected_the_third_time_of_a_kill(self, table: ModelTable) -> None:
        for suspected in ([], [], [b"x"]):
            entry = self.start(table)
            self.register(table)
            table.ended("w", Death(exit_status=-signal.SIGKILL, suspect=Mark(b"x")), NOW)
            assert entry.suspects.digests(NOW) == suspected
        assert entry.suspects.digests(NOW + 601) == []

    def test_a_request_is_suspected_at_once_of_an_engine_that_hangs(self, table: ModelTable) -> None:
        entry = self.start(table)
        self.register(table)
        table.report(Report(worker_id="w", progress=1.0, engine_silent_s=301), NOW)
        self.kill(table, NOW)
        assert entry.suspects.digests(NOW) == [b"x"]

    def test_a_process_that_stands_still_may_be_stopped_from_outside(self, table: ModelTable) -> None:
        for suspected in ([], [], [b"x"]):
            entry = self.start(table)
            self.register(table)
            self.kill(table, NOW + 11)
            assert entry.suspects.digests(NOW) == suspected

    def kill(self, table: ModelTable, now: float) -> None:
        """Have the planner end the worker, with a request in hand."""
        (kill,) = [action for action in plan(table.models, RULES, now) if isinstance(action, Kill)]
        table.killed("w", kill.because, is_silent=kill.is_silent)
        table.ended("w", Death(exit_status=-signal.SIGKILL, suspect=Mark(b"x")), now)

    def test_crashes_of_one_caller_are_held_against_that_caller_and_not_the_model(self, table: ModelTable) -> None:
        entry = self.start(table)
        for number in range(6):
            self.register(table)
            assert (b"eve" in entry.suspects.digests(NOW)) == (number > 3)
            death = Death(exit_status=-signal.SIGSEGV, suspect=Mark(bytes([number]), b"eve"))
            table.ended("w", death, NOW)
            assert plan(table.models, RULES, NOW) == [Start(entry.config.key)], "others wait for it"
            self.start(table)
        assert b"eve" in entry.suspects.digests(NOW + 39)
        assert b"eve" not in entry.suspects.digests(NOW + 41), "it waits 10 s, 20 s, 40 s"

    def test_crashes_of_nobody_in_particular_are_held_against_the_model(self, table: ModelTable) -> None:
        for number in range(4):
            entry = self.start(table)
            self.register(table)
            table.ended("w", Death(exit_status=-signal.SIGSEGV, suspect=Mark(bytes([number]))), NOW)
            assert (entry.state(NOW) is ModelState.COOLING) == (number == 3)

    def test_workers_that_leave_are_no_crashes(self, table: ModelTable) -> None:
        for _ in range(5):
            entry = self.start(table)
            self.register(table)
            table.sent_away("w", NOW)
            table.ended("w", Death(exit_status=-signal.SIGKILL), NOW)
        assert plan(table.models, RULES, NOW) == [Start(entry.config.key)]


def test_what_a_serving_worker_printed_is_logged_and_told_to_no_client(caplog: pytest.LogCaptureFixture) -> None:
    table = ModelTable(cooldown_s=10)
    entry = table.models["k"] = model(*(ready(f"w{number}") for number in range(5)))
    for name in list(entry.workers):
        table.ended(name, Death(-signal.SIGSEGV, "somebody's prompt"), NOW)
    assert entry.error is not None and "killed by SIGSEGV" in entry.error.message
    assert "somebody's prompt" in caplog.text and "somebody's prompt" not in entry.error.message


def test_what_a_loading_worker_printed_is_why_the_load_failed() -> None:
    table = ModelTable(cooldown_s=10)
    entry = table.models["k"] = model(worker("w", is_cautious=True))
    table.ended("w", Death(-signal.SIGSEGV, "GGML_ASSERT(x) failed"), NOW)
    assert entry.error is not None and "It last said: GGML_ASSERT(x) failed" in entry.error.message
