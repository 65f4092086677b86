"""The blows: what is done to a running server, what each may do to its clients, and how it is undone."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from tests.chaos.families import FAMILIES
from tests.chaos.promises import Effects
from tests.chaos.stage import ENGINE_STALL_S, SILENCES, Stage

TICK_S = 1.0
"""How much later than its time a watchdog may look."""
STARVED_S = 6.0
Strike = Callable[[Stage, random.Random], AbstractContextManager[None]]


@dataclass(frozen=True)
class Blow:
    """The block of `strike` is the time for which it lasts; at its end it is undone, if it can be."""

    name: str
    strike: Strike
    effects: Effects = field(default_factory=Effects)
    lasts_s: float = 0.0
    ends_server: bool = False
    """Whether the server is gone behind it, and another is started in its place."""


def _kill(*roles: str, all_of_them: bool = False) -> Strike:
    @contextmanager
    def strike(stage: Stage, rng: random.Random) -> Iterator[None]:
        for role in roles:
            pids = stage.pids(role)
            for pid in pids if all_of_them else [rng.choice(pids)]:
                os.kill(pid, signal.SIGKILL)
        yield

    return strike


def _stop(role: str) -> Strike:
    """Have a process stand still until it is killed for that, or the blow ends."""

    @contextmanager
    def strike(stage: Stage, rng: random.Random) -> Iterator[None]:
        pid = rng.choice(stage.pids(role))
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            _continue(pid)

    return strike


def _continue(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass  # a watchdog has replaced it


def _starve(role: str, share: float = 0.1) -> Strike:
    """Let the processes of a role run for a share of the time only, as on a machine that has too much to do."""

    @contextmanager
    def strike(stage: Stage, rng: random.Random) -> Iterator[None]:
        pids, over = stage.pids(role), threading.Event()

        def starve() -> None:
            while not over.is_set():
                for number, seconds in ((signal.SIGSTOP, 0.2 * (1 - share)), (signal.SIGCONT, 0.2 * share)):
                    for pid in pids:
                        os.kill(pid, number)
                    over.wait(seconds)

        thread = threading.Thread(target=starve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            for pid in pids:
                _continue(pid)

    return strike


@contextmanager
def _kill_group(stage: Stage, rng: random.Random) -> Iterator[None]:
    """Kill every process of the server, in any order, as the end of a container does."""
    pids = [
        pid
        for role in ("arbiter", "manager", "model worker", "web worker", "background process")
        for pid in stage.pids(role)
    ]
    for pid in pids:  # stopped first, so that none of them sees another one's end
        os.kill(pid, signal.SIGSTOP)
    rng.shuffle(pids)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    yield


ENDED_SERVER = Effects(tuple(FAMILIES), cuts=True, refuses=True, loses_runs=True)


@contextmanager
def _hang_engine(stage: Stage, rng: random.Random) -> Iterator[None]:
    """Ask what makes the engine's thread sit in a call that never returns."""
    body = {"model": "echo", "messages": [{"role": "user", "content": '{"say": "never", "block_after": 1}'}]}
    thread = threading.Thread(target=lambda: stage.server.post("/v1/chat/completions", body, timeout=60))
    thread.start()
    yield
    thread.join()


ALL = tuple(FAMILIES)
STOPPED = {role: seconds + TICK_S for role, seconds in SILENCES.items()}
BLOWS = [
    Blow("kill a model worker", _kill("model worker"), Effects(ALL, unready=True, replaces=("model worker",))),
    Blow(
        "kill all model workers",
        _kill("model worker", all_of_them=True),
        Effects(ALL, unready=True, replaces=("model worker",)),
    ),
    Blow("kill a web worker", _kill("web worker"), Effects(cuts=True, replaces=("web worker",))),
    Blow("kill all web workers", _kill("web worker", all_of_them=True), Effects(cuts=True, replaces=("web worker",))),
    Blow("kill the manager", _kill("manager"), Effects(replaces=("manager",))),
    Blow(
        "kill the manager and all model workers",
        _kill("manager", "model worker", all_of_them=True),
        Effects(ALL, replaces=("manager", "model worker")),
    ),
    Blow(
        "kill the background process",
        _kill("background process"),
        Effects(replaces=("background process",), loses_runs=True),
    ),
    Blow("kill the arbiter", _kill("arbiter"), ENDED_SERVER, ends_server=True),
    Blow("kill the whole group", _kill_group, ENDED_SERVER, ends_server=True),
    Blow(
        "stop a model worker",
        _stop("model worker"),
        Effects(ALL, unready=True, watchdog_s=STOPPED["model worker"], replaces=("model worker",)),
        lasts_s=STOPPED["model worker"],
    ),
    Blow(
        "stop a web worker",
        _stop("web worker"),
        Effects(watchdog_s=STOPPED["web worker"], cuts=True, replaces=("web worker",)),
        lasts_s=STOPPED["web worker"],
    ),
    Blow("stop the manager", _stop("manager"), Effects(replaces=("manager",)), lasts_s=STOPPED["manager"]),
    Blow(
        "stop the background process",
        _stop("background process"),
        Effects(replaces=("background process",), loses_runs=True),
        lasts_s=STOPPED["background process"],
    ),
    Blow("stop the arbiter for a while", _stop("arbiter"), lasts_s=4.0),
    Blow("stop the manager for a while", _stop("manager"), lasts_s=4.0),
    *(
        Blow(f"starve the {role}", _starve(role), Effects(watchdog_s=STARVED_S), lasts_s=STARVED_S)
        for role in ("model worker", "web worker", "manager", "arbiter", "background process")
    ),
    Blow(
        "hang an engine",
        _hang_engine,
        Effects(ALL, watchdog_s=ENGINE_STALL_S + 2 * TICK_S, replaces=("model worker",)),
        lasts_s=ENGINE_STALL_S + 2 * TICK_S,
    ),
]
