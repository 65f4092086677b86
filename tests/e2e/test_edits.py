"""Files of models that change under a running server: what needs no load gets none, and what does gets one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.e2e.test_life import Stream
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
