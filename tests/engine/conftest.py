"""Tiny GGUF files, and a llama.cpp backend that is stepped by hand and told apart job by job.

The library is imported by the fixtures alone, since tests of other engines run where it is not installed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from localai_flask.backends.base import Job
from localai_flask.config.blocks import Parameters
from localai_flask.config.model import ModelConfig
from localai_flask.generation import Delta, Failed, Finished, Prompt, Reply
from localai_flask.sampling_params import SamplingParams
from tests.support.fronted import Fronted

if TYPE_CHECKING:
    from localai_flask.backends.llama_cpp.engine import LlamaCppBackend


class Engine:
    """A loaded backend with everything it said so far."""

    temperature = 0.0

    def __init__(self, backend: LlamaCppBackend):
        self.backend = cast("LlamaCppBackend", Fronted(backend))
        self.replies: dict[int, list[Reply]] = {}
        self._ids = itertools.count(1)

    def submit(self, prompt: str | list[int] | Prompt, **sampling) -> Job:
        """Queue a job; greedy unless told otherwise."""
        if isinstance(prompt, str):
            prompt = Prompt(prompt)
        elif isinstance(prompt, list):
            prompt = Prompt(tokens=prompt)
        job = Job(next(self._ids), prompt, SamplingParams(**{"temperature": self.temperature, **sampling}))
        self.backend.submit(job)
        self.replies[job.id] = []
        return job

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            for job_id, reply in self.backend.step():
                self.replies[job_id].append(reply)

    def run(self) -> None:
        """Step until nothing is left."""
        while not self.backend.is_idle:
            self.step()

    def rest(self) -> None:
        """Let the engine do what it does while nobody asks for anything."""
        until = time.monotonic() + 20
        while (left := self.backend.rest_s) is not None:
            assert time.monotonic() < until
            time.sleep(min(left, 0.05))
            self.step()
        self.check_books()

    def generate(self, prompt: str | list[int] | Prompt, **sampling) -> Job:
        """Run one job to its end."""
        job = self.submit(prompt, **sampling)
        self.run()
        return job

    def of(self, job: Job, kind: type) -> list:
        """Return the replies of one kind that a job got."""
        return [reply for reply in self.replies[job.id] if isinstance(reply, kind)]

    def text(self, job: Job) -> str:
        return "".join(delta.text for delta in self.of(job, Delta))

    def end(self, job: Job) -> Finished:
        """Return a job's last word, which must be a good one and the only one."""
        *others, last = self.replies[job.id]
        assert isinstance(last, Finished)
        assert not any(isinstance(reply, Finished | Failed) for reply in others)
        return last

    def check_books(self) -> None:
        """Compare what the slots are said to hold with what the library holds."""
        from localai_flask.backends.llama_cpp.cache.branches import count_cells
        from localai_flask.backends.llama_cpp.model.library import lib

        memory, cache = self.backend.model.memory, self.backend.cache
        for slot in cache.slots:
            if not slot.length or slot.tokens[slot.length - 1] >= 0:  # those of an image share their positions
                assert lib.llama_memory_seq_pos_max(memory, slot.id) == slot.position - 1
            assert [part.length for part in slot.checkpoints] == sorted({part.length for part in slot.checkpoints})
            assert all(part.length <= slot.length for part in slot.checkpoints)
        if not self.backend.model.is_recurrent:
            assert self.count_cells() == count_cells(cache.slots)
        assert cache.store.size == sum(entry.size for entry in cache.store.entries)
        assert cache.store.limit is None or cache.store.size <= cache.store.limit

    def count_cells(self) -> int:
        """Count the cells in use in the library, which tells the number behind four others of a whole state."""
        from localai_flask.backends.llama_cpp.cache.states import States

        return int(States(self.backend.model.context).read(-1)[:16].view("int32")[3])


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tiny model of each kind."""
    from tests.support import gguf_models as models

    folder = tmp_path_factory.mktemp("gguf")
    return {
        "llama": models.random_llama(folder / "llama.gguf"),
        "gemma3": models.random_gemma3(folder / "gemma3.gguf"),
        "mamba": models.random_mamba(folder / "mamba.gguf"),
        "rwkv7": models.random_rwkv7(folder / "rwkv7.gguf"),
        "jamba": models.random_jamba(folder / "jamba.gguf"),
        "infill": models.random_llama(folder / "infill.gguf", marks=models.FIM_MARKS),
        "middle": models.chain_model(folder / "middle.gguf", models.MIDDLE, marks=models.FIM_MARKS),
        "chain": models.chain_model(folder / "chain.gguf", models.SAYING),
        "no-bos": models.chain_model(folder / "no-bos.gguf", models.SAYING, bos=False),
    }


def load_engine(path: Path, *options: str, context_size: int | None = 256, **config) -> Engine:
    """Load a model; the caller closes the backend."""
    from localai_flask.backends.llama_cpp.engine import LlamaCppBackend

    backend = LlamaCppBackend()
    backend.load(
        ModelConfig(
            name="tiny",
            models_path=str(path.parent),
            parameters=Parameters(model=path.name),
            context_size=context_size,
            options=options,
            **config,
        ),
        lambda fraction: None,
    )
    return Engine(backend)


@pytest.fixture
def hardly_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have requests take the likeliest token without asking for it, since those that do take less from the cache."""
    monkeypatch.setattr(Engine, "temperature", 1e-4)


@pytest.fixture
def open_engine(gguf: dict[str, Path]) -> Iterator[Callable[..., Engine]]:
    """Load a model by its name above; closed at the end of the test."""
    engines: list[Engine] = []

    def load(name: str = "llama", *options: str, **config) -> Engine:
        engines.append(load_engine(gguf[name], *options, **config))
        return engines[-1]

    yield load
    for engine in engines:
        engine.backend.close()
