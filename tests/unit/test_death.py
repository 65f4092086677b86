"""What is said of a worker that has ended."""

from __future__ import annotations

import signal

from localai_flask.pool.manager.death import Death, describe_death


def test_a_signal_is_told_by_its_name_or_its_number() -> None:
    assert "killed by SIGSEGV, the engine crashed" in describe_death("m", Death(-signal.SIGSEGV), False).message
    assert "while serving: killed by signal 40." in describe_death("m", Death(-40), False).message
    assert "while loading the model: exit code 3." in describe_death("m", Death(3), True).message
