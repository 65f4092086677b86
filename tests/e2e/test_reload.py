"""Settings that change while the server runs: by their file and by SIGHUP, and no request takes notice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.e2e.test_life import CHAT, body
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
