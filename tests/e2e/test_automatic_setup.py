"""A request that names a model of a hub, which nobody has installed: a job fetches it, and tells how far it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from localai_flask.cli import main
from tests.support.fake_hub import Hub
from tests.support.gguf_models import SAYING, chain_model
from tests.support.processes import wait_for
from tests.support.server import Server

NAME = "acme/tiny-GGUF"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    model = chain_model(tmp_path_factory.mktemp("hub") / "tiny.gguf", SAYING).read_bytes()
    with Hub() as hub:
        hub.add(NAME, {"tiny-Q8_0.gguf": model, "tiny-F16.gguf": model})
        yield hub


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    hub.behaviour.statuses.clear()
    return {"HF_ENDPOINT": hub.root, "HF_HOME": str(tmp_path / "hf"), "XDG_DATA_HOME": str(tmp_path / "data")}


def ask(server: Server, name: str = NAME, key: str = "", **headers: str) -> requests.Response:
    body = {"model": name, "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return requests.post(f"{server.url}/v1/chat/completions", json=body, headers=headers)


def test_a_model_is_fetched_that_a_request_names(hub: Hub, environment: dict[str, str], tmp_path: Path) -> None:
    hub.cdn.behaviour.pause_s = 0.05
    (tmp_path / "models").mkdir()
    with Server(tmp_path / "models", tmp_path, **environment) as server:
        refused = ask(server)
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["Retry-After"]) >= 2 and refused.json()["error"]["code"] == "model_coming"
        assert ask(server).status_code == 503
        answered = ask(server, Prefer="wait=60")
        assert answered.status_code == 200, answered.text
        assert answered.json()["usage"]["completion_tokens"] >= 1  # what it says is chance
        listed = requests.get(f"{server.url}/models/jobs").json()
        assert len(listed) == 1, listed  # one job for all three requests
        assert "Q8_0: the usual choice" in json.dumps(listed) and "takes about" in json.dumps(listed)
        assert [each["id"] for each in requests.get(f"{server.url}/v1/models").json()["data"]] == ["acme__tiny-GGUF"]
        for name in (f"huggingface://{NAME}", f"hf.co/{NAME}", "acme__tiny-GGUF"):
            assert ask(server, name).status_code == 200
        requests.post(f"{server.url}/models/apply", json={"id": f"{NAME}:F16", "name": "mine"}).raise_for_status()
        assert ask(server, "mine").json()["error"]["code"] == "model_coming"
        assert ask(server, "mine", Prefer="wait=60").status_code == 200
    assert (tmp_path / "models/tiny-Q8_0.gguf").exists()


def test_what_was_installed_by_its_address_answers_to_it(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with Server(tmp_path / "models", tmp_path, **environment) as server:
        requests.post(f"{server.url}/models/apply", json={"id": NAME}).raise_for_status()
        wait_for(lambda: requests.get(f"{server.url}/v1/models/tiny").ok, timeout_s=60)
        answered = ask(server)
        assert answered.status_code == 200, answered.text
        assert [each["id"] for each in requests.get(f"{server.url}/v1/models").json()["data"]] == ["tiny"]


def test_what_a_hub_does_not_have_is_said_once(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with Server(tmp_path / "models", tmp_path, **environment) as server:
        refused = ask(server, "acme/none", Prefer="wait=30")
        assert refused.status_code == 400 and "There is no acme/none at" in refused.json()["error"]["message"]
        assert ask(server, "acme/none").status_code == 400
        assert len(requests.get(f"{server.url}/models/jobs").json()) == 1
        assert ask(server, "nothing").status_code == 404
        for hostile in ("../../etc/passwd", "acme/../x", "file:///etc/passwd", "https://127.0.0.1/x.gguf"):
            assert ask(server, hostile, Prefer="wait=30").status_code in (400, 404)
    assert not list((tmp_path / "models").glob("*.gguf"))


@pytest.mark.parametrize(("whose", "status"), [("admin", 404), ("all", 503)])
def test_keys_that_may_not_have_models_fetched(
    hub: Hub, environment: dict[str, str], tmp_path: Path, whose: str, status: int
) -> None:
    (tmp_path / "models").mkdir()
    keys = tmp_path / "keys"
    settings = {"LOCALAI_API_KEY": "boss", "LOCALAI_AUTOLOAD_MODELS": whose}
    made = CliRunner().invoke(main, ["keys", "add", "user", "--file", str(keys)])
    user = made.stdout.split()[-1]
    with Server(tmp_path / "models", tmp_path, **environment, **settings, LOCALAI_API_KEYS_FILE=str(keys)) as server:
        refused = ask(server, key=user)
        assert refused.status_code == status, refused.text
        if status == 404:
            assert "LOCALAI_AUTOLOAD_MODELS" in refused.json()["error"]["message"]
        assert ask(server, key="boss").status_code == 503
        wait_for(lambda: ask(server, key="boss").status_code == 200, 30, "the model has come")
        assert ask(server, key=user).status_code == 200
