"""The web worker's loop, as far as it needs no processes."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time

import pytest
from gunicorn.config import Config

from localai_flask.server.web import web_worker
from localai_flask.server.web.web_worker import Worker


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


def test_what_nobody_thought_of_ends_one_connection_and_not_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RecursionError("too deep")

    listener = socket.create_server(("127.0.0.1", 0))
    worker = Worker(1, 0, [listener], None, 30, Config(), None)
    monkeypatch.setattr(worker, "_serve", fail)
    noted: list[object] = []
    monkeypatch.setattr(worker, "_note", lambda *words: noted.append(words[2:]))
    with selectors.DefaultSelector() as worker.poller, socket.create_connection(listener.getsockname()) as client:
        client.settimeout(5)
        worker.accept(listener)
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        for key, _ in worker.poller.select(5):
            key.data(key.fileobj)
        answer = client.makefile("rb").read()
        for conn in list(worker._goodbyes):
            worker._close(conn)
    worker.tmp.close()
    listener.close()
    assert answer.startswith(b"HTTP/1.1 500 ") and b'"internal_error"' in answer and b"too deep" not in answer
    assert noted == [(500, "internal_error")]


def test_a_connection_on_which_nothing_arrives_makes_room_before_a_request_that_does() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    worker = Worker(1, 0, [listener], None, 30, Config(), None)
    worker._most_connections = 2
    with selectors.DefaultSelector() as poller, contextlib.ExitStack() as stack:
        worker.poller = poller

        def connect() -> socket.socket:
            client = stack.enter_context(socket.create_connection(listener.getsockname(), timeout=5))
            worker.accept(listener)
            return client

        half = connect()
        half.sendall(b"POST /v1/completions HTTP/1.1\r\n")
        for key, _ in poller.select(5):
            key.data(key.fileobj)
        idle = connect()
        connect()
        assert idle.recv(1) == b"", "the idle one was closed"
        half.setblocking(False)
        with pytest.raises(BlockingIOError):
            half.recv(1)
        for conn in list(worker._waiting):
            worker._close(conn)
    worker.tmp.close()
    listener.close()
