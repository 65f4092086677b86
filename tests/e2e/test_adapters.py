"""LoRA adapters as models of a running server: one worker and one set of weights for a model and all its adapters."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.support import gguf_models as models
from tests.support.processes import wait_for
from tests.support.server import Server

BASE = """\
name: base
parameters: {model: base.gguf, temperature: 0}
context_size: 2048
f16: false
flash_attention: "off"
options: ["parallel:12"]
adapters:
  one: one.gguf
"""
OTHER = "name: other\nparent: base\nlora_adapter: loras/other.gguf\nparameters: {max_tokens: 7}\n"
LONG = {"max_tokens": 40, "extra_body": {"ignore_eos": True}}
TEXT = "some text to go on with"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    (path / "loras").mkdir()
    models.random_llama(path / "base.gguf", printable=True)
    for seed, name in enumerate(("one.gguf", "loras/other.gguf", "loras/third.gguf"), 1):
        models.lora_adapter(path / name, seed=seed)
    models.lora_adapter(path / "loras/wide.gguf", width=64)
    models.lora_adapter(path / "loras/qwen.gguf", architecture="qwen2")
    models.lora_adapter(path.parent / "outside.gguf", seed=3)
    (path / "base.yaml").write_text(BASE)
    (path / "other.yaml").write_text(OTHER)
    return path


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(folder, tmp_path_factory.mktemp("server"), LOCALAI_LOAD_TO_MEMORY="base") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def write(client: openai.OpenAI, model: str, **asked: Any) -> str:
    return client.completions.create(model=model, prompt=TEXT, **{**LONG, **asked}).choices[0].text


def load(server: Server, name: str, path: str, **asked: Any) -> httpx.Response:
    body = {"lora_name": name, "lora_path": path, **asked}
    return httpx.post(f"{server.url}/v1/load_lora_adapter", json=body, timeout=30)


def unload(server: Server, name: str) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/unload_lora_adapter", json={"lora_name": name})


@pytest.fixture
def third(server: Server) -> Iterator[str]:
    assert load(server, "third", "loras/third.gguf").text == "Success: LoRA adapter 'third' added successfully."
    yield "third"
    unload(server, "third")


def test_adapters_are_listed_with_their_parent_and_their_files_are_no_models(server, client):
    listed = {model.id: model for model in client.models.list()}
    assert listed.keys() == {"base", "one", "other"}
    assert [listed[name].model_extra.get("parent") for name in ("base", "one", "other")] == [None, "base", "base"]
    assert listed["other"].model_extra["root"] == "loras/other.gguf"
    write(client, "base", max_tokens=1)
    states = lambda: {model.model_extra["state"] for model in client.models.list()}  # noqa: E731
    wait_for(lambda: states() == {"ready"}, 5, "the worker counts for all of them")


def test_each_family_answers_by_an_adapter_with_the_worker_of_its_parent(server, client):
    messages = [{"role": "user", "content": "hello"}]
    chat = {model: client.chat.completions.create(model=model, messages=messages, **LONG) for model in ("base", "one")}
    texts = {model: answer.choices[0].message.content for model, answer in chat.items()}
    assert chat["one"].model == "one" and texts["base"] != texts["one"]

    def post(path: str, **body: Any) -> Any:
        answer = httpx.post(f"{server.url}{path}", json={"model": "one", "ignore_eos": True, **body}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    said = post("/v1/messages", max_tokens=40, messages=messages)
    assert (said["model"], said["content"][0]["text"]) == ("one", texts["one"])
    written = post("/v1/responses", max_output_tokens=40, input="hello")
    assert (written["model"], written["output"][0]["content"][0]["text"]) == ("one", texts["one"])
    moods = {"type": "choice", "instructions": "Mood?", "choices": [{"value": "good"}, {"value": "bad"}]}
    decided = [post("/v1/decisions", model=model, input="hello", questions=[moods]) for model in ("one", "base")]
    assert decided[0]["answers"][0]["probabilities"] != decided[1]["answers"][0]["probabilities"]
    told = post("/api/chat", stream=False, messages=messages, options={"num_predict": 40, "ignore_eos": True})
    assert (told["model"], told["message"]["content"]) == ("one", texts["one"])
    assert len(server.model_workers()) == 1


def test_what_an_adapter_says_in_its_yaml_holds_for_it_alone(client):
    answers = {
        model: client.completions.create(
            model=model, prompt=TEXT, max_tokens=openai.omit, extra_body={"ignore_eos": True}
        )
        for model in ("other",)
    }
    assert answers["other"].usage.completion_tokens == 7


def test_answers_in_company_are_those_given_alone(client, third):
    wanted = ["base", "one", "other", third] * 3
    alone = {model: write(client, model) for model in dict.fromkeys(wanted)}
    assert len(set(alone.values())) == len(alone)
    with ThreadPoolExecutor(len(wanted)) as pool:
        together = list(pool.map(lambda model: write(client, model), wanted))
    assert together == [alone[model] for model in wanted]


def test_adapters_are_there_again_after_a_worker_was_killed(server, client, third):
    before = {model: write(client, model) for model in ("base", "one", third)}
    (worker,) = server.model_workers()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: server.model_workers() not in ([], [worker]), 30, "another worker")
    assert {model: write(client, model) for model in before} == before


def test_a_stream_outlives_the_unloading_of_its_adapter(server, client):
    assert load(server, "leaving", "loras/third.gguf").status_code == 200
    expected = write(client, "leaving", max_tokens=900)
    chunks = iter(client.completions.create(model="leaving", prompt=TEXT, stream=True, **{**LONG, "max_tokens": 900}))
    first = next(chunks).choices[0].text
    assert unload(server, "leaving").text == "Success: LoRA adapter 'leaving' removed successfully."

    def is_gone() -> bool:
        try:
            write(client, "leaving", max_tokens=1)
        except openai.NotFoundError:
            return True
        return False

    wait_for(is_gone, 5, "the adapter is no model any more")
    rest = list(chunks)
    assert first + "".join(chunk.choices[0].text for chunk in rest) == expected
    assert rest[-1].choices[0].finish_reason == "length"
    assert "leaving" not in {model.id for model in client.models.list()}
    assert unload(server, "leaving").status_code == 404


def test_another_adapter_takes_a_name_only_if_that_is_said(server, client, third):
    before = write(client, third)
    again = load(server, third, "one.gguf")
    assert again.status_code == 400 and "load_inplace" in again.json()["error"]["message"]
    assert load(server, third, "one.gguf", load_inplace=True).status_code == 200
    wait_for(lambda: write(client, third) != before, 5, "the other adapter")
    assert write(client, third) == write(client, "one")


@pytest.mark.parametrize(
    ("name", "path", "status", "words"),
    [
        ("new", "../outside.gguf", 400, "leads out of the models folder"),
        ("new", "/etc/passwd", 400, "leads out of the models folder"),
        ("new", "loras/gone.gguf", 404, "There is no adapter"),
        ("new", "x" * 5000, 404, "There is no adapter"),
        ("new", "loras", 400, "is no LoRA adapter"),
        ("new", "base.gguf", 400, "is no LoRA adapter"),
        ("new", "loras/qwen.gguf", 400, "is no LoRA adapter for the model 'base'"),
        ("new", "loras/wide.gguf", 400, "does not fit the model"),
        ("base", "one.gguf", 400, "is that of a model"),
        ("one", "one.gguf", 400, "is loaded already"),
        ("a/b", "one.gguf", 400, "a__b"),
        ("", "one.gguf", 400, "must not be empty"),
        (".x", "one.gguf", 400, "choose another `lora_name`"),
    ],
)
def test_what_cannot_be_loaded_is_refused_and_leaves_nothing(server, folder, name, path, status, words):
    before = sorted(folder.iterdir())
    answer = load(server, name, path)
    assert (answer.status_code, words in answer.json()["error"]["message"]) == (status, True), answer.text
    assert sorted(folder.iterdir()) == before


def test_an_absolute_path_in_the_models_folder_will_do(server, client, folder):
    assert load(server, "whole", str(folder / "one.gguf"), base_model_name="base").status_code == 200
    assert write(client, "whole") == write(client, "one")
    assert unload(server, "whole").status_code == 200


@pytest.mark.parametrize("name", ["one", "other"])
def test_adapters_in_yaml_are_not_unloaded_by_requests(server, client, name):
    refused = unload(server, name)
    assert refused.status_code == 400 and ".yaml" in refused.json()["error"]["message"]
    assert write(client, name, max_tokens=3)


def test_adapters_come_and_go_while_everything_else_answers(server, client):
    alone = {model: write(client, model) for model in ("base", "one")}
    stop, wrong = threading.Event(), []

    def keep_asking(model: str) -> None:
        while not stop.is_set():
            if (text := write(client, model)) != alone[model]:
                wrong.append((model, text))

    threads = [threading.Thread(target=keep_asking, args=(model,)) for model in alone]
    for thread in threads:
        thread.start()
    try:
        for round in range(4):
            assert load(server, f"passing-{round}", "loras/third.gguf").status_code == 200
            assert write(client, f"passing-{round}", max_tokens=3)
            assert unload(server, f"passing-{round}").status_code == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_request_may_choose_among_the_adapters_by_numbers(server, client):
    def numbered(model: str) -> list[dict[str, Any]]:
        return httpx.get(f"{server.url}/lora-adapters", params={"model": model}).json()

    def chosen(model: str, *scales: tuple[int, float]) -> str:
        lora = [{"id": number, "scale": scale} for number, scale in scales]
        return write(client, model, extra_body={"ignore_eos": True, "lora": lora}, max_tokens=40)

    files = ("one.gguf", "loras/other.gguf")
    expected = [{"id": number, "path": file, "scale": 0.0} for number, file in enumerate(files)]

    time.sleep(1.5)  # a web worker may go by what the tests before have unloaded for a second
    assert numbered("base") == expected
    assert [each["scale"] for each in numbered("one")] == [1.0, 0.0]
    alone = {model: write(client, model, max_tokens=40) for model in ("base", "one", "other")}
    assert chosen("base", (0, 1)) == chosen("other", (0, 1)) == alone["one"]
    assert chosen("base", (1, 1)) == alone["other"]
    assert chosen("one") == chosen("one", (0, 0)) == alone["base"]
    both = chosen("base", (0, 0.5), (1, 0.5))
    assert both == chosen("one", (1, 0.5), (0, 0.5)) and both not in alone.values()
    with pytest.raises(openai.BadRequestError, match="`lora` names the adapter 2, and 'base' has 0 to 1"):
        chosen("base", (2, 1))
    refused = httpx.post(f"{server.url}/lora-adapters", json=[{"id": 0, "scale": 0.5}])
    assert refused.status_code == 400 and "send `lora` with a request" in refused.json()["error"]["message"]
