"""All kinds of requests mixed at random: each gets one end, and what is greedy says what it says alone."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from localai_flask.backends.base import Inquiry, Job
from localai_flask.errors import ApiError
from localai_flask.generation import (
    Constraint,
    Delta,
    Failed,
    Finished,
    Progress,
    Prompt,
    PromptLogprobs,
    Started,
    ThinkingBudget,
)
from localai_flask.inquiry import Embed, Embedded

CHOICE = {"type": "array", "items": {"enum": ["left", "right"]}, "minItems": 2, "maxItems": 4}
FIXED = {"const": {"a fixed name": "and a fixed value that is long, so that it is computed in parts", "n": [1, 2]}}
WAYS: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "plain": ("llama", [], {}),
    "look-up": ("llama", ["spec_type:ngram-mod,ngram-simple", "spec_ngram_size_n:1", "spec_ngram_mod_n_match:2"], {}),
    "draft": ("llama", [], {"draft_model": "llama.gguf", "n_draft": 5}),
    "shifting": ("llama", ["context_shift", "cache_reuse:8", "spec_type:ngram-simple", "spec_ngram_size_n:1"], {}),
    "window": ("gemma3", ["checkpoint_min_step:16", "ctx_checkpoints:3"], {}),
    "recurrent": ("rwkv7", ["checkpoint_min_step:16", "ctx_checkpoints:3"], {}),
}
EXACT = {"context_size": 128, "f16": False, "flash_attention": "off"}


def form(value: object, **how: Any) -> Constraint:
    return Constraint("json_schema", json.dumps(value), "response_format", **how)


WISHES: list[dict[str, list[Any]]] = [
    {"temperature": [0.5, 2.0], "seed": [1, 2]},
    {"temperature": [1.0], "mirostat": [1, 2]},
    {"temperature": [1.0], "adaptive_target": [0.3]},
    {"top_k": [0, 1, 5]},
    {"repeat_penalty": [1.3], "repeat_last_n": [-1, 8]},
    {"dry_multiplier": [0.8]},
    {"top_logprobs": [0, 2]},
    {"top_logprobs": [1], "prompt_logprobs": [True]},
    {"stop": [("x",), ("e", "12"), ("</t>",)]},
    {"ignore_eos": [True]},
    {"cache_prompt": [False]},
    {"logit_bias": [{300: -100.0}, {310: 5.0}]},
    {"constraint": [form(CHOICE), form(FIXED), Constraint("regex", "[ab]{3,9}x+"), form(FIXED, trigger="</t>")]},
    {"constraint": [form(CHOICE, trigger="a", is_final=True), form(FIXED, trigger="e")]},
    {"thinking": [ThinkingBudget(5, "<t>", "</t>", True), ThinkingBudget(0, "<t>", "\n</t>\n\n", True)]},
    {"thinking": [ThinkingBudget(3, "a", "</t>")]},
]


def random_request(chance: random.Random) -> tuple[str, dict[str, Any]]:
    length = chance.randint(1, chance.choice([30, 100]))
    prompt = chance.choice("abcd") * (length // 2) + chance.choice("ef") * (length - length // 2)
    sampling: dict[str, Any] = {"max_tokens": chance.choice([0, 1, 5, 20, 40, 200])}
    for wish in WISHES:
        if chance.random() < 0.2:
            sampling |= {name: chance.choice(values) for name, values in wish.items()}
    return prompt, sampling


def play(engine, chance: random.Random, actions: int) -> tuple[list[tuple[Job, str, dict[str, Any]]], set[int]]:
    """Submit, ask, cancel and step at random, then to the end; give the jobs and what was cancelled."""
    jobs: list[tuple[Job, str, dict[str, Any]]] = []
    cancelled: set[int] = set()
    for _ in range(actions):
        match chance.choices(["submit", "cancel", "ask", "step"], [30, 8, 8, 54])[0]:
            case "submit":
                prompt, sampling = random_request(chance)
                for _ in range(chance.choice([1, 1, 3])):
                    try:
                        jobs.append((engine.submit(prompt, **sampling), prompt, sampling))
                    except ApiError as error:
                        assert error.info.status in (400, 429, 503)
            case "cancel" if jobs:
                job = chance.choice(jobs)[0]
                if not engine.of(job, Finished | Failed):
                    engine.backend.cancel(job.id)
                    cancelled.add(job.id)
            case "ask":
                inquiry = Inquiry(next(engine._ids), Embed(Prompt("q" * chance.randint(1, 100))))
                engine.replies[inquiry.id] = []
                engine.backend.ask(inquiry)
            case _:
                engine.step(chance.randint(1, 9))
        engine.check_books()
    steps = 0
    while not engine.backend.is_idle:
        engine.step()
        engine.check_books()
        steps += 1
        assert steps < 5000
    return jobs, cancelled


def check_replies(engine, job: Job, sampling: dict[str, Any]) -> None:
    replies, usage = engine.replies[job.id], engine.end(job).usage
    assert isinstance(replies[0], Started) and len(engine.of(job, Started)) == 1
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(job.prompt_tokens), len(job.output_tokens))
    assert sum(delta.tokens for delta in engine.of(job, Delta)) <= usage.completion_tokens
    entries = [entry.id for delta in engine.of(job, Delta) for entry in delta.logprobs]
    assert entries == (job.output_tokens if "top_logprobs" in sampling else [])
    judged = [entry.id for part in engine.of(job, PromptLogprobs) for entry in part.tokens]
    assert judged == (job.prompt_tokens if "prompt_logprobs" in sampling else [])
    done = [progress.done for progress in engine.of(job, Progress)]
    assert done == sorted(set(done))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_requests_of_all_kinds_do_not_disturb_each_other(open_engine, monkeypatch, way, seed):
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.overflow.COPIED_BYTES", 9000)
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.eviction.IDLE_CELLS", 60)
    model, options, config = WAYS[way]
    chance = random.Random(seed)
    batch = chance.choice([4, 16, 32])
    engine = open_engine(model, "parallel:3", "cache_ram:1", *options, batch=batch, embeddings=True, **EXACT, **config)
    jobs, cancelled = play(engine, chance, actions=90)

    assert not any(slot.in_use for slot in engine.backend.cache.slots)
    plain = open_engine(model, "parallel:1", "cache_ram:0", "cache_reuse:0", "ctx_checkpoints:0", **EXACT)
    ours = {job.id for job, *_ in jobs}
    for number, replies in engine.replies.items():
        ends = [reply for reply in replies if isinstance(reply, Finished | Failed | Embedded)]
        assert ends == ([] if number in cancelled else replies[-1:])
        assert number in ours or isinstance(ends[0], Embedded)
    for job, prompt, sampling in jobs:
        if job.id in cancelled:
            continue
        check_replies(engine, job, sampling)
        if "temperature" not in sampling and way != "shifting":
            alone = plain.generate(prompt, **sampling)
            assert alone.output_tokens == job.output_tokens and plain.text(alone) == engine.text(job)
            assert plain.end(alone).reason is engine.end(job).reason
