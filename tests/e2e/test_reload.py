"""Settings that change while the server runs: by their file and by SIGHUP, and no request takes notice."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from tests.e2e.test_life import CHAT, Stream, body
from tests.support.processes import wait_for
from tests.support.server import Server

FIRST = "LOCALAI_LOG_LEVEL=info\nLOCALAI_API_KEY='first'\nLOCALAI_QUEUE_SIZE=100\n"


def chat(server: Server, key: str, say: str = "yes", **script: Any) -> int:
    return server.post(CHAT, body(say, **script), {"Authorization": f"Bearer {key}"})[0]


def models_with_echo(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    models.mkdir()
    (models / "echo.yaml").write_text("name: echo\nbackend: echo\noptions: [scripted, 'slots:64']\n")
    (models / "other.yaml").write_text("name: other\nbackend: echo\n")
    return models


def test_a_settings_file_is_taken_up_when_it_changes(tmp_path: Path) -> None:
    models, file = models_with_echo(tmp_path), tmp_path / "settings.env"
    file.write_text(FIRST)
    server = Server(models, tmp_path, LOCALAI_SETTINGS_FILE=str(file), LOCALAI_CLIENT_TIMEOUT="20")
    with server:
        assert (chat(server, "first"), chat(server, "second")) == (200, 401)
        pool = [*server.managers(), *server.model_workers()]
        more = "LOCALAI_LOAD_TO_MEMORY=other\nLOCALAI_CLIENT_TIMEOUT=1\nLOCALAI_THREADS=3\nLOCALAI_TYPO=1\n"
        file.write_text("LOCALAI_LOG_LEVEL=debug\nLOCALAI_API_KEY=second\n" + more)
        wait_for(lambda: chat(server, "second") == 200, 15, "the new key holds")
        wait_for(lambda: chat(server, "first") == 401, 15, "and the old one does not")
        wait_for(lambda: "loading model other" in server.log(), 10, "the manager has heard of it")
        assert set(pool) <= {*server.managers(), *server.model_workers()}
        log = server.log()
        assert "LOCALAI_LOG_LEVEL is now debug; it was info" in log
        assert "LOCALAI_QUEUE_SIZE is now 512; it was 100" in log
        assert "LOCALAI_THREADS stays 0 until the server is restarted" in log
        assert "LOCALAI_TYPO is no setting" in log
        assert "LOCALAI_CLIENT_TIMEOUT has no effect, as a flag or a variable of the environment sets it" in log
        assert "first" not in log and "second" not in log
        assert "[DEBUG]" in log
        file.write_text("LOCALAI_LOG_LEVEL=loud\n")
        wait_for(lambda: "the settings stay as they were" in server.log(), 10)
        assert chat(server, "second") == 200
        workers = wait_for(lambda: len(server.web_workers()) == 2 and server.web_workers(), 15)
        time.sleep(1.5)
        assert server.web_workers() == workers, "a file that cannot be used changes nothing"
        assert server.log().count("the settings stay as they were") == 1


def test_a_public_address_never_loses_its_keys(tmp_path: Path) -> None:
    models, file = models_with_echo(tmp_path), tmp_path / "settings.env"
    file.write_text(FIRST)
    server = Server(models, tmp_path, LOCALAI_SETTINGS_FILE=str(file))
    server.environment["LOCALAI_ADDRESS"] = f"0.0.0.0:{server.port}"
    with server:
        file.write_text("LOCALAI_LOG_LEVEL=debug\n")
        wait_for(lambda: "the settings stay as they were: refusing to listen on 0.0.0.0" in server.log(), 10)
        assert (chat(server, "first"), chat(server, "none")) == (200, 401)


def test_a_loaded_model_goes_by_the_new_length_of_its_queue(tmp_path: Path) -> None:
    models, file = models_with_echo(tmp_path), tmp_path / "settings.env"
    (models / "single.yaml").write_text("name: single\nbackend: echo\noptions: [scripted, 'slots:1']\n")
    file.write_text("LOCALAI_QUEUE_SIZE=1\n")
    with Server(models, tmp_path, LOCALAI_SETTINGS_FILE=str(file)) as server:
        running = Stream(server, "abc", model="single", stall_after=1)
        assert next(running.content()) == "a"
        waiting = Stream(server, "waits", model="single")
        assert waiting.socket.recv(12) == b"HTTP/1.1 200", "it waits, and is told so now and then"
        workers = server.model_workers()

        def status() -> int:
            try:
                return server.post(CHAT, body("hello", model="single"), timeout=1)[0]
            except TimeoutError:
                return 0  # it waits

        assert status() == 503, "the queue is full"
        file.write_text("LOCALAI_QUEUE_SIZE=9\nLOCALAI_LOG_LEVEL=debug\n")
        wait_for(lambda: status() == 0, 15, "one more may wait")
        assert server.model_workers() == workers
        wait_for(lambda: f"[{workers[0]}] [DEBUG]" in server.log(), 5, "the worker's log level is the new one")
        for stream in (running, waiting):
            stream.hang_up()


def test_no_request_is_lost_in_reloads(tmp_path: Path) -> None:
    """Streams longer than the reloads run through them, while short requests come one after the other."""
    models, file = models_with_echo(tmp_path), tmp_path / "settings.env"
    file.write_text("LOCALAI_QUEUE_SIZE=1\n")
    with Server(models, tmp_path, LOCALAI_SETTINGS_FILE=str(file), LOCALAI_LOAD_TO_MEMORY="echo") as server:
        assert server.process is not None
        streams = [Stream(server, "x" * 60, pace_ms=200) for _ in range(3)]
        texts = [stream.content() for stream in streams]
        assert [next(text) for text in texts] == ["x"] * 3
        statuses: list[int] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                statuses.append(server.post(CHAT, body("short"))[0])

        asking = [threading.Thread(target=ask) for _ in range(2)]
        for thread in asking:
            thread.start()
        for size in (11, 12, 13):
            before = set(server.web_workers())
            file.write_text(f"LOCALAI_QUEUE_SIZE={size}\n")
            os.kill(server.process.pid, signal.SIGHUP)
            wait_for(lambda size=size: f"LOCALAI_QUEUE_SIZE is now {size}" in server.log(), 10)
            wait_for(lambda before=before: len(set(server.web_workers()) - before) >= 2, 10, "new web workers")
        stop.set()
        for thread in asking:
            thread.join(30)
        assert set(statuses) == {200} and len(statuses) > 10
        assert ["".join(text) for text in texts] == ["x" * 59] * 3
        assert len(server.model_workers()) == 1
        for stream in streams:
            stream.hang_up()
