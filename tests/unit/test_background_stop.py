"""The background process is told to stop at any moment, also within the lines that hold an event's lock."""

from __future__ import annotations

import subprocess
import sys

INTERRUPTED = """
import os, signal, time
from localai_flask.background import runner
event = runner._event_of(signal.SIGTERM)
with event._cond:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
assert event.wait(10)
"""


def test_a_signal_in_the_middle_of_waiting_is_heard() -> None:
    assert subprocess.run([sys.executable, "-c", INTERRUPTED], timeout=30).returncode == 0
