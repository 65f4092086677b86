"""What systemd and the server have to say to each other: without systemd, which no test can start."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from tests.support.processes import wait_for
from tests.support.server import Server, free_port

HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "localai_flask", "serve"])
"""
"""As systemd does it: the socket is descriptor 3, and the variables are for this process alone."""


def started_by_systemd(server: Server, listener: socket.socket) -> AbstractContextManager[subprocess.Popen[bytes]]:
    server.command = [sys.executable, "-c", HAND_OVER, str(listener.fileno())]
    return server.launched(pass_fds=[listener.fileno()])


def test_systemd_is_told_that_the_server_listens(models_path: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(20)
        with Server(models_path, tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify")) as server:
            assert b"READY=1" in notified.recv(1000).splitlines()
            assert server.status("/healthz") == 200


def test_a_socket_of_systemds_is_served_and_stays_when_the_server_leaves(models_path: Path, tmp_path: Path) -> None:
    server = Server(models_path, tmp_path, LOCALAI_ADDRESS=f"127.0.0.1:{free_port()}")
    with socket.create_server(("127.0.0.1", server.port), backlog=64) as listener:
        for _ in range(2):
            with started_by_systemd(server, listener) as process:
                wait_for(lambda: server.status("/readyz") == 200, 30, "the server is ready")
                process.send_signal(signal.SIGHUP)  # a reload looks at the addresses again, and keeps them
                assert server.status("/healthz") == 200
                process.terminate()
                # Between two servers nobody is refused; the next one answers.
                with socket.create_connection(("127.0.0.1", server.port), timeout=60):
                    assert process.wait(40) == 0 and "Traceback" not in server.log()


def test_a_public_socket_of_systemds_needs_a_key(models_path: Path, tmp_path: Path) -> None:
    server = Server(models_path, tmp_path, LOCALAI_ADDRESS="127.0.0.1:1")
    with socket.create_server(("0.0.0.0", server.port)) as listener:
        with started_by_systemd(server, listener) as process:
            assert process.wait(30) == 1
        assert f"refusing to listen on 0.0.0.0:{server.port} without an API key" in server.log()
        server.environment["LOCALAI_API_KEY"] = "secret"
        with started_by_systemd(server, listener) as process:
            wait_for(lambda: server.status("/healthz") == 200, 30, "the server is there")
            process.terminate()
            assert process.wait(40) == 0
