"""Adapters of requests: beside others and the model itself, each answer is the one that a lone llama.cpp gives."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from localai_flask.backends.base import Job
from localai_flask.backends.llama_cpp.model import adapters as shelf
from localai_flask.backends.llama_cpp.scheduling import turns
from localai_flask.backends.llama_cpp.scheduling.turns import Turns
from localai_flask.errors import ConfigError
from localai_flask.generation import Adapter, Prompt, Started
from localai_flask.sampling_params import SamplingParams
from tests.engine.conftest import Engine, load_engine
from tests.support import gguf_models as models

WIDTH = 64
EXACT = {"f16": False, "flash_attention": "off"}
LONG = {"max_tokens": 24, "ignore_eos": True}
TEXTS = ["a text of several tokens", "another one that is longer than the first of them"]
FILES = ("one.gguf", "other.gguf")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(FILES, 1):
        models.lora_adapter(folder / name, WIDTH, seed)
    return models.random_llama(folder / "model.gguf", width=WIDTH)


@pytest.fixture
def open_model(model):
    engines: list[Engine] = []

    def load(*options: str, **config) -> Engine:
        engines.append(load_engine(model, *options, **EXACT, **config))
        return engines[-1]

    yield load
    for engine in engines:
        engine.backend.close()


def named(*names: str, scale: float = 1.0) -> dict[str, tuple[Adapter, ...]]:
    """Ask for adapters in place of the YAML's."""
    return {"adapters": tuple(Adapter(name, scale) for name in names)}


WAYS = [{}, *(named(name) for name in FILES), named(*FILES), named(FILES[0], scale=0.5)]


def alone(path: Path, text: str, adapters: tuple[Adapter, ...] = ()) -> list[int]:
    """Return what llama.cpp writes with nothing but this model, these adapters and this text."""
    from llama_cpp import Llama, llama_cpp

    llama = Llama(str(path), n_ctx=256, n_threads=1, type_k=0, type_v=0, verbose=False)
    loaded = [
        llama_cpp.llama_adapter_lora_init(llama.model, str(path.parent / each.file).encode()) for each in adapters
    ]
    pointers = (llama_cpp.llama_adapter_lora_p_ctypes * len(loaded))(*loaded)
    scales = (llama_cpp.ctypes.c_float * len(loaded))(*(each.scale for each in adapters))
    assert llama_cpp.llama_set_adapters_lora(llama.ctx, pointers, len(loaded), scales) == 0
    tokens = llama.tokenize(text.encode(), special=True)
    written: list[int] = []
    while len(written) < LONG["max_tokens"]:
        llama.eval(tokens)
        logits = llama_cpp.llama_get_logits_ith(llama.ctx, -1)
        size = llama.n_vocab()
        ends = {models.OLD_END, models.IM_END}
        tokens = [max((each for each in range(size) if each not in ends), key=lambda each: logits[each])]
        written += tokens
    llama.close()
    return written


@pytest.fixture(scope="module")
def expected(model) -> dict[tuple[str, int], list[int]]:
    answers = {(text, way): alone(model, text, **WAYS[way]) for text in TEXTS for way in range(len(WAYS))}
    assert len({tuple(answer) for answer in answers.values()}) == len(answers), "each adapter changes each answer"
    return answers


@pytest.mark.parametrize(
    "options",
    [(), ("parallel:2",), ("spec_type:ngram-simple", "spec_ngram_size_n:1")],
    ids=["together", "two at once", "look-up"],
)
def test_answers_beside_others_are_those_of_a_lone_llama_cpp(open_model, expected, monkeypatch, options):
    monkeypatch.setattr(turns, "TURN_S", 0.0)
    engine = open_model(*(options or ("parallel:10",)))
    jobs = {}
    for text in TEXTS:
        for way, adapters in enumerate(WAYS):
            jobs[text, way] = engine.submit(text, **LONG, **adapters)
            engine.step(3)
    engine.run()
    assert {key: job.output_tokens for key, job in jobs.items()} == expected
    engine.check_books()


def test_a_draft_model_guesses_for_adapters_too(open_model, expected):
    engine = open_model(draft_model="model.gguf", n_draft=4)
    jobs = {(TEXTS[0], way): engine.submit(TEXTS[0], **LONG, **adapters) for way, adapters in enumerate(WAYS)}
    engine.run()
    assert {key: job.output_tokens for key, job in jobs.items()} == {key: expected[key] for key in jobs}
    assert engine.end(jobs[TEXTS[0], 0]).timings.accepted_tokens > 0


def test_a_prompt_is_cached_for_its_own_adapters_alone(open_model, expected):
    engine = open_model("cache_ram:16")
    text = TEXTS[1]
    for way, adapters in enumerate(WAYS):
        first = engine.generate(text, **LONG, **adapters)
        assert (first.num_cached, first.output_tokens) == (0, expected[text, way])
    for way, adapters in enumerate(WAYS):
        again = engine.generate(text, **LONG, **adapters)
        assert again.num_cached > 0 and again.output_tokens == expected[text, way]


def test_a_prompt_that_comes_twice_at_once_waits_for_its_own_adapters_alone(open_model, expected, hardly_repeatable):
    engine = open_model("parallel:10")
    prompt = TEXTS[1] * 3
    jobs = [engine.submit(prompt, **LONG, **WAYS[way]) for way in (0, 0, 1, 1, 2)]
    engine.step()
    assert [bool(engine.of(job, Started)) for job in jobs] == [True, False, True, False, True]
    engine.run()
    assert [job.num_cached > 0 for job in jobs] == [False, True, False, True, False]
    assert jobs[0].output_tokens == jobs[1].output_tokens != jobs[2].output_tokens == jobs[3].output_tokens


def test_the_same_tokens_are_put_away_for_each_adapter(open_model, hardly_repeatable):
    engine = open_model("cache_ram:16")
    prompt = TEXTS[1][:30]  # of both ways so little that none has to make room for the other
    for cut in (30, 20):  # the second ones begin as the first do
        for way in (0, 1):
            engine.generate(prompt[:cut], max_tokens=1, **WAYS[way])
        engine.backend.cache.drop_idle()
    assert [engine.generate(prompt, max_tokens=1, **WAYS[way]).num_cached for way in (0, 1)] == [len(prompt)] * 2


def test_prompts_on_disk_are_found_by_the_same_adapters_alone(open_model, tmp_path):
    def load() -> Engine:
        return open_model("cache_disk:1024", "cache_ram:0", prompt_cache_path=f"prompts-{tmp_path.name}")

    prompt = "a long text " * 12
    engine = load()
    written = [engine.generate(prompt, **LONG, **WAYS[way]).output_tokens for way in (0, 1)]
    engine.rest()
    engine.backend.close()
    for way in (1, 0, 2):
        later = load().generate(prompt, **LONG, **WAYS[way])
        assert (later.num_cached > 64) is (way != 2)
        if way != 2:
            assert later.output_tokens == written[way]


def test_the_same_adapters_as_in_the_yaml_are_the_model_itself(open_model, expected):
    engine = open_model(lora_adapter=FILES[0])
    assert engine.generate(TEXTS[0], **LONG).output_tokens == expected[TEXTS[0], 1]
    again = engine.generate(TEXTS[0], **LONG, **named(FILES[0]))
    assert again.num_cached > 0 and again.output_tokens == expected[TEXTS[0], 1]
    assert engine.generate(TEXTS[0], **LONG, adapters=()).output_tokens == expected[TEXTS[0], 0]


def is_in_memory(path: Path) -> bool:
    """Return whether the whole of a file is read without a disk."""
    with open(path, "rb", buffering=0) as file:
        size, done = os.fstat(file.fileno()).st_size, 0
        while done < size:
            try:
                done += os.preadv(file.fileno(), [bytearray(size - done)], done, os.RWF_NOWAIT)
            except BlockingIOError:
                return False
    return True


def forget(path: Path) -> None:
    """Have the system drop a file from its memory, where that is on a disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_a_file_is_read_by_another_thread_before_the_engine_loads_it(open_model, model, expected, monkeypatch):
    check, threads = shelf._check, []

    def watched(stamp):
        threads.append(threading.current_thread().name)
        check(stamp)

    monkeypatch.setattr(shelf, "_check", watched)
    file = models.lora_adapter(model.parent / "large.gguf", WIDTH, rank=4096)
    engine = open_model()
    ask = SamplingParams(**named(file.name))
    forget(file)
    engine.backend.compile_ahead(Job(1, Prompt("a"), ask)).result()
    assert is_in_memory(file) and threads == ["adapters"]
    engine.generate("a", max_tokens=1, **named(file.name))
    assert engine.backend.compile_ahead(Job(2, Prompt("a"), ask)) is None, "it is loaded"
    mistaken = engine.backend.compile_ahead(Job(3, Prompt("a"), SamplingParams(**named(model.name))))
    with pytest.raises(ConfigError, match="no LoRA adapter"):
        mistaken.result()


def test_an_adapter_that_does_not_fit_ends_its_own_request_alone(open_model, model, expected):
    models.lora_adapter(model.parent / "wide.gguf", width=128)
    engine = open_model()
    running = engine.submit(TEXTS[0], **LONG)
    engine.step(3)
    for name, words in (("wide.gguf", "does not fit the model"), ("gone.gguf", "does not exist")):
        with pytest.raises(ConfigError, match=words):
            engine.submit(TEXTS[0], **LONG, **named(name))
    engine.run()
    assert running.output_tokens == expected[TEXTS[0], 0]


def test_a_file_that_was_replaced_is_another_adapter(open_model, model, expected):
    file = model.parent / "replaced.gguf"
    engine = open_model()
    answers = []
    for seed in (1, 2):
        models.lora_adapter(file, WIDTH, seed)
        answers.append(engine.generate(TEXTS[0], **LONG, **named(file.name)))
    assert [job.output_tokens for job in answers] == [expected[TEXTS[0], 1], expected[TEXTS[0], 2]]
    assert [job.num_cached for job in answers] == [0, 0]


def test_adapters_that_nobody_uses_give_their_memory_back(open_model, model, expected):
    engine = open_model("cache_ram:0")
    engine.submit(TEXTS[0], **LONG, **WAYS[1])
    engine.step(3)
    assert engine.backend.spare_bytes == 0
    engine.generate(TEXTS[0], **LONG, **WAYS[2])
    size = sum((model.parent / name).stat().st_size for name in FILES)
    assert engine.backend.spare_bytes == size
    engine.backend.give_back(size)
    assert engine.backend.spare_bytes == 0
    assert engine.backend.model.adapters._applied == ("", {}), "the library must not go on with what is freed"
    for way in (2, 1, 0, 1):  # the first is what the library was told last
        assert engine.generate(TEXTS[0], **LONG, **WAYS[way]).output_tokens == expected[TEXTS[0], way]


def test_few_idle_adapters_stay(open_model, model):
    engine = open_model("cache_ram:0")
    for seed in range(12):
        path = models.lora_adapter(model.parent / f"many-{seed}.gguf", WIDTH, seed)
        engine.generate(TEXTS[0], max_tokens=2, **named(path.name))
    assert engine.backend.spare_bytes <= 10 * path.stat().st_size


def test_streams_of_two_adapters_advance_alike(open_model, monkeypatch):
    monkeypatch.setattr(turns, "TURN_S", 0.0)
    engine = open_model()
    jobs = [engine.submit(TEXTS[0], max_tokens=60, ignore_eos=True, **WAYS[way]) for way in (0, 1, 1, 2)]
    while not all(job.output_tokens for job in jobs):
        engine.step()
    before = [len(job.output_tokens) for job in jobs]
    engine.step(30)
    gained = [len(job.output_tokens) - had for job, had in zip(jobs, before, strict=True)]
    assert max(gained) - min(gained) <= 1 and min(gained) >= 9


# Turns


def test_a_turn_lasts_its_time_and_ends_with_what_there_is_to_do():
    now = [0.0]
    taking = Turns(lambda: now[0])

    def play(*scopes: str, after: float = 0.0) -> str:
        now[0] += after
        return taking.choose(scopes)

    assert play("", "a") == ""
    assert play("", "a", after=turns.TURN_S / 2) == ""
    assert play("", "a", after=2 * turns.TURN_S) == "a"
    assert play("", "a", "b", after=turns.TURN_S / 2) == "a"
    assert play("", "b") == "b"
    assert play("", "a", "b", after=2 * turns.TURN_S) == ""
    assert play("", "a", "b", after=2 * turns.TURN_S) == "a"
    assert play("a", after=turns.TURN_S * 9) == "a"
