"""How an engine paces what runs beside streams, by a clock that only what is computed moves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from localai_flask.backends import embedding as embedding_module
from localai_flask.backends.base import Inquiry
from localai_flask.backends.llama_cpp import engine as engine_module
from localai_flask.backends.llama_cpp.scheduling.pace import LEAST_CHUNK, STRETCH
from localai_flask.backends.llama_cpp.scheduling.scheduler import COHORT_S
from localai_flask.generation import Prompt
from localai_flask.inquiry import Embed, Embedded

STEP_S, TOKEN_S = 0.02, 0.004
"""What a step takes, and what each token of a prompt or a text adds."""
LONG = "x" * 200


class Machine:
    """A machine of which each step's time is known; `steps` has each step's tokens and whether it had a prompt."""

    def __init__(self, engine: Any, monkeypatch: pytest.MonkeyPatch, token_s: float):
        self.now, self.token_s = 0.0, token_s
        self.steps: list[tuple[int, bool]] = []
        self.texts: list[int] = []
        model = engine.backend.model
        self._decode = model.decode
        monkeypatch.setattr(model, "decode", self.decode)
        for module in (engine_module, embedding_module):
            monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.now))
        if context := engine.backend.inquiries._context:
            self._compute = context.compute
            monkeypatch.setattr(context, "compute", self.compute)

    def decode(self, batch: Any, *, with_prompt: bool, alone: bool = False) -> None:
        self._decode(batch, with_prompt=with_prompt, alone=alone)
        self.steps.append((batch.size, with_prompt))
        self.now += STEP_S + self.token_s * (batch.size - 1)

    def compute(self, texts: list[Any], position: int = 0) -> Any:
        self.texts.append(sum(map(len, texts)))
        self.now += self.token_s * self.texts[-1]
        return self._compute(texts, position)


@pytest.fixture
def open_machine(open_engine, monkeypatch):
    def open_it(*options: str, token_s: float = TOKEN_S, **config: Any) -> tuple[Any, Machine]:
        engine = open_engine("llama", *options, **config)
        return engine, Machine(engine, monkeypatch, token_s)

    return open_it


def start_stream(engine) -> None:
    """Have a stream run, of which the engine knows how long its steps and a prompt's tokens take."""
    engine.submit("y" * 40, max_tokens=150, temperature=1.0, seed=1)
    engine.step(6)


def test_a_prompt_beside_a_stream_makes_its_steps_a_few_times_as_long(open_machine):
    engine, machine = open_machine("parallel:2")
    start_stream(engine)
    engine.backend._pace._credit = 0  # no step may take longer, as a few short prompts may
    machine.steps.clear()
    begun = machine.now
    job = engine.submit("z" * 199, max_tokens=1)
    engine.step()
    while any(each.job is job for each in engine.backend.scheduler.prefilling):
        engine.step()
    sizes = [size for size, _ in machine.steps]
    assert max(sizes) * TOKEN_S + STEP_S <= (STRETCH + 0.5) * STEP_S
    assert machine.now - begun <= 20 * STRETCH * STEP_S
    assert min(sizes[:-1]) > LEAST_CHUNK


def begin(engine, token: str, count: int, **sampling) -> Any:
    job = engine.submit(token * count, temperature=1.0, ignore_eos=True, **sampling)
    engine.step()
    return job


def test_those_that_begin_together_wait_for_the_prompts_of_the_others(open_machine):
    engine, machine = open_machine("parallel:4", token_s=0.004)
    engine.generate("v" * 100, max_tokens=4, temperature=1.0)
    machine.steps.clear()
    for token, length in zip("abcd", (40, 130, 130, 40), strict=True):
        begin(engine, token, length, max_tokens=5)
    engine.run()
    assert [size for size, _ in machine.steps][-4:] == [4, 4, 4, 4]


def test_long_prompts_are_not_waited_for(open_machine):
    engine, _ = open_machine("parallel:4", token_s=1.1 * COHORT_S / 220)
    engine.generate("v" * 100, max_tokens=4, temperature=1.0)
    first = begin(engine, "a", 40, max_tokens=9)
    for token in "bc":
        engine.submit(token * 110, temperature=1.0)
    engine.step()
    assert len(engine.backend.scheduler.prefilling) == 2
    assert len(first.output_tokens) == 2


def test_nobody_waits_for_ever_for_those_that_come_later(open_machine):
    engine, machine = open_machine("parallel:4", token_s=COHORT_S / 250)
    engine.generate("v" * 100, max_tokens=4, temperature=1.0)
    first = begin(engine, "a", 40, max_tokens=9)
    begun = machine.now
    for token in "bcd":
        begin(engine, token, 100, max_tokens=1)
    assert 0.7 * COHORT_S <= machine.now - begun <= COHORT_S
    assert len(first.output_tokens) == 2


def test_a_stream_that_runs_does_not_wait_for_a_prompt(open_machine):
    engine, _ = open_machine("parallel:2")
    engine.generate("v" * 100, max_tokens=4, temperature=1.0)
    first = begin(engine, "a", 40, max_tokens=99)
    engine.step()
    before = len(first.output_tokens)
    begin(engine, "b", 199, max_tokens=4)
    assert len(first.output_tokens) == before + 1


def test_a_prompt_alone_is_computed_as_fast_as_the_machine_shows_to_be(open_machine):
    for token_s, sizes in ((0.0001, [199]), (0.05, [64, 64, 71])):
        engine, machine = open_machine(token_s=token_s)
        engine.generate("w" * 100, max_tokens=1, temperature=1.0)
        machine.steps.clear()
        engine.generate("z" * 199, max_tokens=1, temperature=1.0)
        assert [size for size, _ in machine.steps] == sizes


def test_steps_with_a_prompt_have_the_threads_of_prompts(open_machine):
    engine, machine = open_machine()
    engine.generate("v" * 30, max_tokens=4)
    assert [with_prompt for _, with_prompt in machine.steps] == [True, False, False, False]


def test_texts_to_embed_share_the_time_with_streams(open_machine):
    engine, machine = open_machine("parallel:2", embeddings=True)

    def embed(number: int) -> int:
        """Return in how many steps a text is embedded."""
        machine.texts.clear()
        engine.replies[number] = []
        engine.backend.start_inquiry(Inquiry(number, Embed(Prompt(LONG)), group=0))
        while not engine.replies[number]:
            engine.step()
        assert isinstance(engine.replies[number][-1], Embedded)
        return len(machine.texts)

    for number in range(1001, 1020):  # and so learns how fast this machine is
        assert embed(number) == 1
    start_stream(engine)
    begun = machine.now
    steps = embed(1020)
    assert 3 < steps <= 20
    assert machine.now - begun <= steps * (STRETCH + 1) * STEP_S
    assert max(machine.texts) * TOKEN_S <= STRETCH * STEP_S
