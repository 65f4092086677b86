"""Models in memory on a running server, with the real engine: what is measured, kept, and given back."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support import processes
from tests.support.processes import wait_for
from tests.support.reader import TOY
from tests.support.server import Server

MODELS = """\
- name: small
  parameters: {model: demo.gguf}
  options: ["parallel:1"]
- name: long
  parameters: {model: demo.gguf}
  context_size: 400000
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models, scratch = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("server")
    shutil.copy(TOY, models / "demo.gguf")
    (models / "models.yaml").write_text(MODELS)
    with Server(models, scratch, LOCALAI_MEMORY_BUDGET="600MB") as server:
        yield server


def described(server: Server, name: str) -> Any:
    with urllib.request.urlopen(f"{server.url}/system", timeout=10) as answer:
        return next(model for model in json.load(answer)["models"] if model["id"] == name)


def say(client: openai.OpenAI, model: str, **more: Any) -> None:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hello"}], max_tokens=3, **more
    )
    assert answer.usage is not None and answer.usage.completion_tokens > 0


def test_what_a_worker_takes_is_measured_and_given_back(server: Server, client: openai.OpenAI) -> None:
    say(client, "small")
    (pid,) = server.model_workers()
    wait_for(lambda: described(server, "small")["requests_total"] == 1, 5, "the worker's report")
    found, resident = described(server, "small"), processes.resident_bytes(pid)
    assert 0.5 * resident < found["memory_bytes"] < 1.5 * resident
    assert TOY.stat().st_size < found["memory_expected"] < 4 * found["memory_bytes"], "the estimate is no guess"
    assert [each["pid"] for each in found["workers"]] == [pid]
    assert server.post("/backend/shutdown", {"model": "small"}) == (200, {"message": "model stopped"})
    assert processes.state(pid) == "", "it was answered before the memory was free"


def test_what_cannot_fit_is_refused_in_each_apis_shape(server: Server, client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match=r"Model long needs .* [GM]iB of memory") as refused:
        say(client, "long")
    assert refused.value.status_code == 507
    hello = {"model": "long", "max_tokens": 3, "messages": [{"role": "user", "content": "hello"}]}
    status, answer = server.post("/v1/messages", hello)
    assert (status, answer["type"]) == (507, "error")
    assert "LOCALAI_MEMORY_BUDGET" in answer["error"]["message"]


def test_the_official_client_says_how_long_a_model_stays(server: Server, client: openai.OpenAI) -> None:
    say(client, "small", extra_body={"keep_alive": "1h"})
    wait_for(lambda: 3500 < (described(server, "small")["unloads_in"] or 0) <= 3600, 8, "an hour, and then it leaves")
    say(client, "small", extra_body={"keep_alive": 0})
    wait_for(lambda: described(server, "small")["state"] == "cold", 8, "it leaves at once")
    assert server.model_workers() == []
