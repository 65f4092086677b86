"""The narrowed samplers against llama.cpp's whole chain over a large vocabulary: the same chances, token by token."""

from __future__ import annotations

import ctypes
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from localai_flask.sampling_params import SamplingParams

SIZE = 20_011
"""Not a multiple of the blocks' number, nor of eight."""
PROMPT = [7, 8, 9, 10, 7, 8, 9, 10, 7, 8]
EVERYTHING = {"top_k": 0, "top_p": 1.0}


def make_row(spread: float = 2.0, seed: int = 0) -> np.ndarray:
    """Logits with 300 likely tokens, among them the prompt's."""
    rng = np.random.default_rng(seed)
    row = rng.standard_normal(SIZE).astype(np.float32) * spread
    row[rng.choice(SIZE, 300, replace=False)] += np.linspace(12, 4, 300, dtype=np.float32)
    row[[7, 8, 9, 10]] += 9
    return row


class Rows:
    """Stands in for the logits of a decoded batch."""

    def __init__(self, row: np.ndarray):
        from localai_flask.backends.llama_cpp.sampling.candidates import Candidates

        self.candidates = Candidates(SIZE)
        self._row = row

    def row(self, index: int) -> np.ndarray:
        return self._row


@pytest.fixture
def vocabulary(open_engine):
    """A large vocabulary, whose DRY breakers are looked for in a small one."""
    handle = open_engine("llama").backend.model.vocabulary.handle

    class Vocabulary(SimpleNamespace):
        __hash__ = object.__hash__

    return Vocabulary(
        handle=handle, size=SIZE, suppressed=(), ends=frozenset({2}), piece=lambda token: b"", tokens=lambda text: [8]
    )


def make_sampler(params, vocabulary, row, **options):
    from localai_flask.backends.llama_cpp.sampling.sampler import Sampler

    return Sampler(params, vocabulary, Rows(row), 4096, PROMPT, **options)


def chances(sampler) -> dict[int, float]:
    """Return what the last choice was made from."""
    array = sampler._logits.candidates._array
    return {array.data[i].id: array.data[i].p for i in range(array.size) if array.data[i].p > 0}


def whole_chain(params: SamplingParams, vocabulary, row: np.ndarray, biases: dict[int, float]):
    """Run llama.cpp's own order over every token; give the token and the chances that it was drawn from."""
    from localai_flask.backends.llama_cpp.model.library import lib

    p, last = params, 64
    breakers = (ctypes.c_char_p * len(p.dry_sequence_breakers))(*(text.encode() for text in p.dry_sequence_breakers))
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    bias = (lib.llama_logit_bias * len(biases))(*biases.items())
    steps = [
        lib.llama_sampler_init_logit_bias(SIZE, len(biases), bias),
        lib.llama_sampler_init_penalties(SIZE, last, p.repeat_penalty, p.frequency_penalty, p.presence_penalty),
        lib.llama_sampler_init_dry(
            *(vocabulary.handle, p.dry_multiplier, p.dry_base, p.dry_allowed_length, last, breakers, len(breakers))
        ),
        lib.llama_sampler_init_top_n_sigma(p.top_n_sigma),
        lib.llama_sampler_init_top_k(p.top_k),
        lib.llama_sampler_init_typical(p.typical_p, 1),
        lib.llama_sampler_init_top_p(p.top_p, 1),
        lib.llama_sampler_init_min_p(p.min_p, 1),
        lib.llama_sampler_init_xtc(p.xtc_probability, p.xtc_threshold, 1, p.seed),
        lib.llama_sampler_init_temp_ext(p.temperature, p.dynatemp_range, p.dynatemp_exponent),
        lib.llama_sampler_init_dist(p.seed)
        if p.adaptive_target < 0
        else lib.llama_sampler_init_adaptive_p(p.adaptive_target, p.adaptive_decay, p.seed),
    ]
    for step in steps:
        lib.llama_sampler_chain_add(chain, step)
    for token in PROMPT:
        lib.llama_sampler_accept(chain, token)
    data = (lib.llama_token_data * SIZE)(*((token, logit, 0.0) for token, logit in enumerate(row.tolist())))
    array = lib.llama_token_data_array(data, SIZE, -1, False)
    lib.llama_sampler_apply(chain, ctypes.byref(array))
    token = array.data[array.selected].id
    found = {array.data[i].id: array.data[i].p for i in range(array.size) if array.data[i].p > 0}
    lib.llama_sampler_free(chain)
    return token, found


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"top_k": 1},
        {"top_k": 300, "min_p": 0.02},
        {"top_k": 3000},
        {"top_k": 0},
        {"top_k": 0, "top_p": 0.5, "min_p": 0.1},
        {"top_k": 0, "top_p": 0.99},
        {"top_k": 0, "top_p": 1.0, "min_p": 0.01},
        {"top_k": 50, "typical_p": 0.6},
        {"top_k": 0, "typical_p": 0.6},
        {"top_k": 0, "typical_p": 0.95},
        {"top_k": 0, "typical_p": 0.2, "temperature": 2.0},
        {"top_n_sigma": 1.5, "top_k": 0, "top_p": 1.0},
        {"top_n_sigma": 2.0},
        {"repeat_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.4},
        {"repeat_penalty": 1.3, "top_k": 0},
        {"dry_multiplier": 3.0, "top_k": 0, "top_p": 0.8},
        {"dry_multiplier": 3.0, "dry_allowed_length": 1, "dry_base": 2.0, "dry_sequence_breakers": (":",)},
        {"logit_bias": {9: 20.0, 11: -100.0}},
        {"logit_bias": {19_000: 30.0}, "repeat_penalty": 2.0, "top_k": 0},
        {"xtc_probability": 1.0, "xtc_threshold": 0.02},
        {"xtc_probability": 1.0, "xtc_threshold": 0.02, **EVERYTHING},
        {"dynatemp_range": 0.5, "dynatemp_exponent": 2.0},
        {"adaptive_target": 0.3},
        {"temperature": 0.05, "top_k": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("spread", [1.0, 2.5])
def test_narrowed_chances_are_those_of_the_whole_chain(vocabulary, asked, spread):
    params = SamplingParams(**{"temperature": 0.8, "seed": 5, **asked})
    row = make_row(spread)
    token, expected = whole_chain(params, vocabulary, row, params.logit_bias)
    sampler = make_sampler(params, vocabulary, row.copy())
    drawn = sampler.sample(0)
    found = chances(sampler)
    sampler.close()

    assert drawn == token
    # A token on the edge of a limit may fall to either side, as sums over 20,000 tokens are rounded in another order.
    assert len(found.keys() ^ expected.keys()) <= 1 + len(expected) // 1000
    assert sum(abs(found.get(each, 0) - expected.get(each, 0)) for each in found | expected) < 2e-3


def test_temperature_alone_draws_by_the_whole_distribution(vocabulary):
    from localai_flask.backends.llama_cpp.sampling.candidates import Candidates

    row, temperature = make_row(), 1.7
    weights = np.exp((row - row.max()).astype(np.float64) / temperature)
    weights /= weights.sum()
    candidates = Candidates(SIZE)
    drawn = Counter()
    for chance in np.linspace(0, 1, 20_000, endpoint=False):
        block = candidates.draw_block(candidates.weights(row, float(row.max()), temperature), chance)
        drawn[int(block[0])] += 1
    blocks = [np.arange(first, SIZE // 1024 * 1024, 1024) for first in range(1024)]
    blocks.append(np.arange(SIZE // 1024 * 1024, SIZE))
    for block in blocks:
        assert drawn[int(block[0])] / 20_000 == pytest.approx(weights[block].sum(), abs=1.1e-4)

    sampler = make_sampler(SamplingParams(temperature=temperature, seed=1, **EVERYTHING), vocabulary, row)
    sampler.sample(0)
    block = sorted(chances(sampler))
    inside = weights[block] / weights[block].sum()
    assert [chances(sampler)[token] for token in block] == pytest.approx(inside.tolist(), rel=1e-4)
    sampler.close()


@pytest.mark.parametrize("asked", [{}, {"top_k": 0}, EVERYTHING, {"repeat_penalty": 1.5, "top_k": 0}], ids=str)
def test_a_mask_leaves_the_distribution_among_what_is_allowed(vocabulary, asked):
    params = SamplingParams(temperature=1.0, seed=3, **asked)
    allowed = np.zeros(SIZE, bool)
    allowed[[5, 9, 17_000, SIZE - 1]] = True
    guide = SimpleNamespace(is_armed=True, allows=lambda t: bool(allowed[t]), allowed=lambda: allowed, accept=id)
    row = make_row()
    masked = np.where(allowed, row, -np.inf).astype(np.float32)
    sampler = make_sampler(params, vocabulary, row, guide=guide)
    token = sampler.sample(0)
    found = chances(sampler)
    sampler.close()

    assert allowed[token] and allowed[list(found)].all()
    if asked is not EVERYTHING:
        _, expected = whole_chain(params, vocabulary, masked, {})
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("mirostat", "tau"), [(1, 0.4), (1, 1.5), (1, 4.0), (2, 0.4), (2, 1.5), (2, 4.0)])
@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_mirostat_keeps_what_llama_cpps_keeps(vocabulary, mirostat, tau, temperature):
    from localai_flask.backends.llama_cpp.model.library import lib
    from localai_flask.backends.llama_cpp.sampling import mirostat as ours
    from localai_flask.backends.llama_cpp.sampling.candidates import Candidates

    row = make_row()
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(temperature))
    theirs = (
        lib.llama_sampler_init_mirostat(SIZE, 1, tau, 0.1, 100)
        if mirostat == 1
        else lib.llama_sampler_init_mirostat_v2(1, tau, 0.1)
    )
    lib.llama_sampler_chain_add(chain, theirs)
    data = (lib.llama_token_data * SIZE)(*((token, logit, 0.0) for token, logit in enumerate(row.tolist())))
    array = lib.llama_token_data_array(data, SIZE, -1, False)
    lib.llama_sampler_apply(chain, ctypes.byref(array))
    expected = {array.data[i].id: array.data[i].p for i in range(array.size)}
    lib.llama_sampler_free(chain)

    keep = ours.keep_likeliest if mirostat == 1 else ours.keep_expected
    ids, weights = keep(Candidates(SIZE), row, temperature, 2 * tau)
    found = dict(zip(ids.tolist(), (weights / weights.sum()).tolist(), strict=True))
    assert len(found.keys() ^ expected.keys()) <= 1
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("mirostat", [1, 2])
def test_mirostat_steers_towards_its_surprise(vocabulary, mirostat):
    row = make_row() / 2
    logprobs = row - math.log(np.exp(row.astype(np.float64)).sum())
    surprise = {}
    for tau in (1.0, 6.0):
        params = SamplingParams(temperature=1.0, mirostat=mirostat, mirostat_tau=tau, mirostat_eta=0.2, seed=1)
        sampler = make_sampler(params, vocabulary, row)
        surprise[tau] = -np.mean([logprobs[sampler.sample(0)] for _ in range(60)]) / math.log(2)
        sampler.close()
    assert surprise[1.0] + 1.5 < surprise[6.0]


def test_xtc_and_dynamic_temperature_work_from_temperature_zero(vocabulary):
    row = make_row()
    best = int(row.argmax())
    for asked, is_best in [({}, True), ({"xtc_probability": 1.0, "xtc_threshold": 0.01}, False)]:
        sampler = make_sampler(SamplingParams(temperature=0.0, seed=1, **asked), vocabulary, row)
        assert (sampler.sample(0) == best) is is_best
        sampler.close()


def test_the_logits_are_left_as_they_were(vocabulary):
    row = make_row()
    before = row.copy()
    params = SamplingParams(logit_bias={9: 5.0, 2: -100.0}, repeat_penalty=1.5, dry_multiplier=1.0, ignore_eos=True)
    sampler = make_sampler(params, vocabulary, row)
    for _ in range(100):
        sampler.sample(0)
    sampler.close()
    assert (row == before).all()


def test_texts_are_biased_token_by_token_beside_ids(vocabulary):
    row = make_row()
    params = SamplingParams(temperature=0.0, logit_bias={8: -50.0}, text_bias={"any": 150.0})
    sampler = make_sampler(params, vocabulary, row)
    assert sampler.sample(0) == 8
    sampler.close()


def test_logits_without_any_number_are_an_error(vocabulary):
    from localai_flask.errors import ApiError

    for asked in ({"temperature": 0.0}, {}, {"top_k": 0}, EVERYTHING, {"top_n_sigma": 1.0}, {"mirostat": 2}):
        for value in (np.nan, -np.inf):
            sampler = make_sampler(SamplingParams(**asked), vocabulary, np.full(SIZE, value, np.float32))
            with np.errstate(invalid="ignore"), pytest.raises(ApiError, match="no token can be chosen"):
                sampler.sample(0)
            sampler.close()


@pytest.mark.parametrize("asked", [{"top_k": 0}, {"top_k": 0, "typical_p": 0.5}, {"mirostat": 1}, {"mirostat": 2}])
def test_one_infinite_logit_is_an_error_of_the_request(vocabulary, asked):
    from localai_flask.errors import ApiError

    row = make_row()
    row[5] = np.inf
    sampler = make_sampler(SamplingParams(**asked), vocabulary, row)
    with pytest.raises(ApiError, match="no token can be chosen"):
        sampler.sample(0)
    sampler.close()


def longest_repetition(tokens: list[int]) -> int:
    """Return the length of the longest stretch that occurs twice."""
    stretches = ((n, [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]) for n in range(1, len(tokens)))
    return max((n for n, found in stretches if len(set(found)) < len(found)), default=0)


def test_dry_ends_repetitions_and_its_breakers_allow_them(open_engine):
    engine = open_engine("llama")
    asked = {"max_tokens": 60, "ignore_eos": True}
    plain = engine.generate("the cat ", **asked)
    dry = engine.generate("the cat ", dry_multiplier=50.0, dry_allowed_length=2, **asked)
    everything = "".join(chr(code) for code in range(32, 127))
    broken = engine.generate("the cat ", dry_multiplier=50.0, dry_sequence_breakers=tuple(everything), **asked)

    assert longest_repetition(plain.output_tokens) > 6
    assert longest_repetition(dry.output_tokens) <= 4
    assert broken.output_tokens == plain.output_tokens


def test_a_text_is_biased_as_this_vocabulary_cuts_it(open_engine):
    engine = open_engine("llama")
    job = engine.generate("x", text_bias={"ab": 1000.0}, max_tokens=12, temperature=1.0, seed=1)
    assert set(engine.text(job)) == {"a", "b"}


@pytest.mark.parametrize(
    "asked", [{"mirostat": 2}, {"xtc_probability": 0.5, "top_k": 0}, EVERYTHING, {"adaptive_target": 0.4}], ids=str
)
def test_seeds_repeat_themselves_with_every_way_of_choosing(open_engine, asked):
    engine = open_engine("llama")
    one, same, other = (
        engine.generate("x", temperature=1.0, seed=seed, max_tokens=24, ignore_eos=True, **asked) for seed in (5, 5, 6)
    )
    assert one.output_tokens == same.output_tokens != other.output_tokens


def test_samplers_run_in_the_order_that_was_asked_for(vocabulary):
    row = np.full(SIZE, -50, np.float32)
    row[[5, 6]] = 10, 9
    fields = {**EVERYTHING, "temperature": 10.0, "min_p": 0.5, "seed": 1}

    def drawn(**more):
        sampler = make_sampler(SamplingParams(**fields, **more), vocabulary, row.copy())
        return {sampler.sample(0) for _ in range(100)}

    assert drawn() == {5}  # before the temperature, the second has 0.37 of the likeliest one's probability
    assert drawn(samplers=("temperature", "min_p")) == {5, 6}
    assert len(drawn(samplers=("temperature",))) > 2
