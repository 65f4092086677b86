"""What llama.cpp's web page reads from this server, by the names and shapes of llama-server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from localai_flask.api.llama_server import events
from localai_flask.errors import ContextOverflow, Unavailable
from localai_flask.generation import Finished, FinishReason, Timings, Usage
from tests.api.fakes import FakePool, says
from tests.support.gguf_models import TOKENS, TRAINED_CONTEXT, random_llama

HELLO = {"messages": [{"role": "user", "content": "hello"}]}
FAMILIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": HELLO,
    "/v1/completions": {"prompt": "hello"},
    "/v1/messages": HELLO,
    "/v1/responses": {"input": "hello", "store": False},
    "/api/chat": HELLO,
    "/api/generate": {"prompt": "hello"},
    "/infill": {"input_prefix": "hello"},
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    random_llama(tmp_path / "tiny.gguf")
    yaml = "name: tiny\ncontext_size: 77\nparameters: {model: tiny.gguf, temperature: 0.25, top_k: 7}\nstopwords: [x]\n"
    (tmp_path / "tiny.yaml").write_text(yaml)
    (tmp_path / "twin.yaml").write_text("name: twin\ncontext_size: 77\nparameters: {model: tiny.gguf}\n")
    (tmp_path / "nick.yaml").write_text("name: nick\nalias: tiny.gguf\n")
    (tmp_path / "other.yaml").write_text("name: other\nbackend: echo\n")
    return tmp_path


class TestProps:
    def test_of_the_server_say_that_it_has_many_models(self, client: FlaskClient, pool: FakePool) -> None:
        props = client.get("/props?autoload=false").get_json()
        assert props["role"] == "router" and props["models_autoload"] is True
        assert props["default_generation_settings"] == {"params": {}, "n_ctx": 0}
        assert props["build_info"].startswith("localai-flask ") and props["cors_proxy_enabled"] is False
        assert pool.configs == []

    def test_of_a_model_that_is_not_loaded_are_those_of_its_files(self, client: FlaskClient, pool: FakePool) -> None:
        props = client.get("/props?model=nick").get_json()
        assert (props["model_alias"], props["model_path"]) == ("nick", "tiny.gguf")
        assert client.get("/props?model=nick:latest").get_json()["model_alias"] == "nick"
        assert client.get("/props?model=tiny.gguf").get_json()["model_alias"] == "tiny"
        assert props["is_sleeping"] is True and props["total_slots"] == 0
        settings = props["default_generation_settings"]
        assert settings["n_ctx"] == 77
        params = settings["params"]
        assert (params["temperature"], params["top_k"], params["stop"]) == (0.25, 7, ["x"])
        assert params["max_tokens"] == params["n_predict"] == -1
        assert params["samplers"][0] == "penalties" and params["samplers"][-1] == "temperature"
        assert pool.configs == []

    def test_of_a_model_that_is_loaded_are_what_its_engine_has_said(self, client: FlaskClient, pool: FakePool) -> None:
        sees = frozenset({"generate", "image"})
        pool.state = {"tiny": "ready"}
        pool.known = {"tiny": msgspec.structs.replace(pool.info, capabilities=sees, slots=3, eos_token="</s>")}
        props = client.get("/props?model=tiny").get_json()
        assert props["is_sleeping"] is False and props["total_slots"] == 3
        assert props["default_generation_settings"]["n_ctx"] == 4096
        assert props["modalities"] == {"vision": True, "audio": False, "video": False}
        assert "<think>" in props["chat_template"] and props["eos_token"] == "</s>"

    def test_of_a_model_that_is_not_there(self, client: FlaskClient) -> None:
        assert client.get("/props?model=nope").get_json()["error"]["code"] == "model_not_found"


def chunks_of(client: FlaskClient, path: str = "/v1/chat/completions", **asked: Any) -> list[dict[str, Any]]:
    response = client.post(path, json={**HELLO, "stream": True, **asked})
    assert response.status_code == 200, response.data
    lines = response.data.decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def test_what_llama_server_has_by_default_can_be_sent(client: FlaskClient, pool: FakePool) -> None:
    defaults = {"t_max_predict_ms": -1, "t_max_prompt_ms": -1, "sse_ping_interval": 30, "id_slot": -1, "n_keep": 0}
    pool.scripts = [says("a")]
    assert client.post("/v1/chat/completions", json={**HELLO, **defaults}).status_code == 200
    assert pool.sampling.t_max_predict_ms == 0, "the engines' word for no limit"
    for name in ("t_max_predict_ms", "sse_ping_interval"):
        refused = client.post("/v1/chat/completions", json={**HELLO, name: -5}).get_json()["error"]
        assert refused["param"] == name and refused["message"].startswith(f"`{name}` must be ")


class TestTimings:
    def test_stand_in_each_chunk_for_those_who_ask(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [says("a", "b", prompt_tokens=9, cached=4), says("a", "b")]
        chunks = chunks_of(client, timings_per_token=True)
        assert "timings" not in chunks[0], "nothing is computed yet"
        spoken = [chunk["timings"] for chunk in chunks if chunk["choices"][0]["delta"].get("content")]
        assert [(each["predicted_n"], each["prompt_n"], each["cache_n"]) for each in spoken] == [(1, 5, 4), (2, 5, 4)]
        assert spoken[0]["predicted_ms"] == 0 < spoken[1]["predicted_ms"] and spoken[1]["prompt_ms"] > 0
        assert not any("timings" in chunk for chunk in chunks_of(client)[:-1])

    def test_go_with_the_usage(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [says("a")]
        *spoken, last = chunks_of(client, timings_per_token=True, stream_options={"include_usage": True})
        assert all(chunk["usage"] is None for chunk in spoken) and spoken[1]["timings"]["predicted_n"] == 1
        assert last["usage"]["completion_tokens"] == 1

    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/infill"])
    def test_are_by_one_clock_to_the_end(self, client: FlaskClient, pool: FakePool, path: str) -> None:
        pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "infill"}))
        end = Finished(FinishReason.MAX_TOKENS, Usage(9, 2), Timings(prompt_ms=1e-4, decode_ms=1e-4, draft_tokens=3))
        pool.scripts = [[*says("a", "b", prompt_tokens=9)[:-1], end]]
        told = [each["timings"] for each in chunks_of(client, path, **FAMILIES[path], timings_per_token=True)[-3:]]
        assert told[0]["prompt_ms"] > 0 and len({each["prompt_ms"] for each in told}) == 1
        spent = [each["predicted_ms"] for each in told]
        assert spent == sorted(spent) and spent[-1] > 0 and told[-1]["draft_n"] == 3

    @pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/api/chat", "/api/generate"])
    def test_are_refused_where_they_are_not_told(self, client: FlaskClient, pool: FakePool, path: str) -> None:
        body = {"max_tokens": 9, **FAMILIES[path], "stream": True}
        refused = client.post(path, json={**body, "timings_per_token": True})
        assert refused.status_code == 400 and "`timings_per_token` is not told by this API." in refused.text
        pool.scripts = [says("a")]
        assert client.post(path, json={**body, "timings_per_token": False}).status_code == 200

    def test_stand_in_those_of_a_completion(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [says("a", "b")]
        first, *_ = chunks_of(client, "/v1/completions", prompt="x", timings_per_token=True)
        assert first["timings"]["predicted_n"] == 1


def test_slots_are_those_that_a_model_has(client: FlaskClient, pool: FakePool, models: Path) -> None:
    assert client.get("/slots?model=tiny").get_json() == [], "it is not loaded"
    pool.known = dict.fromkeys(("tiny", "twin", "other"), msgspec.structs.replace(pool.info, slots=2))
    pool.scripts = [says("a", "b")]
    stream = client.post("/v1/chat/completions", json={**HELLO, "model": "tiny", "stream": True}, buffered=False)
    frames = stream.iter_encoded()
    next(frames)
    slots = client.get("/slots?model=nick").get_json()
    assert [(slot["id"], slot["n_ctx"], slot["is_processing"]) for slot in slots] == [(0, 4096, True), (1, 4096, False)]
    processing = {name: client.get(f"/slots?model={name}").get_json()[0]["is_processing"] for name in pool.known}
    assert processing == {"tiny": True, "twin": True, "other": False}, "twins share a worker"
    (models / "tiny.yaml").write_text("name: renamed\nbackend: echo\n")
    client.post("/models/reload")
    assert not any(slot["is_processing"] for slot in client.get("/slots?model=other").get_json()), "it is not its"
    stream.close()
    assert not any(slot["is_processing"] for slot in client.get("/slots?model=twin").get_json())


def test_an_alias_of_a_file_is_as_loaded_as_its_model(
    client: FlaskClient, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_S", 0.01)
    stream = client.get("/models/sse", buffered=False)
    frames = iter(stream.response)
    next(frames)
    pool.state = {"tiny": "ready"}
    told = [json.loads(line[6:]) for line in next(frames).decode().splitlines() if line]
    assert {each["model"]: each["data"]["status"] for each in told} == dict.fromkeys(("nick", "tiny", "twin"), "loaded")
    stream.close()
    listed = {each["id"]: each["status"]["value"] for each in client.get("/models").get_json()["data"]}
    assert listed == {**dict.fromkeys(("nick", "tiny", "twin"), "loaded"), "other": "unloaded"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_tools_of_its_own_the_server_has_none(client: FlaskClient, method: str) -> None:
    response = client.open("/tools", method=method, json={"tool": "read_file", "params": {}})
    assert (response.status_code, response.get_json()["error"]["code"]) == (403, "feature_disabled")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", HELLO),
        ("/v1/completions", {"prompt": "hello"}),
        ("/v1/messages", {**HELLO, "max_tokens": 9}),
        ("/v1/responses", {"input": "hello"}),
        ("/api/chat", {**HELLO, "stream": False}),
    ],
)
def test_a_prompt_that_does_not_fit_is_counted(
    client: FlaskClient, pool: FakePool, path: str, body: dict[str, Any]
) -> None:
    pool.scripts = [[ContextOverflow(5000, 4096)], [Unavailable("gone")]]
    said = client.post(path, json=body).get_json()
    error = said if "/api/" in path else said["error"]
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (5000, 4096)
    assert "n_ctx" not in client.post("/v1/chat/completions", json=HELLO).get_json()["error"]


@pytest.mark.parametrize("able", [True, False])
def test_reasoning_control_refuses_no_chat(client: FlaskClient, pool: FakePool, able: bool) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", *["end_thinking"] * able}))
    pool.scripts = [says("<think>", "a", "</think>", "b")]
    answer = client.post("/v1/chat/completions", json={**HELLO, "reasoning_control": True}).get_json()
    assert answer["choices"][0]["message"]["reasoning_content"] == "a"
    assert (pool.sampling.thinking is not None) is able


@pytest.mark.parametrize("asked", [{"n_predict": 0}, {"options": {"n_predict": 0}}, {"prompt_only": True}])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", FAMILIES)
def test_a_prompt_can_be_brought_into_the_cache(
    client: FlaskClient, pool: FakePool, path: str, stream: bool, asked: dict[str, Any]
) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "infill"}))
    pool.scripts = [says("Hi", reason=FinishReason.MAX_TOKENS)]
    limit = {"max_tokens": 1} if path == "/v1/messages" and "prompt_only" in asked else {}
    answer = client.post(path, json={**FAMILIES[path], **limit, "stream": stream, **asked})
    assert answer.status_code == 200 and b"Hi" not in answer.data and answer.data
    ends = (b'"finish_reason":"length"', b'"done_reason":"length"', b'"stop_type":"limit"', b'"reason":"max_output')
    assert any(end in answer.data for end in (*ends, b'"stop_reason":"max_tokens"')), answer.data
    assert pool.sampling.max_tokens == 1, "which no engine takes for no limit"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "max_tokens"),
        ("/v1/chat/completions", "max_new_tokens"),
        ("/v1/chat/completions", "max_completion_tokens"),
        ("/v1/completions", "max_tokens"),
        ("/v1/completions", "max_new_tokens"),
        ("/v1/responses", "max_output_tokens"),
        ("/api/chat", "num_predict"),
        ("/api/generate", "num_predict"),
    ],
)
def test_no_tokens_by_other_names_are_a_mistake(client: FlaskClient, path: str, name: str) -> None:
    refused = client.post(path, json={**FAMILIES[path], name: 0}).get_json()["error"]
    said = refused if isinstance(refused, str) else refused["message"]
    assert said.startswith(f"`{name}` must be at least 1"), "it names what was sent"
    assert isinstance(refused, str) or refused["param"] == name


@pytest.mark.parametrize("path", FAMILIES)
@pytest.mark.parametrize("name", ["max_tokens", "n_predict", "num_predict"])
def test_a_limit_below_those_that_mean_none_is_a_mistake(
    client: FlaskClient, pool: FakePool, path: str, name: str
) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "infill"}))
    refused = client.post(path, json={**FAMILIES[path], "stream": False, name: -5})
    assert refused.status_code == 400 and f"`{name}` must be at least" in refused.text
    for none in (-1, -2):
        pool.scripts = [says("Hi")]
        assert client.post(path, json={**FAMILIES[path], "stream": False, name: none}).status_code == 200
        assert pool.sampling.max_tokens == 0, "the engine's word for no limit"


def test_the_pages_name_of_a_sampler_is_read(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Hi")]
    client.post("/v1/chat/completions", json={**HELLO, "typ_p": 0.5})
    assert pool.sampling.typical_p == 0.5


def test_what_a_file_says_is_listed(client: FlaskClient, models: Path) -> None:
    listed = {each["id"]: each for each in client.get("/v1/models").get_json()["data"]}
    size = (models / "tiny.gguf").stat().st_size
    meta = listed["tiny"]["meta"]
    assert meta.pop("n_params") > 20_000
    assert meta == {"n_ctx": 77, "n_ctx_train": TRAINED_CONTEXT, "n_embd": 32, "n_vocab": len(TOKENS), "size": size}
    assert listed["nick"]["meta"]["size"] == size
    assert "meta" not in listed["other"]
