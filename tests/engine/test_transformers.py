"""The transformers backend on a tiny random model: the real library, its thread and its paged cache."""

from __future__ import annotations

import codecs
import json
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from localai_flask.backends import torch_devices as devices  # noqa: E402
from localai_flask.backends.base import Job  # noqa: E402
from localai_flask.backends.hugging_face.tokens import TextDecoder, Tokens  # noqa: E402
from localai_flask.backends.transformers import engine as engine_module  # noqa: E402
from localai_flask.backends.transformers.engine import TransformersBackend  # noqa: E402
from localai_flask.backends.transformers.generation import batching, runner_choice  # noqa: E402
from localai_flask.backends.transformers.loading import cache_size, weights  # noqa: E402
from localai_flask.config.blocks import Parameters  # noqa: E402
from localai_flask.config.model import ModelConfig  # noqa: E402
from localai_flask.errors import ConfigError, ContextOverflow, InvalidRequest, ModelLoadFailed  # noqa: E402
from localai_flask.generation import Delta, Failed, Finished, FinishReason, Progress, Prompt, Reply, Started  # noqa: E402
from localai_flask.sampling_params import SamplingParams  # noqa: E402
from tests.support import hf_models  # noqa: E402
from tests.support.fronted import Fronted  # noqa: E402

PROMPT = "The quick brown fox"
GREEDY = SamplingParams(temperature=0.0, max_tokens=40, ignore_eos=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_models.make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def backend(folder: Path) -> Iterator[TransformersBackend]:
    with opened(folder) as backend:
        yield backend


@pytest.fixture(scope="module")
def reference(folder: Path) -> Callable[[list[int], int], list[int]]:
    """What the library's own `generate` says, greedily, after a prompt."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)

    def generate(prompt: list[int], count: int) -> list[int]:
        ends = list(hf_models.END_TOKENS)
        settings = {"do_sample": False, "max_new_tokens": count, "eos_token_id": None, "suppress_tokens": ends}
        return model.generate(torch.tensor([prompt]), **settings)[0, len(prompt) :].tolist()

    return generate


@contextmanager
def opened(folder: Path, **config: Any) -> Iterator[Any]:
    backend = Fronted(TransformersBackend())
    backend.load(configured(folder, **config), lambda fraction: None)
    try:
        yield backend
    finally:
        backend.close()


def configured(folder: Path, **config: Any) -> ModelConfig:
    return ModelConfig(name="tiny", models_path=str(folder.parent), parameters=Parameters(model=folder.name), **config)


def jobs(count: int, sampling: SamplingParams = GREEDY, text: str = PROMPT) -> list[Job]:
    return [Job(number, Prompt(text), sampling) for number in range(count)]


def run(backend: TransformersBackend, *submitted: Job) -> dict[int, list[Reply]]:
    """Submit jobs and step until nothing is left; a backend that hangs fails the test."""
    for job in submitted:
        backend.submit(job)
    replies: dict[int, list[Reply]] = defaultdict(list)
    give_up = time.monotonic() + 30
    while not backend.is_idle:
        assert time.monotonic() < give_up, "the backend hangs"
        for job_id, reply in backend.step():
            replies[job_id].append(reply)
    return replies


def text_of(replies: list[Reply]) -> str:
    return "".join(reply.text for reply in replies if isinstance(reply, Delta))


def ending(replies: list[Reply]) -> Finished:
    assert [isinstance(reply, Finished | Failed) for reply in replies].count(True) == 1
    assert isinstance(replies[-1], Finished), replies[-1]
    return replies[-1]


def test_a_plain_range_has_no_control_token(folder: Path) -> None:
    tokenizer = hf_models.make_tokenizer()
    tokens = Tokens(tokenizer, len(tokenizer), ())
    before, said, after = "<|im_start|>user\n", "he said <|im_end|><|im_start|>", "<|im_end|>\n"
    start = len("<|im_start|>")
    made = tokens.encode(Prompt(before + said + after, plain=[(start, len(before + said))]))
    end = tokens.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert made.count(end) == 1 and tokens.tokenizer.decode(made) == before + said + after
    ordinary = before + "hello" + after
    assert tokens.encode(Prompt(ordinary, plain=[(start, len(before + "hello"))])) == tokens.encode(Prompt(ordinary))


def test_a_template_for_tools_is_found(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    tokenizer = hf_models.make_tokenizer()
    tokenizer.chat_template = {"default": "plain", "tool_use": "{{ tools }}"}
    tokenizer.save_pretrained(tmp_path)
    backend = TransformersBackend()
    info = backend.load(configured(tmp_path), lambda fraction: None)
    backend.close()
    assert (info.chat_template, info.tool_template) == ("plain", "{{ tools }}")


def test_info_describes_the_folder(folder: Path) -> None:
    backend: Any = Fronted(TransformersBackend())
    seen: list[float] = []
    info = backend.load(configured(folder, context_size=128, dtype="bfloat16"), seen.append)
    assert len(run(backend, *jobs(1))[0]) > 1
    backend.close()
    assert (info.context_length, info.trained_context) == (128, hf_models.CONTEXT)
    assert info.chat_template == hf_models.CHAT_TEMPLATE
    assert (info.bos_token, info.eos_token) == ("<s>", "<|im_end|>")
    assert 100_000 < info.memory_bytes < 10_000_000
    assert seen == sorted(seen) and seen[-1] == 1.0


def test_greedy_stream_is_what_generate_says(backend: TransformersBackend, reference: Any) -> None:
    (job,) = jobs(1)
    replies = run(backend, job)[0]
    assert job.output_tokens == reference(job.prompt_tokens, 40)
    shown = [token for token in job.output_tokens if token not in backend.tokens.silent]
    whole = whole_text(backend.tokens, job.prompt_tokens + shown)
    assert PROMPT + text_of(replies) == whole
    assert isinstance(replies[0], Started) and replies[0].prompt_tokens == len(job.prompt_tokens)
    assert len([reply for reply in replies if isinstance(reply, Delta)]) > 20
    assert ending(replies).reason is FinishReason.MAX_TOKENS
    assert ending(replies).usage.completion_tokens == 40


def test_many_at_once_are_what_each_is_alone(backend: TransformersBackend) -> None:
    def mixed() -> list[Job]:
        texts = [f"{PROMPT} {number}" * (number + 1) for number in range(12)]
        return [
            Job(n, Prompt(text), SamplingParams(temperature=n % 3 / 2, seed=n, max_tokens=30, ignore_eos=True))
            for n, text in enumerate(texts)
        ]

    together, alone = mixed(), mixed()
    run(backend, *together)
    for job in alone:
        run(backend, job)
    assert [job.output_tokens for job in together] == [job.output_tokens for job in alone]


def test_eight_run_in_one_batch_and_the_rest_wait(backend: TransformersBackend) -> None:
    for job in jobs(10):
        backend.submit(job)
    backend.step()
    assert (len(backend.running), backend.waiting) == (8, 2)
    run(backend)
    assert len(backend.running) == 0


def test_greedy_beside_sampling_stays_greedy(backend: TransformersBackend, reference: Any) -> None:
    greedy, hot, tiny = jobs(3)
    hot.sampling = SamplingParams(temperature=1.0, max_tokens=40, ignore_eos=True)
    tiny.sampling = SamplingParams(temperature=1e-30, max_tokens=40, ignore_eos=True)
    run(backend, greedy, hot, tiny)
    assert greedy.output_tokens == tiny.output_tokens == reference(greedy.prompt_tokens, 40)
    assert hot.output_tokens != greedy.output_tokens


def test_seed_repeats_a_sample_and_no_seed_does_not(backend: TransformersBackend) -> None:
    seeded = jobs(2, SamplingParams(temperature=1.5, top_k=0, top_p=1.0, seed=7, max_tokens=20, ignore_eos=True))
    fresh = jobs(2, SamplingParams(temperature=1.5, top_k=0, top_p=1.0, max_tokens=20, ignore_eos=True))
    run(backend, *seeded)
    run(backend, *fresh)
    assert seeded[0].output_tokens == seeded[1].output_tokens
    assert fresh[0].output_tokens != fresh[1].output_tokens


def test_stop_string_over_several_tokens_ends_the_text_before_it(backend: TransformersBackend) -> None:
    whole = text_of(run(backend, *jobs(1))[0])
    stop = whole[8:14]
    job = Job(1, Prompt(PROMPT), SamplingParams(temperature=0.0, max_tokens=40, ignore_eos=True, stop=("never", stop)))
    replies = run(backend, job)[1]
    assert text_of(replies) == whole[: whole.index(stop)]
    assert ending(replies).reason is FinishReason.STOP_SEQUENCE
    assert ending(replies).stop_sequence == stop
    assert len(job.output_tokens) < 40


@pytest.mark.parametrize("token", hf_models.END_TOKENS)
def test_each_end_token_ends_the_sequence_unseen_unless_ignored(backend: TransformersBackend, token: int) -> None:
    job = Job(1, Prompt(PROMPT), SamplingParams(temperature=0.0, max_tokens=40, logit_bias={token: 1e9}))
    replies = run(backend, job)[1]
    assert ending(replies).reason is FinishReason.EOS
    assert (text_of(replies), job.output_tokens) == ("", [token])
    ignoring = SamplingParams(temperature=0.0, max_tokens=4, ignore_eos=True, logit_bias={token: 1e9})
    job = Job(1, Prompt(PROMPT), ignoring)
    assert ending(run(backend, job)[1]).reason is FinishReason.MAX_TOKENS
    assert token not in job.output_tokens


def test_control_tokens_are_no_text(backend: TransformersBackend) -> None:
    marker = backend.tokens.tokenizer.convert_tokens_to_ids("<|im_start|>")
    job = Job(1, Prompt(PROMPT), SamplingParams(temperature=0.0, max_tokens=4, logit_bias={marker: 1e9}))
    replies = run(backend, job)[1]
    assert (text_of(replies), job.output_tokens) == ("", [marker] * 4)


def test_a_control_token_is_shown_to_the_job_that_asks(backend: TransformersBackend) -> None:
    marker = backend.tokens.tokenizer.convert_tokens_to_ids("<|im_start|>")
    asking = SamplingParams(temperature=0.0, max_tokens=2, logit_bias={marker: 1e9}, preserved=("<|im_start|>",))
    assert text_of(run(backend, Job(1, Prompt(PROMPT), asking))[1]) == "<|im_start|>" * 2


def test_cancelled_job_says_nothing_more_and_makes_room(backend: TransformersBackend) -> None:
    endless = SamplingParams(temperature=0.0, ignore_eos=True)
    first, *others = jobs(9, endless)
    for job in [first, *others]:
        backend.submit(job)
    while not first.output_tokens:
        backend.step()
    for job in [first, *others]:  # the ninth is still waiting
        backend.cancel(job.id)
    backend.cancel(12345)
    assert backend.is_idle
    last = Job(99, Prompt(PROMPT), GREEDY)
    replies = run(backend, last)
    assert set(replies) == {99}
    assert ending(replies[99]).reason is FinishReason.MAX_TOKENS
    assert backend.runner._manager.batch_processor.scheduler.active_requests == {}


def test_request_whose_cancellation_the_library_forgot_does_not_run_on(backend: TransformersBackend) -> None:
    """The library reads new requests, then cancellations; of what comes in between it sees the latter first."""
    backend.runner._manager.add_request([5, 6, 7], request_id="ghost", max_new_tokens=200, streaming=True)
    longest = 0
    while made := backend.runner.collect(0.5)[0]:
        longest = max(len(each.tokens) for each in made)
    assert 0 < longest < 200


def test_context_ends_a_sequence_and_refuses_a_prompt(backend: TransformersBackend) -> None:
    job = Job(1, Prompt(tokens=[9] * (hf_models.CONTEXT - 3)), SamplingParams(temperature=0.0, ignore_eos=True))
    replies = run(backend, job)[1]
    assert ending(replies).reason is FinishReason.CONTEXT
    assert ending(replies).usage.total_tokens == hf_models.CONTEXT
    with pytest.raises(ContextOverflow, match="256 tokens"):
        backend.submit(Job(2, Prompt(tokens=[9] * hf_models.CONTEXT), GREEDY))
    assert backend.is_idle


def test_long_prompt_reports_progress_and_its_prefix_is_found_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "WAIT_S", 0.0005)  # this model's prompt is done before the first usual look
    with opened(folder, batch=32) as backend:
        tokens = [20 + n % 300 for n in range(200)]
        first, second = (Job(n, Prompt(tokens=tokens), GREEDY) for n in range(2))
        done = [reply.done for reply in run(backend, first)[0] if isinstance(reply, Progress)]
        assert done == sorted(done) and done[0] > 0 and done[-1] < 200
        started = run(backend, second)[1][0]
        assert isinstance(started, Started) and started.cached_tokens >= 160
        assert second.usage.cached_tokens == started.cached_tokens
        assert second.output_tokens == first.output_tokens


def test_requests_that_outgrow_the_cache_are_computed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = runner_choice.size_cache
    monkeypatch.setattr(runner_choice, "size_cache", lambda *args: replace(size(*args), blocks=12))
    with opened(folder) as backend:
        sampling = SamplingParams(temperature=1.0, seed=3, max_tokens=90, ignore_eos=True)
        together, alone = jobs(6, sampling), jobs(1, sampling)
        run(backend, *together)
        run(backend, *alone)
        assert {tuple(job.output_tokens) for job in together} == {tuple(alone[0].output_tokens)}


@pytest.mark.parametrize(
    ("prompt", "sampling", "named"),
    [
        (Prompt(tokens=[5, 400_000]), GREEDY, "400000"),
        (Prompt(PROMPT), SamplingParams(logit_bias={-1: 1.0}), "logit_bias"),
    ],
)
def test_what_would_break_the_loop_is_refused(
    backend: TransformersBackend, prompt: Prompt, sampling: SamplingParams, named: str
) -> None:
    with pytest.raises(InvalidRequest, match=named):
        backend.submit(Job(1, prompt, sampling))


def test_markers_in_a_prompt_are_tokens_only_if_special(backend: TransformersBackend) -> None:
    marker = backend.tokens.tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert marker in backend.tokens.encode(Prompt("<|im_start|>user"))
    assert marker not in backend.tokens.encode(Prompt("<|im_start|>user", special=False))
    assert backend.tokens.encode(Prompt("x")) == backend.tokens.encode(Prompt("x", add_bos=False))


def test_end_tokens_of_another_vocabulary_are_ignored() -> None:
    assert Tokens(hf_models.make_tokenizer(), 400, (2, 50256, -1)).eos == {2}


def test_first_token_is_added_once_where_the_tokenizer_wants_one() -> None:
    tokenizer = hf_models.make_tokenizer(add_bos=True)
    tokens = Tokens(tokenizer, len(tokenizer), ())
    bos = tokenizer.bos_token_id
    plain = tokens.encode(Prompt("x", add_bos=False))
    assert tokens.encode(Prompt("x")) == tokens.encode(Prompt("<s>x")) == [bos, *plain]
    assert tokens.encode(Prompt("")) == tokens.encode(Prompt(tokens=[])) == [bos]
    tokenizer.bos_token = None
    with pytest.raises(InvalidRequest, match="empty"):
        tokens.encode(Prompt(tokens=[]))


def test_logprobs_come_with_each_token(backend: TransformersBackend) -> None:
    job = Job(1, Prompt(PROMPT), SamplingParams(temperature=0.0, max_tokens=10, ignore_eos=True, top_logprobs=3))
    replies = run(backend, job)[1]
    entries = [entry for reply in replies if isinstance(reply, Delta) for entry in reply.logprobs]
    assert [entry.id for entry in entries] == job.output_tokens
    assert b"".join(entry.text for entry in entries).decode(errors="replace") == text_of(replies)
    for entry in entries:
        assert len(entry.top) == 3
        assert entry.top[0] == (entry.id, entry.text, entry.logprob)
        assert 0 > entry.top[0][2] >= entry.top[1][2] >= entry.top[2][2]


def test_penalties_and_bias_reach_the_choice(backend: TransformersBackend) -> None:
    biased = SamplingParams(temperature=0.0, max_tokens=6, ignore_eos=True, logit_bias={100: 50.0})
    plain, penalized = Job(1, Prompt(PROMPT), biased), Job(2, Prompt(PROMPT), biased)
    penalized.sampling = SamplingParams(
        temperature=0.0, max_tokens=6, ignore_eos=True, logit_bias={100: 50.0}, presence_penalty=1e6, repeat_last_n=-1
    )
    run(backend, plain, penalized)
    assert plain.output_tokens == [100] * 6
    assert penalized.output_tokens[0] == 100
    assert not set(penalized.output_tokens[1:]) & {100, *penalized.prompt_tokens}


@pytest.mark.parametrize("count", [1, 10])
def test_dead_loop_fails_every_job_and_then_the_backend(
    folder: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    with opened(folder) as backend:
        for job in jobs(count):
            backend.submit(job)
        backend.step()

        def explode(**inputs: Any) -> None:
            raise RuntimeError("the model exploded")

        monkeypatch.setattr(backend.runner._manager.model, "forward", explode)
        failed: dict[int, str] = {}
        give_up = time.monotonic() + 10
        while len(failed) < min(count, 8):  # the others wait, and may run elsewhere
            assert time.monotonic() < give_up, "jobs hang after the loop died"
            failed |= {job_id: reply.error.message for job_id, reply in backend.step() if isinstance(reply, Failed)}
        assert all("the model exploded" in message for message in failed.values())
        with pytest.raises(RuntimeError, match="the model exploded"):
            while True:
                assert not backend.is_idle, "a dead backend would sleep instead of being replaced"
                backend.step()


def test_numbers_that_are_not_finite_fail_only_their_request(
    backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, healthy = jobs(2)
    poisoned.sampling = SamplingParams(temperature=0.0, max_tokens=40, logit_bias={7: float("nan")})
    replies = run(backend, poisoned, healthy)
    assert isinstance(replies[0][-1], Failed) and "not finite" in replies[0][-1].error.message
    assert ending(replies[1]).usage.completion_tokens == 40


def byte_fallback_tokenizer() -> Any:
    """A tokenizer in SentencePiece's manner: spaces are a character, unknown characters are bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"\u2581helowrd", "\u2581hello", "\u2581world"]
    vocabulary = {piece: n for n, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


@pytest.mark.parametrize("make", [hf_models.make_tokenizer, byte_fallback_tokenizer])
@pytest.mark.parametrize("text", [" world hello", " héllo 你好 🎉🎉", "  two  spaces", " e\u0301\u200d👩\u200d🚀 end"])
def test_decoder_gives_the_text_of_split_characters_and_leading_spaces(make: Callable[[], Any], text: str) -> None:
    tokenizer = make()
    tokens = Tokens(tokenizer, len(tokenizer), ())
    prompt = tokens.encode(Prompt("hello"))
    whole = tokens.encode(Prompt("hello" + text))
    assert whole[: len(prompt)] == prompt
    decoder = TextDecoder(tokens, prompt)
    pieces = [decoder.feed(token) for token in whole[len(prompt) :]]
    assert "".join(pieces) + decoder.flush() == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert b"".join(map(tokens.piece, whole[len(prompt) :])).decode() == text


def whole_text(tokens: Tokens, ids: list[int]) -> str:
    """Decode without the bytes of an unfinished character at the end."""
    text = tokens.decode(ids)
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    utf8.decode(b"".join(map(tokens.piece, ids)))
    return text.rstrip("\ufffd") if utf8.getstate()[0] else text


def test_decoder_neither_loses_nor_withholds_broken_bytes() -> None:
    tokenizer = hf_models.make_tokenizer()
    tokens = Tokens(tokenizer, len(tokenizer), ())
    source, counts = random.Random(0), {True: 0, False: 0}
    for _ in range(50):
        ids = [source.randrange(len(hf_models.SPECIAL_TOKENS), len(tokenizer)) for _ in range(60)]
        decoder, given = TextDecoder(tokens, []), ""
        for count, token in enumerate(ids, 1):
            given += decoder.feed(token)
            assert len(given) >= len(tokens.decode(ids[: max(0, count - 3)]))
        said = given + decoder.flush()
        assert said == whole_text(tokens, ids)
        ends_in_a_character = said == tokens.decode(ids)
        counts[ends_in_a_character] += 1
    assert all(counts.values())


def spoil_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def truncate_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), ConfigError, "no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), ConfigError, "config.json is not JSON"),
        (lambda folder: spoil_config(folder, model_type="novel"), ModelLoadFailed, "architecture 'novel'"),
        (lambda folder: spoil_config(folder, model_type="novel", auto_map={}), ConfigError, "trust_remote_code: true"),
        (lambda folder: (folder / "tokenizer.json").unlink(), ModelLoadFailed, "no tokenizer"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), ModelLoadFailed, "tokenizer"),
        (lambda folder: (folder / "model.safetensors").unlink(), ModelLoadFailed, "model.safetensors"),
        (truncate_weights, ModelLoadFailed, "cannot load"),
        (drop_a_weight, ModelLoadFailed, "misses 1 weights .* model.layers.1.mlp.up_proj.weight"),
        (lambda folder: spoil_config(folder, hidden_size=128), ModelLoadFailed, "cannot load"),
    ],
)
def test_unusable_folder_is_refused(
    tmp_path: Path, folder: Path, spoil: Callable[[Path], None], error: type[Exception], said: str
) -> None:
    copy = tmp_path / "spoiled"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    spoil(copy)
    with pytest.raises(error, match=said) as caught, opened(copy):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"type": "MusicgenForConditionalGeneration"}, "type 'MusicgenForConditionalGeneration'"),
        ({"dtype": "int3"}, "dtype 'int3'"),
        ({"embeddings": True, "reranking": True}, "remove `embeddings`"),
        ({"options": ("parallel:none",)}, "whole number"),
        ({"context_size": 257}, "made for 256"),
        ({"parameters": Parameters(model="nowhere")}, "no folder .*nowhere"),
        ({"parameters": Parameters(model="tiny/config.json")}, "is a file"),
    ],
)
def test_config_that_cannot_be_honoured_is_refused(folder: Path, config: dict[str, Any], said: str) -> None:
    asked = {"name": "tiny", "models_path": str(folder.parent), "parameters": Parameters(model="tiny")} | config
    with pytest.raises(ConfigError, match=said):
        TransformersBackend().load(ModelConfig(**asked), lambda fraction: None)


def test_too_little_memory_names_context_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_size, "MEMORY_SHARE", 1e-9)
    with pytest.raises(ConfigError, match="context_size"), opened(folder):
        pass


def test_a_model_that_differs_in_batches_takes_turns(
    folder: Path, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = batching._plain_logprobs
    monkeypatch.setattr(batching, "_plain_logprobs", lambda model: [value - 0.1 for value in honest(model)])
    with opened(folder) as backend:
        (job,) = jobs(1)
        run(backend, job)
        assert not backend.runner.runs_by_itself
        assert job.output_tokens == reference(job.prompt_tokens, 40)


@pytest.mark.parametrize(
    ("config", "on_gpu", "on_cpu"),
    [
        ({}, "auto", torch.float32),
        ({"f16": True}, torch.float16, torch.bfloat16),
        ({"f16": False}, torch.float32, torch.float32),
        ({"dtype": "float16"}, torch.float16, torch.float16),
        ({"dtype": "auto", "f16": True}, "auto", "auto"),
    ],
)
def test_the_number_format_suits_the_device(folder, monkeypatch, config, on_gpu, on_cpu):
    """The GPU is an old one, which computes in no bfloat16."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    asked = configured(folder, **config).engine
    assert weights.choose_dtype(asked, torch.device("cuda", 0)) == on_gpu
    assert weights.choose_dtype(asked, devices.CPU) == on_cpu


def word_in(text: str) -> str:
    """Return some letters of a text that begin there for the first time."""
    words = (text[at : at + 3] for at in range(8, len(text)) if text.find(text[at : at + 3]) == at)
    return next(word for word in words if word.isascii())


def test_what_is_forbidden_never_comes(backend: TransformersBackend) -> None:
    free = Job(1, Prompt(PROMPT), GREEDY)
    said = text_of(run(backend, free)[1])
    word, end = word_in(said), free.output_tokens[4]
    asked: list[dict[str, Any]] = [
        {"bad_words": (word,)},
        {"banned_strings": (word.swapcase(),)},
        {"stop_token_ids": (end,)},
        {"stop_token_ids": (end,), "min_tokens": 20},
        {"stop": (word,), "include_stop_str_in_output": True},
        {"allowed_token_ids": (40, 41, 42)},
        {"no_repeat_ngram_size": 2},
        {"t_max_predict_ms": 1},
    ]
    jobs = [Job(2 + n, Prompt(PROMPT), replace_params(GREEDY, **each)) for n, each in enumerate(asked)]
    replies = run(backend, *jobs)
    banned, folded, ended, longer, kept, only, fresh, timed = jobs
    assert word not in text_of(replies[banned.id]) and word not in text_of(replies[folded.id])
    assert text_of(replies[banned.id])[: said.index(word)] == said[: said.index(word)]
    assert ended.output_tokens == free.output_tokens[: free.output_tokens.index(end) + 1]
    assert ending(replies[ended.id]).reason == FinishReason.EOS
    assert end not in longer.output_tokens[:20]
    assert len(longer.output_tokens) > 20
    assert text_of(replies[kept.id]) == said[: said.index(word) + len(word)]
    assert set(only.output_tokens) <= {40, 41, 42}
    assert len(only.output_tokens) == 40
    pairs = list(zip(fresh.output_tokens, fresh.output_tokens[1:], strict=False))
    assert len(set(pairs)) == len(pairs)
    assert ending(replies[timed.id]).reason == FinishReason.MAX_TOKENS
    assert len(timed.output_tokens) < 40


def replace_params(params: SamplingParams, **fields: Any) -> SamplingParams:
    return msgspec.structs.replace(params, **fields)
