"""Attention is computed in the way that a measurement at load finds faster."""

from __future__ import annotations

from pathlib import Path

import pytest

from localai_flask.config.model import ModelConfig
from localai_flask.settings import Settings

pytest.importorskip("llama_cpp")

from localai_flask.backends.llama_cpp.cache.states import States
from localai_flask.backends.llama_cpp.model import attention
from localai_flask.backends.llama_cpp.model.attention import (
    BUDGET_S,
    LONGEST_STEP_S,
    LONGEST_TOKEN_S,
    ROUNDS,
    compare,
    plain_ubatch,
)
from localai_flask.backends.llama_cpp.model.context import context_params
from localai_flask.backends.llama_cpp.options.options import read_options
from tests.engine.conftest import load_engine


@pytest.mark.parametrize(
    ("slots", "keys", "n_ubatch"),
    [
        (4, {}, 128),
        (4, {"options": ("n_ubatch:32",)}, 32),
        (4, {"batch": 64}, 64),
        (5, {}, 128),
        (4, {"context_size": 8192}, 128),
        (4, {"context_size": 16384}, 0),
        (4, {"flash_attention": "on"}, 0),
        (8, {"flash_attention": "off"}, 0),
        (4, {"cache_type_v": "q8_0"}, 0),
        (4, {"options": ("rpc_servers:127.0.0.1:1",)}, 0),
    ],
)
def test_the_plain_way_is_tried_where_nobody_has_chosen_and_its_numbers_fit(slots, keys, n_ubatch):
    options = read_options(ModelConfig(name="m", models_path=Path("/"), **keys), Settings())
    params = context_params(options, slots, keys.get("context_size", 256), 16)
    assert plain_ubatch(params, options, slots, heads=32) == n_ubatch


class Clock:
    """Shows the time that steps are said to take."""

    def __init__(self):
        self.now = 0.0
        self.steps = 0

    def __call__(self) -> float:
        return self.now

    def step(self, seconds: float) -> None:
        self.now += seconds
        self.steps += 1


def test_the_share_of_the_time_is_that_of_most_steps():
    clock = Clock()
    slow = iter([0.1, *[0.001] * 3, 0.1, *[0.001] * ROUNDS])
    share = compare(lambda: clock.step(next(slow)), lambda: clock.step(0.002), clock)
    assert share == pytest.approx(0.5)
    assert clock.steps == 2 * (ROUNDS + 1)


def test_a_comparison_ends_with_its_time_and_long_steps_are_not_repeated():
    clock = Clock()
    assert compare(lambda: clock.step(BUDGET_S / 3), lambda: clock.step(BUDGET_S / 3), clock) == pytest.approx(1)
    assert clock.steps == 4
    clock = Clock()
    assert compare(lambda: clock.step(2 * LONGEST_STEP_S), lambda: clock.step(0.001), clock) == 1
    assert clock.steps == 1


@pytest.mark.parametrize(("worth", "uses_flash"), [(1e9, False), (0, True)])
def test_a_model_is_loaded_with_the_way_that_was_faster(gguf, monkeypatch, worth, uses_flash):
    filled = []

    def measure(one, other):
        for way in (one, other):
            probe, streams = way.func.__self__, way.args[0]
            way()
            filled.append((int(States(probe.context).read(-1)[:16].view("int32")[3]), streams))
        return 1.0

    monkeypatch.setattr(attention, "compare", measure)
    monkeypatch.setattr(attention, "WORTH_IT", worth)
    engine = load_engine(gguf["llama"], "parallel:3", context_size=1024)
    try:
        assert engine.backend.model.uses_flash == uses_flash
        assert filled == [(512, 1), (512, 1), (1536, 3), (1536, 3)]
        assert engine.text(engine.generate([5, 6, 7], max_tokens=4))
    finally:
        engine.backend.close()


def test_a_model_whose_tokens_take_long_is_not_measured(gguf, monkeypatch):
    monkeypatch.setattr(attention, "time_of", lambda _: 2 * LONGEST_TOKEN_S)
    monkeypatch.setattr(attention, "compare", lambda *_: pytest.fail("this would take seconds"))
    engine = load_engine(gguf["llama"], context_size=1024)
    assert engine.backend.model.uses_flash
    engine.backend.close()
