"""`deterministic: true`: the same answer alone and among others, byte for byte, whatever the cache has been through."""

from __future__ import annotations

import pytest

from localai_flask.config.blocks import Parameters
from localai_flask.config.model import ModelConfig
from localai_flask.config.sampling.sampling import merge
from localai_flask.errors import ConfigError
from localai_flask.generation import Delta
from tests.engine.conftest import load_engine
from tests.support import gguf_models

PROMPTS = [
    "".join(chr(33 + (i * i * (7 + number) + number) % 90) for i in range(20 + 9 * number)) for number in range(8)
]
SAMPLED = {"temperature": 0.9, "seed": 3, "max_tokens": 12, "ignore_eos": True, "top_logprobs": 3}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    return gguf_models.random_llama(tmp_path_factory.mktemp("model") / "llama.gguf", width=128, layers=3)


def heard(engine, job):
    """Return all that is told of the chances of an answer's tokens, in which each bit of the logits shows."""
    return [token for delta in engine.of(job, Delta) for token in delta.logprobs]


@pytest.fixture(scope="module")
def alone(model):
    """What each prompt is answered in an engine of its own."""
    answers = []
    for prompt in PROMPTS:
        engine = load_engine(model, deterministic=True)
        answers.append(heard(engine, engine.generate(prompt, **SAMPLED)))
        engine.backend.close()
    return answers


def test_answers_are_the_same_among_31_others(model, alone):
    engine = load_engine(model, deterministic=True)
    for turn in range(2):
        jobs = [engine.submit(PROMPTS[(number * 3 + turn) % 8], **SAMPLED) for number in range(32)]
        engine.run()
        assert [heard(engine, job) for job in jobs] == [alone[(number * 3 + turn) % 8] for number in range(32)]
    engine.check_books()
    engine.backend.close()


def test_a_conversation_goes_on_as_if_it_were_computed_anew(model, alone):
    engine = load_engine(model, deterministic=True)
    first = engine.generate(PROMPTS[7], **SAMPLED)
    longer = [*first.prompt_tokens, *first.output_tokens, 300, 301]
    went_on = engine.generate(longer, **SAMPLED)
    anew = load_engine(model, deterministic=True)
    assert heard(engine, went_on) == heard(anew, anew.generate(longer, **SAMPLED))
    assert 0 < went_on.num_cached <= len(first.prompt_tokens), "what the model wrote has other bits"
    for each in (engine, anew):
        each.backend.close()


def test_a_request_without_a_seed_has_one():
    config = ModelConfig(name="m", deterministic=True)
    assert (merge(config, {}).seed, merge(config, {"seed": 7}).seed) == (0, 7)
    assert merge(ModelConfig(name="m", deterministic=True, parameters=Parameters(seed=5)), {}).seed == 5
    assert merge(ModelConfig(name="m"), {}).seed == -1


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("parallel:4", "parallel"),
        ("spec_type:ngram-mod", "spec_type"),
        ("cache_reuse:64", "cache_reuse"),
        ("cache_ram:0", "cache_ram"),
    ],
)
def test_what_changes_bits_is_refused(model, option, what):
    with pytest.raises(ConfigError, match=f"deterministic: true.* remove .*{what}"):
        load_engine(model, option, deterministic=True)


def test_a_cache_that_is_cut_too_finely_is_refused(model):
    with pytest.raises(ConfigError, match="`ubatch` of 32"):
        load_engine(model, "ubatch:16", deterministic=True)


@pytest.mark.parametrize("deterministic", [True, False])
def test_attention_is_not_chosen_by_measuring(model, monkeypatch, deterministic):
    from localai_flask.backends.llama_cpp.model import attention

    monkeypatch.setattr(attention, "prefers_plain", lambda *_: True)
    engine = load_engine(model, deterministic=deterministic, context_size=2048)
    assert engine.backend.model.uses_flash == deterministic
    engine.backend.close()


def test_the_number_of_threads_is_not_chosen_by_measuring(model, monkeypatch):
    monkeypatch.setattr("localai_flask.backends.llama_cpp.options.determinism.physical_cores", lambda: 3)
    for given, threads in ((None, 3), (2, 2)):
        backend = load_engine(model, deterministic=True, threads=given).backend
        assert backend.model.threads.decoding == threads
        if backend.model.threads.wait is not None:
            assert backend.model.threads.decoding_spinning == backend.model.threads.decoding_alone == threads
        backend.close()
