"""What one job gets from the llama.cpp engine: text, ends, limits, sampling and log-probabilities."""

from __future__ import annotations

import ctypes
import math
import time

import pytest

from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.errors import ContextOverflow, InvalidRequest
from localai_flask.generation import Delta, FinishReason, Prompt
from tests.support import gguf_models as models

SAID = "Theé€<tool_call> cat😀"


def test_text_is_whole_characters_without_control_tokens(open_engine):
    engine = open_engine("chain")
    job = engine.generate(">")

    assert [delta.text for delta in engine.of(job, Delta)] == [*"Theé€", "<tool_call>", *" cat😀"]
    end = engine.end(job)
    assert (end.reason, end.usage.prompt_tokens, end.usage.completion_tokens) == (FinishReason.EOS, 2, 18)


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        (("e",), "Th"),
        (("cat!", "é€"), "The"),
        (("€<tool_call> c",), "Theé"),
        (("😀",), "Theé€<tool_call> cat"),
        (("call> dog",), SAID),
    ],
)
def test_a_stop_string_ends_the_text_before_it(open_engine, stop, text):
    engine = open_engine("chain")
    job = engine.generate(">", stop=stop)

    assert engine.text(job) == text
    end = engine.end(job)
    if text == SAID:
        assert (end.reason, end.stop_sequence) == (FinishReason.EOS, None)
    else:
        assert (end.reason, end.stop_sequence) == (FinishReason.STOP_SEQUENCE, stop[-1])


def test_a_tokens_limit_ends_the_text_and_releases_what_was_held(open_engine):
    engine = open_engine("chain")
    job = engine.generate(">", max_tokens=4, stop=("eé€!",))

    assert engine.text(job) == "The", "of a character that was cut nothing is sent"
    assert engine.end(job).reason is FinishReason.MAX_TOKENS
    assert engine.end(job).usage.completion_tokens == 4


def test_a_full_context_ends_the_text(open_engine):
    engine = open_engine("llama", context_size=40)
    job = engine.generate("abc", ignore_eos=True)

    assert engine.end(job).reason is FinishReason.CONTEXT
    assert engine.end(job).usage.total_tokens == 40


@pytest.mark.parametrize("max_tokens", [36, 37])
def test_a_limit_that_the_context_cuts_is_named_so(open_engine, max_tokens):
    engine = open_engine("llama", context_size=40)
    job = engine.generate("abc", ignore_eos=True, max_tokens=max_tokens)

    assert engine.end(job).reason is (FinishReason.MAX_TOKENS if max_tokens == 36 else FinishReason.CONTEXT)
    assert engine.end(job).usage.completion_tokens == 36


def test_ignore_eos_goes_on_behind_the_end(open_engine):
    engine = open_engine("chain")
    job = engine.generate(">", ignore_eos=True, max_tokens=30)

    assert engine.text(job).startswith(SAID)
    assert len(job.output_tokens) == 30
    assert not {models.IM_END, models.OLD_END} & set(job.output_tokens)


def test_logit_bias_bans_and_forces_tokens(open_engine):
    engine = open_engine("llama")
    plain = engine.generate("abc", max_tokens=8)
    banned = engine.generate("abc", max_tokens=8, logit_bias={plain.output_tokens[0]: -100.0}, top_logprobs=1)
    penalized = engine.generate("abc", max_tokens=8, logit_bias={plain.output_tokens[0]: -100.0}, repeat_penalty=1.0001)
    forced = engine.generate("abc", max_tokens=8, logit_bias={models.character("x"): 1000.0}, temperature=1.0)

    assert banned.output_tokens[0] != plain.output_tokens[0]
    assert banned.output_tokens == penalized.output_tokens  # one chosen by numpy, one by llama.cpp
    assert engine.of(banned, Delta)[0].logprobs[0].top[0][0] == plain.output_tokens[0]
    assert forced.output_tokens == [models.character("x")] * 8


def test_a_seed_repeats_its_text_alone_and_in_company(open_engine):
    engine = open_engine("llama")
    sampling = {"temperature": 1.0, "max_tokens": 24, "ignore_eos": True}
    alone = engine.generate("abc", seed=7, **sampling)
    jobs = [engine.submit("abc", seed=seed, **sampling) for seed in (7, 8, -1)]
    engine.run()

    same, other, fresh = [job.output_tokens for job in jobs]
    assert same == alone.output_tokens
    assert len({tuple(tokens) for tokens in (same, other, fresh)}) == 3


def test_every_seed_is_a_seed(open_engine):
    engine = open_engine("llama")
    sampling = {"temperature": 1.0, "max_tokens": 24, "ignore_eos": True, "seed": 0xFFFFFFFF}
    assert engine.generate("abc", **sampling).output_tokens == engine.generate("abc", **sampling).output_tokens


def test_samplers_narrow_the_choice(open_engine):
    engine = open_engine("llama")
    greedy = engine.generate("abc", max_tokens=16, ignore_eos=True).output_tokens
    hot = {"temperature": 5.0, "seed": 1, "max_tokens": 16, "ignore_eos": True}
    for narrow in ({"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}, {"typical_p": 0.0, "top_k": 1}):
        assert engine.generate("abc", **hot, **narrow).output_tokens == greedy
    assert engine.generate("abc", **hot).output_tokens != greedy


@pytest.mark.parametrize("penalty", [{"repeat_penalty": 1e6}, {"presence_penalty": 1e6}, {"frequency_penalty": 1e6}])
@pytest.mark.parametrize("last", [-1, 2**40])
def test_penalties_prevent_repetition_of_prompt_and_answer(open_engine, penalty, last):
    engine = open_engine("llama")
    job = engine.generate("abc" * 9, max_tokens=60, ignore_eos=True, repeat_last_n=last, **penalty)

    seen = job.prompt_tokens + job.output_tokens
    assert len(set(seen)) == len(set(job.prompt_tokens)) + 60


def test_penalties_that_look_at_no_token_do_nothing(open_engine):
    engine = open_engine("llama")
    plain = engine.generate("abc", max_tokens=30, ignore_eos=True)
    assert engine.generate(
        "abc", max_tokens=30, ignore_eos=True, repeat_last_n=0, repeat_penalty=1e6
    ).output_tokens == (plain.output_tokens)


def test_log_probabilities_come_with_every_token_and_before_sampling(open_engine):
    engine = open_engine("chain")
    job = engine.generate(">", top_logprobs=3, stop=("never",), logit_bias={models.character("z"): 50.0})

    entries = [entry for delta in engine.of(job, Delta) for entry in delta.logprobs]
    assert [entry.id for entry in entries] == job.output_tokens
    assert b"".join(entry.text for entry in entries).decode() == engine.text(job) == SAID
    for entry in entries:
        assert entry.logprob == pytest.approx(0.0, abs=1e-4)
        assert len(entry.top) == 3
        assert entry.top[0] == (entry.id, entry.text, entry.logprob)


def test_log_probabilities_are_those_of_the_whole_vocabulary(open_engine):
    engine = open_engine("llama")
    job = engine.generate("abc", top_logprobs=len(models.TOKENS), max_tokens=2, temperature=3.0, top_k=5)

    for delta in engine.of(job, Delta):
        (entry,) = delta.logprobs
        values = [logprob for _, _, logprob in entry.top]
        assert values == sorted(values, reverse=True)
        assert sum(map(math.exp, values)) == pytest.approx(1.0, abs=1e-4)
        assert {token: logprob for token, _, logprob in entry.top}[entry.id] == entry.logprob


def test_logprobs_can_be_asked_for_without_alternatives(open_engine):
    engine = open_engine("llama")
    job = engine.generate("abc", top_logprobs=0, max_tokens=2)
    assert [len(entry.top) for delta in engine.of(job, Delta) for entry in delta.logprobs] == [0, 0]


def test_a_prompt_begins_with_one_bos(open_engine):
    engine = open_engine("chain")
    assert engine.generate(">").prompt_tokens == [models.BOS, models.character(">")]
    assert engine.generate("<s>>").prompt_tokens == [models.BOS, models.character(">")]
    assert engine.generate(Prompt(">", add_bos=False)).prompt_tokens == [models.character(">")]
    assert engine.generate([models.character(">")]).prompt_tokens == [models.character(">")]
    assert open_engine("no-bos").generate(">").prompt_tokens == [models.character(">")]


def test_special_tokens_in_text_are_read_only_if_asked(open_engine):
    engine = open_engine("chain")
    marked = engine.generate(Prompt("<|im_start|>"), max_tokens=1)
    literal = engine.generate(Prompt("<|im_start|>", special=False), max_tokens=1)

    assert marked.prompt_tokens == [models.BOS, models.IM_START]
    assert literal.prompt_tokens == [models.BOS, *(models.character(char) for char in "<|im_start|>")]


def test_an_empty_prompt_is_bos_alone(open_engine):
    engine = open_engine("no-bos")
    assert engine.generate("", max_tokens=1).prompt_tokens == [models.BOS]


def test_prompts_that_can_never_run_are_refused_at_once(open_engine):
    engine = open_engine("llama", context_size=40)
    with pytest.raises(ContextOverflow, match=r"40 tokens, but the prompt has 41"):
        engine.submit("a" * 40)
    with pytest.raises(ContextOverflow):
        engine.submit("a" * 39)
    with pytest.raises(InvalidRequest, match="token 100000"):
        engine.submit([5, 100_000])
    with pytest.raises(InvalidRequest, match="token -1"):
        engine.submit([-1])
    with pytest.raises(InvalidRequest, match="logit_bias"):
        engine.submit("a", logit_bias={len(models.TOKENS): 1.0})
    with pytest.raises(ContextOverflow, match=r"40 tokens.*2000000 characters"):
        engine.submit("a" * 2_000_000)
    assert engine.backend.is_idle
    assert engine.end(engine.generate("a" * 38)).usage.total_tokens == 40


def test_every_sampler_is_freed(open_engine, monkeypatch):
    living: set[int] = set()
    make, free = lib.llama_sampler_chain_init, lib.llama_sampler_free

    def counted_make(params):
        chain = make(params)
        living.add(ctypes.addressof(chain.contents))
        return chain

    def counted_free(chain):
        living.remove(ctypes.addressof(chain.contents))
        free(chain)

    monkeypatch.setattr(lib, "llama_sampler_chain_init", counted_make)
    monkeypatch.setattr(lib, "llama_sampler_free", counted_free)
    engine = open_engine("llama", "parallel:3")
    engine.generate("abc", max_tokens=2)
    engine.generate("abc", max_tokens=2, temperature=1.0)
    jobs = [engine.submit("abc", temperature=1.0, ignore_eos=True) for _ in range(4)]
    engine.step(3)
    assert len(living) == 3
    engine.backend.cancel(jobs[0].id)
    assert len(living) == 2
    engine.backend.close()
    assert not living


def test_the_job_tells_where_its_time_went(open_engine):
    engine = open_engine("llama", "parallel:1")
    engine.submit("abc", max_tokens=20, ignore_eos=True)
    job = engine.generate("abd", max_tokens=20, ignore_eos=True)

    timings = engine.end(job).timings
    assert timings.queue_ms > 0 and timings.prompt_ms > 0 and timings.decode_ms > 0
    assert sum((timings.queue_ms, timings.prompt_ms, timings.decode_ms)) <= (time.monotonic() - job.created) * 1e3
