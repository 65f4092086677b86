"""Settings on their way from the command line to every process of a running server."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from localai_flask.settings import Settings
from tests.support import processes
from tests.support.processes import wait_for
from tests.support.server import Server, free_port


def settings_of(pid: int) -> Settings:
    """The settings that a process was started with."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return Settings.from_environment(dict(entry.split("=", 1) for entry in entries if "=" in entry))


def test_flags_beat_variables_in_every_process_and_after_signals(models_path: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    server = Server(
        models_path,
        tmp_path,
        LOCALAI_ADDRESS=f"0.0.0.0:{free_port()}",
        LOCALAI_ALLOW_INSECURE_PUBLIC_BIND="true",
        LOCALAI_API_KEY="of-the-variable",
        LOCALAI_WORKERS="3",
        LOCALAI_QUEUE_SIZE="7",
        LOCALAI_DATABASE_URL=f"sqlite:///{tmp_path}/variable.db",
    )
    server.url = f"http://{address}"
    database = f"sqlite:///{tmp_path}/hunter2.db"
    server.arguments = [f"--address={address}", "--no-allow-insecure-public-bind", "--api-key=", "--workers=2"]
    server.arguments += ["--queue-size=512", f"--database-url={database}"]
    expected = Settings(models_path=models_path, address=address, database_url=database, prompt_cache_size="0")
    with server:
        assert server.process is not None
        (manager,) = server.managers()
        (background,) = wait_for(server.background_workers, 5, "the background process")
        assert settings_of(manager) == settings_of(background) == expected
        assert settings_of(server.process.pid) == expected
        assert len(server.web_workers()) == 2
        assert server.status("/v1/models") == 200, "the variable's key is asked for"
        everybody = [*processes.belonging_to(server.runtime_dir()), server.process.pid, *server.web_workers()]
        assert not [pid for pid in everybody if "hunter2" in processes.command(pid)]
        before = server.web_workers()
        os.kill(server.process.pid, signal.SIGHUP)
        wait_for(lambda: not set(before) & set(server.web_workers()), 15, "the web workers replaced")
        wait_for(lambda: server.status("/v1/models") == 200, 5)
        assert "hunter2" not in server.log()


def test_a_unix_socket_needs_no_key(models_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    server = Server(models_path, tmp_path, LOCALAI_ADDRESS=f"unix:{path}")
    with server.launched() as process:
        wait_for(lambda: _get(path, "/healthz").endswith(b'\r\n\r\n{"status":"ok"}\n'), 15, "an answer")
        process.terminate()
        assert process.wait(20) == 0, server.log()
    assert not path.exists()


def _get(path: Path, target: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return b""
        connection.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        return connection.recv(4096)
