"""The RWKV engine without its library: whose turn it is, what is remembered, vocabularies, strategies, YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from localai_flask.backends.base import Job
from localai_flask.backends.rwkv import engine as rwkv_engine
from localai_flask.backends.rwkv.engine import RwkvBackend
from localai_flask.backends.rwkv.key_checks import check
from localai_flask.backends.rwkv.loading import LoadedModel
from localai_flask.backends.rwkv.state_cache import NOTHING, StateCache
from localai_flask.backends.rwkv.strategy import choose_strategy
from localai_flask.backends.rwkv.vocabulary import read_vocabulary
from localai_flask.config.blocks import ModelFile
from localai_flask.config.files.pth import Checkpoint
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError, InvalidRequest
from localai_flask.generation import Constraint, Delta, Finished, FinishReason, ModelInfo, Progress, Prompt, Started
from localai_flask.sampling_params import SamplingParams
from tests.support import rwkv_models


class Echoing:
    """A network whose state is the sum of all tokens, and which says one after the other of a script."""

    def __init__(self, size: int, script: list[int]):
        self.size, self.script = size, script
        self.read: list[list[int]] = []

    def forward(self, tokens: list[int], state: Any) -> Any:
        self.read.append(tokens)
        state = state or [torch.zeros(2, dtype=torch.int64)]
        total, written = state[0].tolist()
        written += len(tokens) == 1
        logits = torch.zeros(self.size)
        logits[self.script[written % len(self.script)]] = 9.0
        state[0] = torch.tensor([total + sum(tokens), written])
        return logits, state


@pytest.fixture
def vocabulary(tmp_path: Path):
    size = rwkv_models.write_vocabulary(tmp_path / "v.txt")
    return read_vocabulary(tmp_path / "v.txt", size + 3)


@pytest.fixture
def engine(vocabulary, monkeypatch: pytest.MonkeyPatch):
    def make(text: str = "abcabc", **keys: Any) -> RwkvBackend:
        made = RwkvBackend()
        made.network = Echoing(vocabulary.size, vocabulary.cut(text))  # type: ignore[attr-defined]
        info = ModelInfo(backend="rwkv", engine_version="", context_length=4096, capabilities=frozenset())
        loaded = LoadedModel(made.network, vocabulary, info)  # type: ignore[attr-defined]
        monkeypatch.setattr(rwkv_engine, "load_model", lambda config, progress: loaded)
        monkeypatch.setattr(rwkv_engine, "STEP_S", 0.0)
        made.load(EngineConfig(name="m", **keys), lambda share: None)
        return made

    return make


def job(number: int, text: str, **params: Any) -> Job:
    return Job(number, Prompt(text), SamplingParams(**{"temperature": 0.0, "max_tokens": 4} | params))


def run(engine: RwkvBackend, *jobs: Job) -> list[tuple[int, Any]]:
    for each in jobs:
        engine.prepare(each)
        assert engine.start(each)
    events = []
    while not engine.is_idle:
        events += engine.step()
    return events


def text_of(events: list[tuple[int, Any]], number: int = 1) -> str:
    return "".join(reply.text for which, reply in events if which == number and isinstance(reply, Delta))


def test_a_text_is_cut_into_the_longest_tokens_and_comes_back(vocabulary) -> None:
    ids = vocabulary.cut("abcab the\n\n你好")
    assert [vocabulary.piece(token).decode("utf-8", "replace") for token in ids[:5]] == [
        "abc",
        "ab",
        " the",
        "\n\n",
        "你",
    ]
    assert vocabulary.decode(ids) == "abcab the\n\n你好"
    assert len(ids) == 8, "a character that is no token is its bytes"


def test_the_name_of_the_end_is_a_token_where_it_may_be_one(vocabulary) -> None:
    text = "ab<|endoftext|>abc"
    assert vocabulary.tokenize(Prompt(text)) == [*vocabulary.cut("ab"), 0, *vocabulary.cut("abc")]
    assert 0 not in vocabulary.tokenize(Prompt(text, special=False))
    assert 0 not in vocabulary.tokenize(Prompt(text, plain=[(2, len(text))]))


def test_ids_without_a_token_are_never_chosen(vocabulary, engine) -> None:
    made = engine()
    made.network.script = [vocabulary.size - 1]
    run(made, asked := job(1, "a"))
    assert asked.output_tokens and vocabulary.size - 1 not in asked.output_tokens
    assert vocabulary.size - 1 in vocabulary.without_meaning


def test_a_form_that_is_full_ends_the_answer_although_ids_stand_for_nothing(vocabulary, engine) -> None:
    events = run(engine("abcabc"), asked := job(1, "a", max_tokens=9, constraint=Constraint("regex", "ab")))
    assert text_of(events) == "ab" and events[-1][1].reason is FinishReason.EOS
    assert vocabulary.without_meaning and asked.output_tokens[-1] == 0


@pytest.mark.parametrize("line", ["x 'a' 1", "1 'ab' 1", "1 open('x') 1", "1 'a'", "1 '' 0"])
def test_a_vocabulary_that_is_none_says_which_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "v.txt").write_text(f"1 'a' 1\n{line}\n")
    with pytest.raises(ConfigError, match=r"v\.txt, line 2, is no token of a vocabulary"):
        read_vocabulary(tmp_path / "v.txt", 300)


def test_a_vocabulary_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("400 'a' 1\n")
    with pytest.raises(ConfigError, match="has the token 400, but the model has 300 tokens only"):
        read_vocabulary(tmp_path / "v.txt", 300)


def test_a_tokenizer_json_is_a_vocabulary_too(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    vocab = {"<|endoftext|>": 0, "a": 1, "Ġ": 2, "Ġa": 3}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[("Ġ", "a")]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens(["<|endoftext|>"])
    made.save(str(tmp_path / "t.json"))
    tokens = read_vocabulary(tmp_path / "t.json", 4)
    assert (tokens.cut("a a"), tokens.piece(3), tokens.piece(0)) == ([1, 3], b" a", b"")


def test_a_short_prompt_passes_a_long_one_and_all_write_in_turns(engine) -> None:
    long, short, other = job(1, "x" * 2000), job(2, "x" * 10, max_tokens=8), job(3, "y" * 10, max_tokens=8)
    events = run(engine("abcabc"), long, short, other)
    order = [(number, type(reply)) for number, reply in events]
    assert order.index((2, Finished)) < order.index((1, Delta)), "it has written all before the long one is read"
    assert any(isinstance(reply, Progress) for number, reply in events if number == 1)
    written = [number for number, reply in events if isinstance(reply, Delta) and number in (2, 3)]
    assert written[2:8] in ([2, 3] * 3, [3, 2] * 3)


def test_a_long_prompt_is_read_although_short_ones_keep_coming(engine) -> None:
    made = engine()
    made.prepare(long := job(0, "x" * 1500, max_tokens=1))
    made.start(long)
    events: list[Any] = []
    for number in range(1, 60):
        made.prepare(short := job(number, f"{number} is short", max_tokens=1))
        made.start(short)
        events += made.step()
    assert any(number == 0 and isinstance(reply, Finished) for number, reply in events)


def test_what_was_read_is_not_read_again(engine) -> None:
    made = engine("abc:hello\n\nab")
    first = run(made, job(1, "hello:" * 100))
    for number in (4, 5):  # what is kept stays as it was
        assert text_of(run(made, job(number, "hello:" * 100)), number) == text_of(first) == "abc:hello\n\n"
    made.network.read.clear()
    second = run(made, again := job(2, "hello:" * 100))
    assert text_of(second, 2) == text_of(first) and again.num_cached == len(again.prompt_tokens)
    assert [len(tokens) for tokens in made.network.read] == [1] * 3, "only the tokens that were chosen"
    third = run(made, more := job(3, "hello:" * 100 + "abc:hello\n\nab and more"))
    assert more.num_cached > len(again.prompt_tokens), "the answer was kept as well"
    assert isinstance(third[0][1], Started) and third[0][1].cached_tokens == more.num_cached


def test_nothing_is_shared_by_who_does_not_want_it(engine) -> None:
    made = engine()
    run(made, job(1, "hello:" * 100, cache_prompt=False))
    assert made.cache.bytes == 0
    run(made, job(2, "hello:" * 100))
    run(made, third := job(3, "hello:" * 100, cache_prompt=False))
    assert third.num_cached == 0


def test_the_cache_keeps_what_was_used_last() -> None:
    cache = StateCache(3 * 48)
    for text in ([1], [2], [3]):
        cache.keep(text, [torch.zeros(5, dtype=torch.float64)], torch.zeros(1, dtype=torch.float64))
    assert cache.find([1, 9]).length == 1
    cache.keep([4], [torch.zeros(5, dtype=torch.float64)], torch.zeros(1, dtype=torch.float64))
    assert cache.find([2]) is NOTHING and cache.find([1]).length == 1 and cache.bytes == 3 * 48


def test_a_conversation_ends_before_the_others_turn(engine) -> None:
    made = engine("abc\n\nUser: abc")
    events = run(made, job(1, "User: hello\n\nAssistant:", max_tokens=50))
    assert text_of(events) == "abc"
    assert events[-1][1].reason is FinishReason.EOS and events[-1][1].stop_sequence is None
    assert "User: abc" in text_of(run(made, job(2, "once upon a time", max_tokens=50)), 2)
    asked = run(made, job(3, "User: hello\n\nAssistant:", max_tokens=50, stop=["\n\nUser:"]))
    assert asked[-1][1].stop_sequence == "\n\nUser:"


def test_prompts_are_read_in_pieces_as_yaml_says(engine, vocabulary) -> None:
    made = engine("abc", batch=100)
    run(made, job(1, "x" * 250, max_tokens=1))
    assert [len(tokens) for tokens in made.network.read] == [100, 100, 50]


def test_a_cancelled_sequence_gets_no_more(engine) -> None:
    made = engine()
    for each in (job(1, "x" * 600), job(2, "y")):
        made.prepare(each)
        made.start(each)
    made.step()
    made.cancel(1)
    made.cancel(1)
    events = []
    while not made.is_idle:
        events += made.step()
    assert {number for number, _ in events} == {2} and made.room == 16


def test_ids_of_a_prompt_have_to_be_the_models(engine, vocabulary) -> None:
    with pytest.raises(InvalidRequest, match="has the token id 999"):
        engine().prepare(Job(1, Prompt(tokens=[999]), SamplingParams()))


@pytest.mark.parametrize(
    ("yaml", "version", "strategy"),
    [
        ({}, 4, "cpu fp32"),
        ({"f16": True}, 7, "cpu bf16"),
        ({"dtype": "float16"}, 7, "cpu fp16"),
        ({"quantization": "int8"}, 6, "cpu fp32i8"),
        ({"options": ("strategy:cuda fp16 *10 -> cpu fp32",)}, 5, "cuda fp16 *10 -> cpu fp32"),
        ({"main_gpu": "cpu", "f16": False}, 7, "cpu fp32"),
    ],
)
def test_yaml_chooses_the_strategy(monkeypatch: pytest.MonkeyPatch, yaml: Any, version: int, strategy: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_strategy(EngineConfig(name="m", **yaml), Checkpoint(version, 300, 64, 24, 1)) == strategy


@pytest.mark.parametrize(
    ("yaml", "version", "strategy"),
    [({}, 7, "cuda:0 fp16"), ({"f16": False}, 6, "cuda:0 fp32"), ({"gpu_layers": 9}, 6, "cuda:0 fp16 *9 -> cpu fp32")],
)
def test_a_gpu_is_used_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, yaml: Any, version: int, strategy: str
) -> None:
    from localai_flask.backends.rwkv import strategy as module

    monkeypatch.setattr(module, "choose_device", lambda config: torch.device("cuda", 0))
    assert choose_strategy(EngineConfig(name="m", **yaml), Checkpoint(version, 300, 64, 24, 1)) == strategy


def test_version_7_has_no_weights_in_8_bits() -> None:
    with pytest.raises(ConfigError, match="weights of version 7 in 16 or 32 bits only"):
        choose_strategy(EngineConfig(name="m", quantization="int8", main_gpu="cpu"), Checkpoint(7, 300, 64, 24, 1))


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ({"dtype": "int4"}, "not in 'int4'"),
        ({"quantization": "bnb_4bit"}, "has no 'bnb_4bit'"),
        ({"options": ("strategy:fast",)}, "'fast' is no strategy"),
        ({"options": ("parallel:0",)}, "a whole number from 1 on"),
        ({"options": ("cache_rom:1",)}, "perhaps 'cache_ram' is meant"),
        ({"lora_adapter": "a"}, "`lora_adapter` is not read by the rwkv backend"),
    ],
)
def test_yaml_that_cannot_be_honoured_is_named(yaml: Any, said: str) -> None:
    (note,) = check(EngineConfig(name="m", **yaml))
    assert said in note.text


def test_a_strategy_of_several_devices_is_refused_for_version_7(tmp_path: Path) -> None:
    rwkv_models.write_checkpoint(tmp_path / "m.pth", 7, 300)
    config = {"models_path": str(tmp_path), "parameters": ModelFile(model="m.pth", tokenizer="v.txt")}
    (note,) = check(EngineConfig(name="m", options=("strategy:cuda fp16 *9 -> cpu fp32",), **config))
    assert note.is_fault and "lies on one device" in note.text
