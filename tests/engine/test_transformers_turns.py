"""Models that the library cannot batch, which take turns: recurrent, hybrid, with an encoder, and others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from localai_flask.backends.base import Job  # noqa: E402
from localai_flask.backends.transformers.generation import turns  # noqa: E402
from localai_flask.backends.transformers.loading import model_types  # noqa: E402
from localai_flask.errors import ConfigError, ModelLoadFailed  # noqa: E402
from localai_flask.generation import Constraint, Delta, FinishReason, Progress, Prompt, Started  # noqa: E402
from localai_flask.sampling_params import SamplingParams  # noqa: E402
from tests.engine.test_transformers import configured, ending, opened, run, text_of  # noqa: E402
from tests.support import hf_models  # noqa: E402

PROMPT = list(range(20, 60))
GREEDY = SamplingParams(temperature=0.0, max_tokens=16, ignore_eos=True)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a folder with a model of an architecture, made once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = hf_models.make_other(tmp_path_factory.mktemp("models") / kind, kind)
        return made[kind]

    return folder


@pytest.fixture(scope="module")
def mamba(make: Callable[[str], Path]) -> Iterator[Any]:
    with opened(make("mamba"), context_size=256) as backend:
        yield backend


def generated(folder: Path, prompt: list[int], count: int = 16) -> list[int]:
    """What the library's own `generate` says, greedily, where no text ends early."""
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    auto = transformers.AutoModelForCausalLM if kind in hf_models.RECURRENT else transformers.AutoModelForSeq2SeqLM
    model = auto.from_pretrained(folder).eval()
    answer = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=count,
        eos_token_id=None,
        pad_token_id=0,
        suppress_tokens=list(hf_models.END_TOKENS),
    )[0].tolist()
    return answer[1:] if kind in hf_models.PAIRED else answer[len(prompt) :]


@pytest.mark.parametrize("kind", [*hf_models.RECURRENT, *hf_models.PAIRED])
def test_each_of_several_says_what_generate_says(make: Callable[[str], Path], kind: str) -> None:
    folder, prompts = make(kind), [PROMPT, PROMPT[::-1], PROMPT[:7]]
    with opened(folder, batch=8, context_size=128) as backend:
        jobs = [Job(n, Prompt(tokens=prompt), GREEDY) for n, prompt in enumerate(prompts)]
        replies = run(backend, *jobs)
        assert not backend.runner.runs_by_itself
    assert [job.output_tokens for job in jobs] == [generated(folder, prompt) for prompt in prompts]
    for job in jobs:
        assert isinstance(replies[job.id][0], Started)
        assert ending(replies[job.id]).reason is FinishReason.MAX_TOKENS
        assert len([reply for reply in replies[job.id] if isinstance(reply, Delta)]) > 3


def test_a_prompt_is_read_in_pieces_where_the_model_remembers_them(make: Callable[[str], Path]) -> None:
    """Mamba's own states of a longer prompt begin anew with each piece of several tokens, in this library."""
    for kind, in_pieces in (("lfm2", True), ("bloom", True), ("mamba", False)):
        with opened(make(kind), batch=8, context_size=128) as backend:
            job = Job(1, Prompt(tokens=PROMPT), GREEDY)
            replies = run(backend, job)[1]
            assert [reply.done for reply in replies if isinstance(reply, Progress)] == ([8, 16, 24, 32] * in_pieces)


def test_turns_let_a_short_answer_end_before_a_long_one(mamba: Any) -> None:
    long = Job(1, Prompt(tokens=PROMPT), SamplingParams(temperature=0.0, max_tokens=100, ignore_eos=True))
    short = Job(2, Prompt(tokens=PROMPT), SamplingParams(temperature=0.0, max_tokens=3, ignore_eos=True))
    for job in (long, short):
        mamba.submit(job)
    while len(short.output_tokens) < 3:
        mamba.step()
    assert 2 <= len(long.output_tokens) <= 4
    mamba.cancel(long.id)
    assert mamba.is_idle and not mamba.runner._turns


def test_stop_strings_seeds_limits_and_logprobs_are_those_of_batches(mamba: Any) -> None:
    plain = Job(1, Prompt(tokens=PROMPT), GREEDY)
    said = text_of(run(mamba, plain)[1])
    stop = next(said[at : at + 3] for at in range(4, len(said)) if said.find(said[at : at + 3]) == at)
    stopped = Job(2, Prompt(tokens=PROMPT), SamplingParams(temperature=0.0, ignore_eos=True, stop=(stop,)))
    hot = SamplingParams(temperature=1.5, top_k=0, top_p=1.0, seed=7, max_tokens=20, ignore_eos=True, top_logprobs=2)
    seeded = [Job(3 + n, Prompt(tokens=PROMPT), hot) for n in range(2)]
    replies = run(mamba, stopped, *seeded)
    assert text_of(replies[2]) == said[: said.index(stop)]
    assert ending(replies[2]).stop_sequence == stop
    assert seeded[0].output_tokens == seeded[1].output_tokens != plain.output_tokens
    entries = [entry for reply in replies[3] if isinstance(reply, Delta) for entry in reply.logprobs]
    assert [entry.id for entry in entries] == seeded[0].output_tokens
    alone = Job(9, Prompt(tokens=PROMPT), hot)
    run(mamba, alone)
    assert alone.output_tokens == seeded[0].output_tokens
    context = Job(10, Prompt(tokens=[9] * 250), SamplingParams(temperature=0.0, ignore_eos=True))
    assert ending(run(mamba, context)[10]).reason is FinishReason.CONTEXT
    assert len(context.output_tokens) == 6


def test_an_answer_is_held_to_its_form(mamba: Any) -> None:
    form = Constraint("json_schema", json.dumps({"enum": ["quick", "lazy"]}))
    job = Job(1, Prompt(tokens=PROMPT), SamplingParams(temperature=1.0, seed=3, max_tokens=40, constraint=form))
    replies = run(mamba, job)[1]
    assert json.loads(text_of(replies)) in ("quick", "lazy")
    assert ending(replies).reason is FinishReason.EOS


def test_a_text_for_an_encoder_has_what_its_tokenizer_puts_around(tmp_path: Path) -> None:
    folder = hf_models.make_other(tmp_path / "t5", "t5")
    hf_models.make_tokenizer(add_bos=True).save_pretrained(folder)
    with opened(folder, context_size=128) as backend:
        job = Job(1, Prompt("The quick", add_bos=False), GREEDY)
        run(backend, job)
        tokenizer = backend.tokens.tokenizer
        assert job.prompt_tokens == tokenizer.encode("The quick") != tokenizer.encode("The quick")[1:]
        assert job.output_tokens == generated(folder, job.prompt_tokens)


def test_memory_decides_how_many_run_at_once(make: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from localai_flask.backends.transformers.loading import cache_size

    each = 128 * 2 * 2 * 4 * 8 * 4  # tokens, key and value, layers, heads, numbers of a head, bytes
    monkeypatch.setattr(cache_size, "free_bytes", lambda device: each * 7)
    with opened(make("bloom"), context_size=128) as backend:
        assert backend.room == 3
    with opened(make("mamba"), context_size=128) as backend:
        assert backend.room == 8


def test_a_model_that_keeps_its_state_in_itself_runs_one_request(make: Callable[[str], Path]) -> None:
    with opened(make("recurrent_gemma"), context_size=128) as backend:
        assert backend.room == 1


def test_a_context_that_does_not_fit_is_refused(make: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from localai_flask.backends.transformers.loading import cache_size

    monkeypatch.setattr(cache_size, "free_bytes", lambda device: 1 << 20)
    with pytest.raises(ConfigError, match="lower `context_size`"), opened(make("bloom"), context_size=2048):
        pass


def test_a_model_without_a_limit_takes_the_context_that_is_wanted(make: Callable[[str], Path]) -> None:
    with opened(make("mamba"), context_size=30_000) as backend:
        assert backend.cache.context_length == 30_000


def test_a_model_whose_cache_changes_its_answers_is_refused(
    make: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_difference", lambda logits, others: 1.0)
    with pytest.raises(ModelLoadFailed, match="other results for 'mamba'"), opened(make("mamba")):
        pass


# Classes by name


@pytest.mark.parametrize(
    ("kind", "type_", "cls"),
    [
        ("mamba", "", "AutoModelForCausalLM"),
        ("mamba", "Mamba", "AutoModelForCausalLM"),
        ("mamba", "MambaForCausalLM", "MambaForCausalLM"),
        ("t5", "", "AutoModelForSeq2SeqLM"),
        ("t5", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM"),
        ("t5", "T5ForConditionalGeneration", "T5ForConditionalGeneration"),
    ],
)
def test_the_class_is_what_type_names_or_what_suits_the_folder(tmp_path: Path, kind: str, type_: str, cls: str) -> None:
    config = configured(tmp_path, type=type_)
    assert model_types.class_of_writer(config, {"model_type": kind}).__name__ == cls


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        ("LamaForCausalLM", "perhaps 'LlamaForCausalLM' is meant"),
        ("LlamaForCausalLM", "for 'llama'; write `type: AutoModelForCausalLM`"),
        ("LlavaForConditionalGeneration", "for 'llava'; write `type: AutoModelForCausalLM`"),
        ("os", "has no type 'os'"),
    ],
)
def test_a_class_that_does_not_suit_is_refused(tmp_path: Path, type_: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        model_types.class_of_writer(configured(tmp_path, type=type_), {"model_type": "mamba"})
