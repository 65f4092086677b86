"""The web worker's loop, as far as it needs no processes."""

from __future__ import annotations

import selectors
import socket
import time

import pytest
from gunicorn.config import Config

from localai_flask.server import web_worker
from localai_flask.server.web_worker import Worker


def test_a_worker_that_is_outdated_and_then_stopped_still_takes_leave_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_worker.web_workers, "is_outdated", lambda age: True)
    listener = socket.create_server(("127.0.0.1", 0))
    worker = Worker(1, 0, [listener], None, 30, Config(), None)
    with selectors.DefaultSelector() as poller:
        worker.poller, worker.nr_conns = poller, 1
        worker.set_accept_enabled(True)
        worker._retire()
        worker.set_accept_enabled(False)
        assert worker.alive, "a stream still runs"
        worker.alive = False
        worker.set_accept_enabled(False)  # as gunicorn does before it lets what runs end
        worker._cap_keepalive(time.monotonic())
    worker.tmp.close()
    assert worker.sockets == [] and listener.fileno() == -1
