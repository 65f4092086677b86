"""One engine as it is tested: its models in a running server, a client, and what its library answers by itself."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from tests.contract import own_answers
from tests.contract.engine import Engine, Yaml
from tests.contract.environments import ask_library
from tests.contract.own_answers import Answer
from tests.support import processes
from tests.support.processes import wait_for
from tests.support.server import Server

PROMPTS = (
    "The quick brown fox jumps",
    "A long time ago in a galaxy far, far away",
    "Numbers such as 1, 22 and 333",
    "the dog looks on",
    "x",
    "there was a small model",
    "Where is the plage",
    "over the lazy dog, and",
)
FEW = 4
"""How many of them a real model is asked, which takes longer."""
TOKENS = 24
"""How many tokens the answers to `PROMPTS` have."""
WRITER, EMBEDDER, RANKER, REAL_WRITER, REAL_EMBEDDER = "writer", "embedder", "ranker", "real-writer", "real-embedder"
SEER, ADAPTED = "seer", "adapted"
MAKERS = frozenset((WRITER, EMBEDDER, RANKER, REAL_WRITER, REAL_EMBEDDER, SEER, ADAPTED))
LOAD_S = 240
"""How long a model may take to load on a busy machine, libraries and all."""


class Subject:
    """The engine's server; models are made and loaded when a test needs them first."""

    def __init__(self, engine: Engine, server: Server, models: Path):
        self.engine = engine
        self.server = server
        self.client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=110)
        self._models = models
        self._made: dict[str, Yaml] = {}
        self._own: dict[str, dict[str, Answer]] = {}

    def need(self, model: str) -> str:
        """Return the name of a model that is loaded; skip the test if the engine has none such."""
        maker: Callable[[Path], Yaml] | None = getattr(self.engine, model.replace("-", "_"))
        if maker is None:
            pytest.skip(f"{self.engine.name} has no {model}")
        if model not in self._made:
            folder = self._models / f"{model}-files"
            folder.mkdir(exist_ok=True)  # a maker may have skipped another test
            self._made[model] = self.write_yaml(model, folder, maker(folder))
            self.load(model)
        return model

    def write_yaml(self, name: str, folder: Path, keys: Yaml) -> Yaml:
        """Put a model into the models folder, whose file lies in `folder`; return its YAML."""
        parameters = dict(keys.get("parameters", {}))
        if "model" in parameters:
            parameters["model"] = str((folder / parameters["model"]).relative_to(self._models))
        written = {"backend": self.engine.yaml_name, **keys, "parameters": parameters, "name": name}
        (self._models / f"{name}.yaml").write_text(yaml.safe_dump(written))
        return written

    @property
    def models(self) -> Path:
        return self._models

    def yaml_of(self, model: str) -> Yaml:
        return self._made[self.need(model)]

    def path_of(self, model: str) -> Path:
        return self._models / self.yaml_of(model)["parameters"].get("model", "")

    def load(self, model: str) -> None:
        """Wait until a model's files count as whole, and have it loaded."""
        asked = {"model": model}

        def loaded() -> bool:
            status, answer = self.server.post("/backend/load", asked, timeout=LOAD_S)
            assert status in (200, 404, 503), answer
            return status == 200

        self.server.status("/v1/models?reload=1")
        wait_for(loaded, LOAD_S, f"{model} is loaded")

    def workers_of(self, model: str) -> list[int]:
        """Return the pids of a model's workers."""
        status, system = self.get("/system")
        assert status == 200
        return [worker["pid"] for each in system["models"] if each["id"] == model for worker in each["workers"]]

    def running(self, model: str) -> int:
        """Return how many requests a model has, those that wait included."""
        _, system = self.get("/system")
        (found,) = [each for each in system["models"] if each["id"] == model]
        return int(found["requests_running"] + found["requests_waiting"])

    @property
    def longest(self) -> int:
        """How many tokens an answer to a short prompt may have."""
        return self.context_length(WRITER) - 100

    def need_writing(self, *fields: str) -> None:
        """Skip the test for an engine that computes nothing, or that does not declare to take these fields."""
        if self.engine.is_scripted:
            pytest.skip(f"{self.engine.name} computes no text")
        if not self.takes(*fields):
            pytest.skip(f"{self.engine.name} does not take {', '.join(fields)}")
        self.need(WRITER)

    def context_length(self, model: str) -> int:
        _, described = self.get(f"/v1/models/{self.need(model)}")
        return int(described["context_length"])

    def failure(self, model: str) -> tuple[int, Any]:
        """Ask a model that cannot be loaded, and return the status and the error."""
        self.server.status("/v1/models?reload=1")
        asked = {"model": model, "prompt": "x", "max_tokens": 1}

        def answered() -> tuple[int, Any] | None:
            status, answer = self.server.post("/v1/completions", asked, timeout=LOAD_S)
            return None if status in (404, 503) and "error" in answer and is_settling(answer) else (status, answer)

        return wait_for(answered, LOAD_S, f"{model} is refused")

    def get(self, path: str) -> tuple[int, Any]:
        answer = self.client._client.get(self.server.url + path)
        return answer.status_code, answer.json()

    def tie(self, model: str, alone: bool = False) -> float:
        """Return by how much tokens have to lead to be the same."""
        engine, is_real = self.engine, model == REAL_WRITER
        if alone:
            return engine.real_tie_alone if is_real else engine.tie_alone
        return engine.real_tie if is_real else engine.tie

    @functools.cached_property
    def declared(self) -> dict[str, list[str]]:
        """What the engine declares: the sampling fields, the kinds of constraints and the inputs that it takes."""
        found: dict[str, list[str]] = self._ask_library("takes", "declared", backend=self.engine.yaml_name)
        return found

    def takes(self, *fields: str) -> bool:
        return set(fields) <= set(self.declared["sampling"])

    def capabilities(self, model: str) -> list[str]:
        status, described = self.get(f"/v1/models/{self.need(model)}")
        assert status == 200
        found: list[str] = described["capabilities"]
        return found

    def own_writing(self, model: str = WRITER) -> dict[str, Answer]:
        """Return what the library writes greedily, by prompt."""
        if model not in self._own:
            path = str(self.path_of(model))
            prompts = PROMPTS[:FEW] if model == REAL_WRITER else PROMPTS
            answers = self._ask_library("write", path=path, prompts=list(prompts), max_tokens=TOKENS)
            self._own[model] = dict(zip(prompts, answers, strict=True))
        return self._own[model]

    def own_merged(self, model: str, adapter: str) -> dict[str, Answer]:
        """Return what the library writes greedily with the weights that an adapter makes of a model's, by prompt."""
        path = str(self.path_of(model).parent / f"merged-{adapter}")
        answers = self._ask_library("write", path=path, prompts=list(PROMPTS), max_tokens=TOKENS)
        return dict(zip(PROMPTS, answers, strict=True))

    def own_seeing(self, asked: list[dict[str, Any]], max_tokens: int) -> list[Answer]:
        """Return what the library writes about images, which are in base64; skip the test if it is not asked."""
        module = Path(own_answers.__file__).parent / f"{self.engine.module}.py"
        if "def see(" not in module.read_text():
            pytest.skip(f"{self.engine.name}'s library is not asked about images")
        path = str(self.path_of(SEER))
        found: list[Answer] = self._ask_library("see", path=path, asked=asked, max_tokens=max_tokens)
        return found

    def own_vectors(self, model: str, texts: list[str]) -> list[list[float]]:
        found: list[list[float]] = self._ask_library("embed", path=str(self.path_of(model)), texts=texts)
        return found

    def own_scores(self, model: str, query: str, documents: list[str]) -> list[float]:
        path = str(self.path_of(model))
        found: list[float] = self._ask_library("score", path=path, query=query, documents=documents)
        return found

    def _ask_library(self, verb: str, module: str = "", **arguments: Any) -> Any:
        imports = self.server.environment["PYTHONPATH"]
        return ask_library(self.engine, imports, module or self.engine.module, verb, **arguments)

    def complete(self, prompt: str, model: str = WRITER, **fields: Any) -> Any:
        """Ask for a completion, greedily unless told otherwise."""
        asked = {"temperature": 0, "max_tokens": TOKENS, **fields}
        known = {name: asked.pop(name) for name in list(asked) if name in KNOWN}
        name = model if model not in MAKERS else self.need(model)
        return self.client.completions.create(model=name, prompt=prompt, **known, extra_body=asked or None)

    def text(self, prompt: str, **fields: Any) -> str:
        return str(self.complete(prompt, **fields).choices[0].text)

    def refusal(self, prompt: str = PROMPTS[0], **fields: Any) -> dict[str, Any]:
        """Ask for what is not possible, and return the error."""
        with pytest.raises(openai.BadRequestError) as refused:
            self.complete(prompt, **{"max_tokens": 2, **fields})
        error: dict[str, Any] = refused.value.response.json()["error"]
        return error

    def descendants(self, model: str) -> list[int]:
        """Return a model's workers, and what they have started."""
        found, new = set(), set(self.workers_of(model))
        while new:
            found |= new
            new = {child for pid in new for child in processes.children(pid)} - found
        return sorted(found)


def is_settling(answer: Any) -> bool:
    """Return whether an error only says that a file is new."""
    return answer["error"]["code"] in ("model_file_changing", "model_not_found")


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return how much time of processors some processes have taken, those that are gone aside."""
    total = 0.0
    for pid in pids:
        try:
            fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue
    return total


KNOWN = frozenset(
    {
        *("max_tokens", "temperature", "stop", "seed", "stream", "stream_options", "logprobs", "logit_bias"),
        *("frequency_penalty", "presence_penalty", "top_p", "n", "timeout"),
    }
)
"""The fields that the official client has itself."""


def common_tokens(text: str, own: Answer) -> int:
    """Return with how many of the library's tokens a text begins."""
    seen = ""
    for count, piece in enumerate(own["pieces"]):
        seen += piece
        if not text.startswith(seen):
            return count
    return len(own["pieces"])


def agrees(text: str, own: Answer, tie: float) -> bool:
    """Return whether a text is the library's, but for what follows a token that led by less than a bound."""
    if text == own["text"]:
        return True
    same = common_tokens(text, own)
    return same < len(own["leads"]) and own["leads"][same] < tie
