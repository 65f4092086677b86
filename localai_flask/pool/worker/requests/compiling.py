"""Requests for which another thread makes something first, while the engine computes others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from localai_flask.errors import InvalidRequest

SHORT_S, SHORT_BESIDE_S = 0.02, 0.002
"""How long the engine waits itself, with nothing to compute and beside others: most is made in a millisecond."""
LIMIT_S = 30.0
CHECK_S = 0.25
"""How often deadlines are looked at while nothing runs and a request waits for what another thread makes."""


def ends_soon(made: Future[Any], *, is_idle: bool) -> bool:
    """Return whether something is made, now or in a moment, for which an idle engine waits longer."""
    return bool(wait([made], SHORT_S if is_idle else SHORT_BESIDE_S).done)


def call_when_made(made: Future[Any], call: Callable[[Future[Any]], None], *, is_limited: bool = True) -> None:
    """Call, from another thread, once something is made.

    If it `is_limited` and takes too long, it is called with what raises `InvalidRequest`.
    """
    if not is_limited:
        made.add_done_callback(call)
        return
    late = threading.Timer(LIMIT_S, lambda: call(_too_late()))
    late.daemon = True
    late.start()
    made.add_done_callback(lambda _: late.cancel())
    made.add_done_callback(call)


def _too_late() -> Future[Any]:
    late: Future[Any] = Future()
    late.set_exception(
        InvalidRequest(
            f"The form of the answer, or of its tools, takes more than {LIMIT_S:.0f} s to compile; ask for a simpler "
            "one, or send fewer tools."
        )
    )
    return late
