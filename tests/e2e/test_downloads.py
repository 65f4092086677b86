"""A model whose YAML says where its file is: the first request has it fetched, by the model's worker."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.package_index import Index
from tests.support.processes import wait_for
from tests.support.server import Server

YAML = """\
name: it
backend: echo
options: [scripted]
download_files: [{filename: it.dat, uri: "pypi://some-model==1.0/m/it.dat"}]
"""
ASKED = {"model": "it", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as index:
        yield index


@pytest.fixture
def server(index: Index, tmp_path: Path) -> Iterator[Server]:
    models = tmp_path / "models"
    models.mkdir()
    (models / "it.yaml").write_text(YAML)
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.url, "PIP_EXTRA_INDEX_URL": ""}
    with Server(models, tmp_path, LOCALAI_MODEL_LOAD_FAILURE_COOLDOWN="0.5", **pip) as server:
        yield server


def test_the_first_request_starts_the_download_and_the_next_one_waits_for_it(
    index: Index, server: Server, tmp_path: Path
) -> None:
    content = os.urandom(2_000_000)
    index.add("some-model", "1.0", {"m/it.dat": content})
    index.behaviour.pause_s = 0.1
    for stream in (False, True):
        refused = requests.post(f"{server.url}/v1/chat/completions", json={**ASKED, "stream": stream})
        assert refused.status_code == 503 and 2 <= int(refused.headers["Retry-After"]) <= 60
        error = refused.json()["error"]
        assert error["code"] == "model_coming" and "of model it are being fetched (" in error["message"]
    waiting = {"Prefer": "respond-async, wait=30"}
    answered = requests.post(f"{server.url}/v1/chat/completions", json=ASKED, headers=waiting)
    assert answered.status_code == 200, answered.text
    assert (tmp_path / "models/it.dat").read_bytes() == content
    assert re.search(r"fetching model it: \d of 2 MB, [0-9.]+ MB/s", server.log())
    assert len(index.asked) == 1


def test_a_download_that_fails_is_an_error_with_its_reason_and_is_tried_again(index: Index, server: Server) -> None:
    refused = requests.post(f"{server.url}/v1/chat/completions", json=ASKED, headers={"Prefer": "wait=30"})
    assert refused.status_code == 422
    assert "There is no package some-model with a wheel" in refused.json()["error"]["message"]
    index.behaviour.statuses = [403]
    index.add("some-model", "1.0", {"m/it.dat": b"it"})

    def answered() -> bool:
        return server.post("/v1/chat/completions", ASKED)[0] == 200

    wait_for(answered, 20, "the download has worked")
