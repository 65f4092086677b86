"""Signals to a web worker that is just being forked: held back until it has handlers of its own.

A forked process begins with the arbiter's handlers, which put signals into a queue that only the arbiter's loop reads
(gunicorn 27, `Arbiter.spawn_worker`). A server told to stop at that moment would wait for the worker until its grace is
over.
"""

from __future__ import annotations

import os
import signal

from gunicorn.arbiter import Arbiter

HELD = frozenset({*Arbiter.SIGNALS, signal.SIGABRT})
"""What the arbiter has handlers for, and what it sends to web workers."""
_mask_before: set[int] | None = None
"""The signals that were blocked before; None while none is held back for a fork."""


def hold_back() -> None:
    """Block signals in the main thread, of which the next fork has the only copy."""
    global _mask_before
    _mask_before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


def deliver() -> None:
    """Let come what was held back, now that it meets the right handlers."""
    global _mask_before
    if _mask_before is not None:
        mask, _mask_before = _mask_before, None
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


os.register_at_fork(after_in_parent=deliver)
