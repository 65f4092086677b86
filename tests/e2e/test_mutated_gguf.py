"""A broken model file costs at most the worker that loads it: no listing, no web worker and no other model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from localai_flask.app import create_app
from localai_flask.cli import main
from localai_flask.config import traits
from localai_flask.config.files.gguf import inspect
from localai_flask.config.folder.registry import Registry
from localai_flask.errors import ConfigError
from localai_flask.settings import Settings
from tests.api.fakes import FakePool
from tests.support.server import Server

COUNT = int(os.environ.get("MUTATED_GGUFS", "100"))
"""A longer run loads more of them, and those of other seeds."""
SEED = os.environ.get("MUTATED_GGUFS_SEED", "7")
FAULTS = (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL)
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutated")
    (folder / "echo.yaml").write_text("name: echo\nbackend: echo\n")
    return folder


@pytest.fixture(scope="module")
def loads(folder: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.support.mutated_gguf", str(folder), SEED, str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_is_loaded_or_says_why_or_kills_its_worker_alone(loads: list[dict[str, Any]]) -> None:
    """Nothing hangs, and nothing is raised that the worker would not know as the file's own fault."""
    assert len(loads) == COUNT
    strange = [load for load in loads if load["code"] not in (0, 1, *FAULTS)]
    assert strange == []
    assert all(load["said"] for load in loads if load["code"] == 1)
    ends = Counter(load["code"] for load in loads)
    assert ends[0] > COUNT / 10 and ends[1] > COUNT / 10 and len(ends) > 2, "the files are too good, or too bad"


@pytest.mark.usefixtures("loads")
def test_headers_are_read_or_refused(folder: Path) -> None:
    refused = 0
    for path in folder.glob("*.gguf"):
        for with_vocabulary in (False, True):
            try:
                inspect(path, with_vocabulary=with_vocabulary)
            except ConfigError as error:
                refused += 1
                assert str(path) in str(error) and len(str(error)) < 2000
    assert refused > COUNT / 10


@pytest.mark.usefixtures("loads")
def test_they_are_listed_and_checked_beside_good_ones(folder: Path) -> None:
    settings = Settings(models_path=folder)
    models = Registry(settings).models()
    assert len(models) > COUNT and "echo" in models
    for config in models.values():
        assert traits.context_length(config) is None or isinstance(traits.context_length(config), int)
        traits.capabilities(config)
    listed = create_app(settings, pool=FakePool()).test_client().get("/v1/models")
    assert listed.status_code == 200 and len(listed.get_json()["data"]) == len(models)
    for command in (
        ["models", "check", "--models-path", str(folder)],
        ["models", "list", "--models-path", str(folder)],
    ):
        done = CliRunner().invoke(main, command)
        assert done.exit_code in (0, 1) and (done.exception is None or isinstance(done.exception, SystemExit))


def test_the_server_goes_on(folder: Path, loads: list[dict[str, Any]], tmp_path: Path) -> None:
    fatal = {load["code"]: load["file"] for load in loads if load["code"] in FAULTS}
    refused = [load["file"] for load in loads if load["code"] == 1][:2]
    assert fatal
    with Server(folder, tmp_path, LOCALAI_LOAD_TO_MEMORY="echo") as server:
        web, echo = server.web_workers(), server.model_workers()
        for file in (*fatal.values(), *refused):
            status, answer = server.post(CHAT, {"model": file, "messages": HELLO}, timeout=60)
            refusals = ("model_load_failed", "model_config_invalid", "model_file_changing")
            assert status in (422, 500, 503) and answer["error"]["code"] in refusals
            assert server.post(CHAT, {"model": "echo", "messages": HELLO})[0] == 200
        assert server.web_workers() == web and set(echo) <= set(server.model_workers())
        assert server.status("/readyz") == server.status("/v1/models") == 200
