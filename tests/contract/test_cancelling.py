"""A client that leaves: its answer is computed no further, its slot is free, and nothing of it is left."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

from tests.chaos import census
from tests.contract.subject import PROMPTS, WRITER, Subject, cpu_seconds
from tests.support.processes import wait_for

PATIENCE_S = 60
"""How long a busy machine may take for what takes a moment."""
LITTLE_S = 4
"""Seconds of a processor that cancelled answers may still take; the whole would take many times as long."""
LOOKS_S = 2
IDLE = 0.1
"""The share of a processor that an idle engine may take."""
AT_ONCE = 4
WAITING = 16
LEAVING = 24
SPARE_SOCKETS = 8
"""Connections that clients have not closed yet, or keep."""


def begin(subject: Subject, number: int) -> Any:
    """Begin an answer that is as long as the context allows."""
    return subject.complete(PROMPTS[number % len(PROMPTS)], max_tokens=subject.longest, stream=True)


def await_end(subject: Subject, begun: float) -> None:
    """Wait until nothing runs, and see that little was computed for that since the processes had taken so long."""
    wait_for(lambda: subject.running(WRITER) == 0, PATIENCE_S, "the requests have gone")
    wait_for(lambda: is_idle(subject), PATIENCE_S, "the engine computes no further")
    assert cpu_seconds(subject.descendants(WRITER)) - begun < LITTLE_S


def is_idle(subject: Subject) -> bool:
    begun = cpu_seconds(subject.descendants(WRITER))
    time.sleep(LOOKS_S / 4)
    return cpu_seconds(subject.descendants(WRITER)) - begun < IDLE * LOOKS_S / 4


def test_a_cancelled_answer_is_given_up(subject: Subject) -> None:
    subject.need_writing()
    with ExitStack() as clients:
        for number in range(AT_ONCE):
            next(clients.enter_context(begin(subject, number)))
        wait_for(lambda: subject.running(WRITER) == AT_ONCE, PATIENCE_S, "all run, as none was too fast")
        wait_for(lambda: not is_idle(subject), PATIENCE_S, "the engine computes")
        begun = cpu_seconds(subject.descendants(WRITER))
    await_end(subject, begun)


def test_cancelled_answers_leave_nothing(subject: Subject) -> None:
    subject.need_writing()
    own = {prompt: subject.text(prompt) for prompt in PROMPTS}
    hang_up_often(subject)  # every web worker has its channel to the model afterwards
    before = census.take(subject.server)
    hang_up_often(subject)
    with suppress(AssertionError):
        wait_for(lambda: not census.take(subject.server).above(before, SPARE_SOCKETS), PATIENCE_S)
    assert not census.take(subject.server).above(before, SPARE_SOCKETS)
    with ThreadPoolExecutor(len(PROMPTS)) as threads:
        texts = dict(zip(PROMPTS, threads.map(subject.text, PROMPTS), strict=True))
    if not subject.tie(WRITER):
        assert texts == own


def hang_up_often(subject: Subject) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda number: hang_up(subject, number), range(LEAVING)))
    wait_for(lambda: subject.running(WRITER) == 0, PATIENCE_S, "the requests have gone")


def hang_up(subject: Subject, number: int) -> None:
    with begin(subject, number) as stream:
        next(stream)


def test_an_idle_engine_takes_no_processor(subject: Subject) -> None:
    subject.text(PROMPTS[0])
    wait_for(lambda: is_idle(subject), PATIENCE_S, "what the request left to do is done")
    pids = subject.descendants(WRITER)
    begun = cpu_seconds(pids)
    time.sleep(LOOKS_S)
    assert cpu_seconds(pids) - begun < IDLE * LOOKS_S


def test_what_waits_is_cancelled_too(subject: Subject) -> None:
    """More answers than the engine runs at once: those that wait go with their clients."""
    subject.need_writing()
    with ExitStack() as clients, ThreadPoolExecutor(WAITING) as threads:
        for stream in threads.map(lambda number: begin(subject, number), range(WAITING)):
            clients.enter_context(stream)
        begun = cpu_seconds(subject.descendants(WRITER))
    await_end(subject, begun)
    assert subject.text(PROMPTS[0])
