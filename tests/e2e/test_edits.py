"""Files of models that change under a running server: what needs no load gets none, and what does gets one."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_life import DEMO, Stream
from tests.support.processes import wait_for
from tests.support.server import Server

ECHO = """\
name: echo
backend: echo
options: [scripted]
limits: {{max_concurrent: {limit}, retry_after_seconds: 3}}
template:
  completion: '{{"say": "{word} {{{{.Input}}}}"}}'
"""


def completion(server: Server, prompt: str, **more: Any) -> Any:
    status, answer = server.post("/v1/completions", {"model": "echo", "prompt": prompt, **more})
    return answer["choices"][0]["text"] if status == 200 else status


def test_an_edited_yaml_holds_from_the_next_request_on_without_a_load(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    yaml = models / "echo.yaml"
    yaml.write_text(ECHO.format(limit=0, word="first"))
    with Server(models, tmp_path) as server:
        assert completion(server, "a") == "first a"
        workers = server.model_workers()
        stream = Stream(server, "x" * 40, pace_ms=100)
        texts = stream.content()
        assert next(texts) == "x"
        yaml.write_text(ECHO.format(limit=1, word="second"))
        wait_for(lambda: completion(server, "a") == 503, 5, "the new limit holds, with the stream at work")
        yaml.write_text(ECHO.format(limit=2, word="third"))
        wait_for(lambda: completion(server, "a") == "third a", 5, "the new template is used")
        assert "".join(texts) == "x" * 39, "the stream went on"
        assert completion(server, "b", stop=["b"]) == "third "
        assert server.model_workers() == workers
        assert server.log().count("loading model echo") == 1
        stream.hang_up()


def test_the_engines_part_of_a_yaml_loads_the_model_anew(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    yaml = models / "echo.yaml"
    yaml.write_text(ECHO.format(limit=0, word="first"))
    with Server(models, tmp_path) as server:
        assert completion(server, "a") == "first a"
        (before,) = server.model_workers()
        yaml.write_text(ECHO.format(limit=0, word="second") + "context_size: 300\n")
        wait_for(lambda: completion(server, "a") == "second a", 10)
        wait_for(lambda: before not in server.model_workers(), 10, "the old worker has left")
        time.sleep(0.5)
        assert len(server.model_workers()) == 1


def copy_slowly(target: Path, steps: int = 8, pause_s: float = 0.4) -> None:
    """Copy as `cp -p` does over a slow line: the first piece holds the header, and the time is set at the end."""
    content = DEMO.read_bytes()
    size = -(-len(content) // steps)
    with open(target, "wb", buffering=0) as file:
        for begin in range(0, len(content), size):
            file.write(content[begin : begin + size])
            time.sleep(pause_s)
    os.utime(target, (1e9, 1e9))


def listed(server: Server) -> list[str]:
    with urllib.request.urlopen(f"{server.url}/v1/models", timeout=5) as answer:
        return [model["id"] for model in json.load(answer)["data"]]


@pytest.mark.parametrize("has_yaml", [False, True], ids=["bare", "yaml"])
def test_a_model_that_is_being_copied_is_loaded_once_when_it_is_whole(tmp_path: Path, has_yaml: bool) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "echo.yaml").write_text("name: echo\nbackend: echo\n")
    if has_yaml:
        (models / "slow.yaml").write_text("name: slow\nparameters: {model: slow.gguf}\n")
    with Server(models, tmp_path) as server:
        copying = threading.Thread(target=copy_slowly, args=[models / "slow.gguf"])
        copying.start()
        wait_for((models / "slow.gguf").exists)
        refusals: list[dict[str, Any]] = []

        def is_served() -> bool:
            status, answer = server.post("/v1/completions", {"model": "slow", "prompt": "a", "max_tokens": 2})
            refusals.append({"status": status, **answer.get("error", {})})
            offered = listed(server)
            if not has_yaml and (models / "slow.gguf").stat().st_size < DEMO.stat().st_size:
                assert offered == ["echo"], "a model that is not whole is not listed"
            return status == 200

        wait_for(is_served, 30, "the model is served")
        assert not copying.is_alive()
        *waits, served = refusals
        assert served["status"] == 200 and len(waits) > 2
        assert {(each["status"], each["code"]) for each in waits} == {(503, "model_file_changing")}
        assert any("% of it is there" in each["message"] for each in waits)
        assert server.log().count("loading model slow") == 1 and "cannot load" not in server.log()
        assert "slow" in " ".join(listed(server))


VARIANT = "- name: {name}\n  parameters: {{model: toy.gguf, temperature: 0, max_tokens: {tokens}}}\n"


def test_variants_of_a_model_share_its_worker(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "toy.gguf").symlink_to(DEMO)
    brief, long = VARIANT.format(name="toy", tokens=3), VARIANT.format(name="'toy:long'", tokens=9)
    (models / "toys.yaml").write_text(brief + long)
    with Server(models, tmp_path) as server:

        def tokens(model: str) -> int:
            asked = {"model": model, "prompt": "Once upon a time", "ignore_eos": True}
            status, answer = server.post("/v1/completions", asked)
            return int(answer["usage"]["completion_tokens"]) if status == 200 else 0

        assert (tokens("toy:long"), tokens("toy")) == (9, 3)
        (worker,) = server.model_workers()
        with urllib.request.urlopen(f"{server.url}/v1/models", timeout=5) as answer:
            states = {each["id"]: each["state"] for each in json.load(answer)["data"]}
        assert states == {"toy": "ready", "toy:long": "ready"}
        (models / "toys.yaml").write_text(long)
        wait_for(lambda: tokens("toy") == 0, 5, "the first one is gone")
        time.sleep(2.5)  # the manager lets models leave that are absent at two looks
        assert tokens("toy:long") == 9
        assert server.model_workers() == [worker], "the other one keeps its worker"
