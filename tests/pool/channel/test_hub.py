"""What makes `recv` return besides messages."""

from __future__ import annotations

import os
import signal
import threading
import time

from localai_flask.pool.channel import Hub, HubEvent
from tests.pool.channel.helpers import FD, PATIENCE_S, SOON_S, forked


def test_wake_and_signals_make_recv_return(hub: Hub) -> None:
    threading.Timer(0.05, hub.wake).start()
    started = time.monotonic()
    assert hub.recv(PATIENCE_S) == []
    hub.wake()
    hub.wake()
    assert hub.recv(PATIENCE_S) == []
    previous = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.set_wakeup_fd(hub.wake_fd, warn_on_full_buffer=False)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert hub.recv(PATIENCE_S) == []
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - started < SOON_S


def test_a_foreign_descriptor_is_reported_while_it_is_readable(hub: Hub) -> None:
    with forked(lambda: None) as pid:
        pidfd = os.pidfd_open(pid)
        hub.watch(pidfd)
        assert [hub.recv(PATIENCE_S) for _ in range(2)] == [[HubEvent(FD, fd=pidfd)]] * 2
        hub.unwatch(pidfd)
        assert hub.recv(0.01) == []
        os.close(pidfd)
