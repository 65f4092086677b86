"""A process that is kept running: when it counts as hung."""

from __future__ import annotations

import os
import sys

from localai_flask.server.processes import child
from localai_flask.server.processes.child import WatchedChild

SLOW_TO_START = "import os, sys, time; time.sleep(1); os.write(int(sys.argv[1]), b'x'); time.sleep({then})"


def watched(then: float) -> WatchedChild:
    return WatchedChild([sys.executable, "-c", SLOW_TO_START.format(then=then)], dict(os.environ))


def test_a_process_may_take_long_to_start() -> None:
    process = watched(then=0)
    assert process.outlives(0.5)
    process.close()


def test_but_not_to_go_on() -> None:
    process = watched(then=60)
    assert not process.outlives(0.5)
    process.end(child.signal.SIGKILL, 5)
    process.close()
