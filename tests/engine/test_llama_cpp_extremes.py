"""Sampling parameters at the ends of their ranges, mixed at random: one request never ends the engine of all others."""

from __future__ import annotations

import random
from typing import Any

import pytest

from localai_flask.errors import ApiError
from localai_flask.generation import Failed

MOST = 2**31 - 1
EXTREMES: dict[str, list[Any]] = {
    "temperature": [0, 1e-9, 1, 100.0],
    "top_p": [1e-6, 0.5, 1.0],
    "top_k": [0, 1, MOST],
    "min_p": [0, 0.05, 1.0],
    "typical_p": [1e-6, 0.3, 1.0],
    "top_n_sigma": [-1.0, 0.0, 0.5, 1e9],
    "xtc_probability": [0, 1.0],
    "xtc_threshold": [0, 0.1, 1.0],
    "dynatemp_range": [0, 0.5, 100.0],
    "dynatemp_exponent": [0.0, 50.0],
    "mirostat": [0, 0, 1, 2],
    "mirostat_tau": [0.0, 1000.0],
    "mirostat_eta": [0.0, 100.0],
    "adaptive_target": [-1.0, 0.0, 1.0],
    "adaptive_decay": [0.0, 0.99],
    "dry_multiplier": [0, 1e3],
    "dry_base": [1.0, 1000.0],
    "dry_allowed_length": [0, 2, MOST],
    "dry_penalty_last_n": [-1, 0, MOST],
    "dry_sequence_breakers": [(), ("é", "a" * 40, "😀")],
    "repeat_penalty": [0.01, 1.3, 100.0],
    "repeat_last_n": [-1, 0, 5, MOST],
    "frequency_penalty": [-2.0, 2.0],
    "presence_penalty": [-2.0, 2.0],
    "seed": [-1, 0, 2**32 - 2],
    "stop": [("é", "\x00"), ("\ufffd",)],
    "logit_bias": [dict.fromkeys(range(350), -100.0), {300: 100.0}, {0: 100.0, 1: 100.0}],
    "text_bias": [{"abc": 5.0}, {"é": -100.0}, {"": 3.0}],
    "top_logprobs": [0, 20],
    "preserved": [("<|im_start|>", "</s>", "nope", "")],
}


@pytest.mark.parametrize(
    "sampling",
    [
        {"mirostat": 1, "temperature": 0.0, "dynatemp_range": 0.5},
        {"mirostat": 2, "temperature": 0.0, "xtc_probability": 1.0, "mirostat_tau": 0.0},
    ],
)
def test_mirostat_without_a_temperature_takes_the_likeliest(open_engine, sampling):
    engine = open_engine("llama", "parallel:1")
    plain = engine.generate("abc", max_tokens=20, ignore_eos=True)
    assert engine.generate("abc", max_tokens=20, ignore_eos=True, **sampling).output_tokens == plain.output_tokens


@pytest.mark.parametrize("seed", range(4))
def test_extreme_values_end_at_most_their_own_request(open_engine, seed):
    chance = random.Random(seed)
    engine = open_engine("llama", "parallel:4", context_size=128)
    for _ in range(60):
        wanted = {name: chance.choice(values) for name, values in EXTREMES.items() if chance.random() < 0.35}
        try:
            engine.submit(chance.choice(["abc", "a" * 50, "", "é😀x"]), max_tokens=12, **wanted)
        except ApiError as error:
            assert error.info.status == 400
        if chance.random() < 0.5:
            engine.run()
    engine.run()
    engine.check_books()

    failed = [reply for replies in engine.replies.values() for reply in replies if isinstance(reply, Failed)]
    assert not failed
