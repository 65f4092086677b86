"""Ollama's API: what its clients send and read, beside what the golden conversations and the tables hold."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from localai_flask.api.ollama.models import management
from localai_flask.atomic_file import editing
from localai_flask.errors import ContextOverflow, Unavailable
from localai_flask.gallery.models.digests import Digests
from localai_flask.generation import TokenLogprob
from localai_flask.inquiry import Tokenized
from localai_flask.pool.protocol import ModelReport, ModelState, PoolReport, WorkerReport
from tests.api.fakes import FakePool, says
from tests.support.gguf_models import random_llama

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}


def lines(response: Any) -> list[dict[str, Any]]:
    assert response.mimetype == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


class TestChat:
    def test_a_silent_stream_beats_in_a_way_that_clients_read_over(self, client: FlaskClient, pool: FakePool) -> None:
        pool.loading = [None, 0.5]
        pool.scripts = [says("Hi")]
        response = client.post("/api/chat", json={"model": "tiny", "messages": HELLO})
        assert response.text.startswith(" ") and len(lines(response)) == 2

    def test_what_fails_before_the_stream_is_an_error_with_a_status(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [[Unavailable("gone")]]
        response = client.post("/api/chat", json={"messages": HELLO})
        assert response.status_code == 503 and response.get_json()["error"] == "gone"

    @pytest.mark.parametrize(
        "results",
        [
            [{"content": "1"}, {"content": "2"}],
            [{"content": "1", "tool_name": "get"}, {"content": "2", "tool_name": "get"}],
            [{"content": "2", "tool_call_id": "b"}, {"content": "1", "tool_call_id": "a"}],
        ],
    )
    def test_results_find_their_calls(self, client: FlaskClient, pool: FakePool, results: list[Any]) -> None:
        calls = [{"id": id, "function": {"name": "get", "arguments": {"x": id}}} for id in "ab"]
        if "tool_call_id" not in results[0]:
            calls = [{"function": call["function"]} for call in calls]
        told = [{"role": "tool", **result} for result in results]
        pool.scripts = [says("Well")]
        talk = [*HELLO, {"role": "assistant", "tool_calls": calls}, *told]
        response = client.post("/api/chat", json={"messages": talk, "tools": [TOOL], "stream": False})
        assert response.get_json()["message"]["content"] == "Well"
        written = pool.prompt.text.partition("Hello")[2]
        assert "<tool_response>\n1\n" in written and "<tool_response>\n2\n" in written

    def test_a_result_of_no_call_is_refused(self, client: FlaskClient) -> None:
        response = client.post("/api/chat", json={"messages": [*HELLO, {"role": "tool", "content": "1"}]})
        assert response.status_code == 400 and "messages[1].tool_name" in response.get_json()["error"]

    def test_the_model_goes_on_with_its_own_last_message(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [says(" there")]
        client.post("/api/chat", json={"messages": [*HELLO, {"role": "assistant", "content": "Hi"}]}).close()
        assert pool.prompt.text.endswith("assistant\nHi")

    def test_images_stand_before_the_text(self, client: FlaskClient, pool: FakePool, tmp_path: Path) -> None:
        pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "image"}))
        pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
        asked = [{"role": "user", "content": "See", "images": [pixel]}]
        for path, body in (("/api/chat", {"messages": asked}), ("/api/generate", {"prompt": "See", "images": [pixel]})):
            pool.scripts = [says("a dot")]
            response = client.post(path, json={**body, "stream": False})
            assert response.status_code == 200, response.text
            (image,) = pool.prompt.images
            assert image.data == base64.b64decode(pixel) and pool.prompt.text[image.at :].startswith("See")

    def test_what_is_no_image_is_refused_by_its_place(self, client: FlaskClient) -> None:
        asked = [{"role": "user", "content": "See", "images": ["*"]}]
        response = client.post("/api/chat", json={"messages": asked})
        assert response.get_json()["error"] == "`messages[0].images[0]` is not valid base64."

    def test_logprobs_stand_beside_the_text(self, client: FlaskClient, pool: FakePool) -> None:
        script = says("Hi")
        script[1] = msgspec.structs.replace(script[1], logprobs=[TokenLogprob(1, b"Hi", -0.5, [(1, b"Hi", -0.5)])])
        for stream in (True, False):
            pool.scripts = [script[:]]
            asked = {"messages": HELLO, "logprobs": True, "top_logprobs": 1, "stream": stream}
            response = client.post("/api/chat", json=asked)
            told = lines(response)[0] if stream else response.get_json()
            assert told["logprobs"] == [
                {
                    "token": "Hi",
                    "logprob": -0.5,
                    "bytes": [72, 105],
                    "top_logprobs": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}],
                }
            ]

    def test_options_mean_what_our_own_fields_mean(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [says("Hi")]
        options = {"num_predict": 5, "temperature": 0, "seed": 3, "stop": ["x"], "num_gpu": 1, "repeat_last_n": 9}
        asked = {"messages": HELLO, "options": options, "keep_alive": "-1s", "stream": False}
        assert client.post("/api/chat", json=asked).status_code == 200
        said = pool.sampling
        assert (said.max_tokens, said.temperature, said.seed, said.stop) == (5, 0, 3, ("x",))
        assert said.repeat_last_n == 9 and pool.kept[-1] == -1

    def test_a_wrong_option_is_named_by_its_path(self, client: FlaskClient) -> None:
        response = client.post("/api/chat", json={"messages": HELLO, "options": {"temperature": "hot"}})
        assert response.get_json()["error"].startswith("`options.temperature` ")


LONG = [
    {"role": "system", "content": "Rules stay."},
    *({"role": role, "content": f"{role[0]}{number} " * 50} for number in range(5) for role in ("user", "assistant")),
    {"role": "user", "content": "last"},
]


@pytest.mark.parametrize("stream", [True, False])
def test_the_oldest_turns_of_what_does_not_fit_are_left_out(client: FlaskClient, pool: FakePool, stream: bool) -> None:
    pool.scripts = [[ContextOverflow(200, 100)], says("ok")]
    response = client.post("/api/chat", json={"messages": LONG, "stream": stream})
    end = json.loads(response.text.splitlines()[-1])
    assert 3 <= end["dropped_turns"] <= 5
    assert "Rules stay." in pool.prompt.text and "u0" not in pool.prompt.text and "last" in pool.prompt.text
    pool.scripts = [[ContextOverflow(200, 100)]]
    refused = client.post("/api/chat", json={"messages": LONG, "stream": stream, "truncate": False})
    assert refused.status_code == 400 and "the prompt has 200" in refused.get_json()["error"]
    pool.scripts = [says("ok")]
    response = client.post("/api/chat", json={"messages": LONG, "stream": stream})
    assert "dropped_turns" not in response.text


class TestGenerate:
    def test_a_prompt_is_a_message_unless_it_is_raw(self, client: FlaskClient, pool: FakePool) -> None:
        for raw in (False, True):
            pool.scripts = [says("Hi", " there")]
            told = lines(client.post("/api/generate", json={"prompt": "Hello", "raw": raw}))
            assert [line["response"] for line in told] == ["Hi", " there", ""] and told[-1]["done_reason"] == "stop"
            assert (pool.prompt.text == "Hello") == raw

    def test_what_raw_leaves_no_place_for_is_refused(self, client: FlaskClient) -> None:
        response = client.post("/api/generate", json={"prompt": "Hello", "raw": True, "system": "Be brief."})
        assert response.status_code == 400 and "`system`" in response.get_json()["error"]

    def test_the_memory_of_another_server_is_refused(self, client: FlaskClient, pool: FakePool) -> None:
        response = client.post("/api/generate", json={"prompt": "Hello", "context": [1, 2]})
        assert response.status_code == 400 and "`context`" in response.get_json()["error"]
        pool.scripts = [says("Hi")]
        assert client.post("/api/generate", json={"prompt": "Hello", "context": [], "stream": False}).status_code == 200


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_nothing_to_answer_loads_and_unloads(client: FlaskClient, pool: FakePool, path: str) -> None:
    loaded = client.post(path, json={"model": "tiny", "keep_alive": "5m"}).get_json()
    assert loaded["done"] and loaded["done_reason"] == "load" and pool.kept == [300]
    left = client.post(path, json={"model": "tiny", "keep_alive": 0}).get_json()
    assert left["done_reason"] == "unload" and pool.kept == [300, 0]
    assert not pool.requests


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed"])
def test_a_load_has_the_time_of_its_request(client: FlaskClient, pool: FakePool, path: str) -> None:
    pool.loading = [0.25] * 1_000_000
    refused = client.post(path, json={"model": "tiny", "timeout": 0.05})
    assert refused.status_code == 504 and "was still loading (25 %)" in refused.get_json()["error"]


def test_times_and_counts_add_up(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Hi", " there", prompt_tokens=9, cached=4)]
    begun = time.monotonic()
    told = client.post("/api/chat", json={"messages": HELLO, "stream": False}).get_json()
    took = (time.monotonic() - begun) * 1e9
    parts = told["load_duration"] + told["prompt_eval_duration"] + told["eval_duration"]
    assert 0 < parts <= told["total_duration"] <= took
    assert (told["prompt_eval_count"], told["prompt_cached_count"], told["eval_count"]) == (9, 4, 2)


def test_vectors_in_both_shapes(client: FlaskClient, pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"embed"}))
    told = client.post("/api/embed", json={"model": "tiny", "input": ["a", "b"], "dimensions": 3}).get_json()
    assert [len(vector) for vector in told["embeddings"]] == [3, 3] and told["prompt_eval_count"] == 2
    old = client.post("/api/embeddings", json={"model": "tiny", "prompt": "a"}).get_json()["embedding"]
    new = client.post("/api/embed", json={"model": "tiny", "input": "a"}).get_json()["embeddings"]
    official = client.post("/v1/embeddings", json={"model": "tiny", "input": "a"}).get_json()["data"][0]["embedding"]
    assert new == [old] == [official]
    assert client.post("/api/embed", json={"model": "tiny", "input": []}).get_json()["embeddings"] == []


class TestContext:
    @pytest.fixture
    def models(self, models: Path) -> Path:
        (models / "tiny.yaml").unlink()
        random_llama(models / "small.gguf")
        return models

    def test_a_shorter_context_bounds_prompt_and_answer(self, client: FlaskClient, pool: FakePool) -> None:
        pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "tokenize"}))
        counted: Any = [Tokenized(list(range(12)))]
        for max_tokens, left in ((3, 3), (50, 8), (-1, 8)):
            pool.scripts = [counted[:], says("Hi")]
            options = {"num_ctx": 20, "num_predict": max_tokens}
            asked = {"messages": HELLO, "stream": False, "options": options}
            assert client.post("/api/chat", json=asked).status_code == 200
            assert pool.sampling.max_tokens == left
        pool.scripts = [[Tokenized(list(range(40)))], counted[:], says("Hi")]
        asked = {"messages": LONG, "options": {"num_ctx": 20}, "stream": False}
        assert client.post("/api/chat", json=asked).get_json()["dropped_turns"] > 0
        assert pool.sampling.max_tokens == 8 and "u0" not in pool.prompt.text
        pool.scripts = [counted[:]]
        refused = client.post("/api/chat", json={"messages": HELLO, "options": {"num_ctx": 12}})
        assert refused.status_code == 400 and "maximum context length is 12 tokens (`num_ctx`)" in refused.text
        assert "context_size" not in refused.text, "which would not help"


class TestModels:
    @pytest.fixture
    def models(self, models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        random_llama(models / "small.gguf")
        (models / "second.yaml").write_text("name: team:7b\nalias: small.gguf\n")
        (models / "off.yaml").write_text("name: off\nbackend: echo\ndisabled: true\n")
        return models

    def test_tags_are_true(self, client: FlaskClient, models: Path) -> None:
        listed = {model["name"]: model for model in client.get("/api/tags").get_json()["models"]}
        assert set(listed) == {"small.gguf:latest", "team:7b", "tiny:latest"}
        file, small = models / "small.gguf", listed["small.gguf:latest"]
        assert small["size"] == file.stat().st_size
        assert small["digest"] == hashlib.sha256(file.read_bytes()).hexdigest() == listed["team:7b"]["digest"]
        assert small["details"]["format"] == "gguf" and small["details"]["family"] == "llama"
        assert small["modified_at"].startswith(time.strftime("%Y-%m-%dT", time.gmtime(file.stat().st_mtime)))
        assert len(listed["tiny:latest"]["digest"]) == 64 and listed["tiny:latest"]["size"] == 0

    def test_show_tells_what_the_file_says(self, client: FlaskClient) -> None:
        shown = client.post("/api/show", json={"model": "small.gguf:latest"}).get_json()
        info = shown["model_info"]
        assert info["general.architecture"] == "llama" and info["general.parameter_count"] > 0
        assert info["llama.context_length"] > 0 and info["tokenizer.ggml.tokens"] == []
        assert shown["capabilities"][:2] == ["completion", "tools"] and "num_ctx" in shown["parameters"]
        verbose = client.post("/api/show", json={"name": "small.gguf", "verbose": True}).get_json()
        assert len(verbose["model_info"]["tokenizer.ggml.tokens"]) > 64

    def test_a_model_that_is_not_there(self, client: FlaskClient) -> None:
        for path in ("/api/show", "/api/chat"):
            response = client.post(path, json={"model": "nobody", "messages": HELLO})
            assert response.status_code == 404 and "'nobody'" in response.get_json()["error"]

    def test_ps_lists_what_is_loaded(self, client: FlaskClient, pool: FakePool) -> None:
        assert client.get("/api/ps").get_json() == {"models": []}
        worker = WorkerReport(
            pid=1, is_ready=True, is_leaving=False, memory_bytes=5, cpu_s=0, up_s=1, running=0, waiting=0, taken=1
        )
        report = ModelReport(
            name="small.gguf", backend="llama-cpp", state=ModelState.READY, is_pinned=False, is_required=False,
            need_bytes=5, memory_bytes=5, ready_s=1.0, idle_s=1.0, expires_s=60.0, waited_s=None, error=None,
            workers=[worker],
        )  # fmt: skip
        pool.reports = [PoolReport(models=[report], backends=[], memory_budget=None, max_models=0)]
        (running,) = client.get("/api/ps").get_json()["models"]
        assert running["name"] == "small.gguf:latest" and (running["size"], running["size_vram"]) == (5, 0)
        soon = time.strftime("%Y-%m-%dT", time.gmtime(time.time() + 60))
        assert running["expires_at"].startswith(soon)
        for gpu_bytes, size in ((300, 400), (0, 5)):
            pool.known = {"small.gguf": msgspec.structs.replace(pool.info, memory_bytes=400, gpu_bytes=gpu_bytes)}
            (running,) = client.get("/api/ps").get_json()["models"]
            assert (running["size"], running["size_vram"]) == (size, gpu_bytes)

    def test_a_copy_is_a_second_name(self, client: FlaskClient, pool: FakePool, models: Path) -> None:
        assert client.post("/api/copy", json={"source": "small.gguf", "destination": "mine:latest"}).status_code == 200
        pool.scripts = [says("Hi")]
        assert client.post("/api/chat", json={"model": "mine", "messages": HELLO, "stream": False}).status_code == 200
        assert pool.configs[-1].name == "small.gguf"
        taken = client.post("/api/copy", json={"source": "small.gguf", "destination": "tiny"})
        assert taken.status_code == 400 and "choose another `destination`" in taken.get_json()["error"]
        assert client.delete("/api/delete", json={"model": "mine:latest"}).status_code == 200
        assert (models / "small.gguf").exists() and not (models / "mine.yaml").exists()
        assert client.delete("/api/delete", json={"model": "small.gguf"}).status_code == 200
        assert not (models / "small.gguf").exists()
        assert client.delete("/api/delete", json={"model": "small.gguf"}).status_code == 404

    def test_a_copy_writes_over_nothing_that_came_meanwhile(
        self, client: FlaskClient, models: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        late = models / "late.yaml"

        @contextmanager
        def edit_after_another(folder: Path) -> Iterator[None]:
            late.write_text("name: late\nbackend: echo\n")
            with editing(folder):
                yield

        monkeypatch.setattr(management, "editing", edit_after_another)
        assert client.post("/api/copy", json={"source": "small.gguf", "destination": "late"}).status_code == 400
        assert late.read_text() == "name: late\nbackend: echo\n"


def test_a_tag_may_be_left_out(client: FlaskClient, models: Path, pool: FakePool) -> None:
    (models / "named.yaml").write_text("name: named:latest\nbackend: echo\n")
    pool.scripts = [says("Hi"), says("Hi")]
    for name in ("named", "tiny:latest"):
        response = client.post("/api/chat", json={"model": name, "messages": HELLO, "stream": False})
        assert response.get_json()["model"] == name


@pytest.mark.parametrize("path", ["/api/create", "/api/push", "/api/blobs/sha256:00"])
def test_what_is_not_done_is_refused_by_name(client: FlaskClient, path: str) -> None:
    response = client.post(path, json={"model": "x"})
    assert response.status_code == 400 and len(response.get_json()["error"]) > 30


def test_the_root_says_what_is_looked_for_at_ollamas_port(client: FlaskClient) -> None:
    assert client.get("/", headers={"Host": "localhost:11434"}).text == "Ollama is running"
    assert client.head("/", headers={"Host": "localhost:11434"}).status_code == 200
    assert client.get("/", headers={"Host": "localhost:8080"}).get_json()["name"] == "localai-flask"
    page = client.get("/", headers={"Host": "localhost:11434", "Accept": "text/html,*/*"})
    assert page.mimetype == "text/html"


def test_the_version_is_a_number(client: FlaskClient) -> None:
    parts = client.get("/api/version").get_json()["version"].split(".")
    assert [int(part) for part in parts] >= [0, 6, 4], "what VS Code asks for at least"


RECORDED = sorted((Path(__file__).parents[1] / "data" / "ollama").glob("*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_other_programs_send_is_served(client: FlaskClient, pool: FakePool, path: Path) -> None:
    """Requests as the code of these programs has built them, one after the other."""
    pool.info = msgspec.structs.replace(pool.info, capabilities=pool.info.capabilities | {"constrain", "embed"})
    for recorded in json.loads(path.read_text()):
        body, asks = recorded["body"], recorded["path"] in ("/api/chat", "/api/generate")
        pool.scripts = [says("Well")] if asks and (body.get("messages") or body.get("prompt")) else []
        response = client.open(recorded["path"], method=recorded["method"], json=body)
        assert response.status_code == 200, response.text
        told = [json.loads(line) for line in response.text.splitlines()]
        if recorded["path"] == "/api/chat":
            assert "".join(line["message"]["content"] for line in told) == "Well" and told[-1]["done"]
            assert all(tool["function"]["name"] in pool.prompt.text for tool in body.get("tools", ()))
            results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
            assert all(result in pool.prompt.text for result in results)
            assert pool.sampling.max_tokens == body.get("options", {}).get("num_predict", 0)
            if "format" in body:
                assert "param='format'" in repr(pool.sampling.constraint)


def test_a_client_that_leaves_ends_the_work(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Hi", " there", " you")]
    response = client.post("/api/chat", json={"messages": HELLO}, buffered=False)
    next(iter(response.response))
    assert pool.open == 1
    response.close()
    assert pool.open == 0


class TestPull:
    def test_what_is_there_is_a_success(self, client: FlaskClient) -> None:
        assert lines(client.post("/api/pull", json={"model": "tiny"})) == [{"status": "success"}]
        assert client.post("/api/pull", json={"model": "tiny:latest", "stream": False}).get_json() == {
            "status": "success"
        }


class TestDigests:
    def test_each_sum_is_computed_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file, cache = tmp_path / "a.gguf", tmp_path / "cache" / "digests.json"
        file.write_bytes(b"weights")
        expected = {file: hashlib.sha256(b"weights").hexdigest()}
        assert Digests(tmp_path, cache).find([file], 20.0) == expected
        monkeypatch.setattr("localai_flask.gallery.models.digests._sum_of", lambda file: "never")
        assert Digests(tmp_path, cache).find([file], 20.0) == expected
        os.utime(file, (1, 1))
        assert Digests(tmp_path, cache).find([file], 20.0) == {file: "never"}

    def test_the_blobs_of_other_programs_say_theirs(self, tmp_path: Path) -> None:
        sha256 = hashlib.sha256(b"weights").hexdigest()
        blob, link = tmp_path / "blobs" / f"sha256-{sha256}", tmp_path / "a.gguf"
        blob.parent.mkdir()
        blob.write_bytes(b"weights")
        link.symlink_to(blob)
        assert Digests(tmp_path, tmp_path / "digests.json").find([link], 0.0) == {link: sha256}

    def test_nobody_waits_for_long(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file, may_end = tmp_path / "a.gguf", threading.Event()
        file.write_bytes(b"weights")
        monkeypatch.setattr("localai_flask.gallery.models.digests._sum_of", lambda file: str(may_end.wait(20)))
        digests = Digests(tmp_path, tmp_path / "digests.json")
        assert digests.find([file], 0.05) == {}
        may_end.set()
        assert digests.find([file], 20.0) == {file: "True"}
