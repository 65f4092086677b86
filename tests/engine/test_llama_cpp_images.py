"""Images with the llama.cpp engine: as llama.cpp itself sees them, whatever is cached, shared or runs beside."""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from localai_flask.backends.base import Inquiry, Job
from localai_flask.backends.llama_cpp.speculation.speculation import Speculator
from localai_flask.backends.llama_cpp.vision import chunks
from localai_flask.errors import ApiError, ContextOverflow, InvalidRequest, UnsupportedParameter
from localai_flask.generation import Adapter, Delta, Failed, FinishReason, Image, Prompt
from localai_flask.inquiry import Tokenize
from localai_flask.sampling_params import SamplingParams
from tests.engine.conftest import Engine, load_engine
from tests.support.gguf_models import lora_adapter, random_llama
from tests.support.gguf_projectors import IMAGE_SIZE, seeing_model, write_projector
from tests.support.pictures import as_image, noise, picture, showing

KINDS = tuple(IMAGE_SIZE)
"""One that cuts images into slices, one with M-RoPE, one whose images see what is behind each of their tokens."""
Open = Callable[..., Engine]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeing")
    for kind in KINDS:
        seeing_model(folder / kind, kind)
    return folder


@pytest.fixture
def open_seeing(folder: Path) -> Iterator[Open]:
    """Load a model that sees, by its projector's kind; closed at the end of the test."""
    engines: list[Engine] = []

    def load(kind: str = "idefics3", *options: str, **config) -> Engine:
        settings = {"mmproj": "mmproj-tiny.gguf", "context_size": 1024} | config
        engines.append(load_engine(folder / kind / "tiny.gguf", *options, **settings))
        return engines[-1]

    yield load
    for engine in engines:
        engine.backend.close()


def first_logprobs(engine: Engine, prompt: Prompt, **sampling) -> dict[int, float]:
    """Return what the engine thinks of the likeliest first tokens."""
    job = engine.generate(prompt, max_tokens=1, top_logprobs=20, ignore_eos=True, **sampling)
    return {token: logprob for token, _, logprob in engine.of(job, Delta)[0].logprobs[0].top}


def own_logprobs(engine: Engine, prompt: Prompt) -> np.ndarray:
    """Have llama.cpp's own helpers read a prompt in a context of its own; give all log-probabilities behind it."""
    from llama_cpp import mtmd_cpp as mtmd

    from localai_flask.backends.llama_cpp.model.library import lib

    model = engine.backend.model
    marker, at, text = mtmd.mtmd_default_marker(), 0, b""
    for image in prompt.images:
        text, at = text + prompt.text[at : image.at].encode() + marker, image.at
    text += prompt.text[at:].encode()
    bitmaps = (ctypes.c_void_p * len(prompt.images))()
    for number, image in enumerate(prompt.images):
        data = (ctypes.c_uint8 * len(image.data)).from_buffer_copy(image.data)
        bitmaps[number] = mtmd.mtmd_helper_bitmap_init_from_buf(model.projector._context, data, len(data), False)
    cut = mtmd.mtmd_input_chunks_init()
    given = mtmd.mtmd_input_text(text=text, text_len=len(text), add_special=True, parse_special=True)
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 1024
    context = lib.llama_init_from_model(model.handle, params)
    past = lib.llama_pos()
    try:
        sees = model.projector._context
        assert mtmd.mtmd_tokenize(sees, cut, ctypes.byref(given), bitmaps, len(bitmaps)) == 0
        assert mtmd.mtmd_helper_eval_chunks(sees, context, cut, 0, 0, 512, True, ctypes.byref(past)) == 0
        logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (model.vocabulary.size,)).astype(float)
        return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    finally:
        lib.llama_free(context)
        mtmd.mtmd_input_chunks_free(cut)
        for bitmap in bitmaps:
            mtmd.mtmd_bitmap_free(bitmap)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["look: @ and now?", "@@", "a@b@c"])
def test_images_are_read_as_llama_cpp_reads_them(open_seeing: Open, kind: str, text: str) -> None:
    engine = open_seeing(kind, threads=1)
    images = [picture(seed) for seed in range(text.count("@"))]
    prompt = showing(text, *images)
    own = own_logprobs(engine, prompt)
    for _ in range(2):  # computed, and from the cache
        told = first_logprobs(engine, prompt)
        assert told == {token: pytest.approx(own[token], abs=0.02) for token in told}
    engine.check_books()


@pytest.mark.parametrize("kind", KINDS)
def test_another_image_changes_what_is_answered(open_seeing: Open, kind: str) -> None:
    engine = open_seeing(kind)
    one, other = (first_logprobs(engine, showing("look: @!", picture(seed))) for seed in (0, 1))
    both = one.keys() & other.keys()
    assert len(both) < 20 or max(abs(one[token] - other[token]) for token in both) > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_encoded_once_and_its_prefix_comes_from_the_cache(open_seeing: Open, kind: str) -> None:
    engine = open_seeing(kind, "swa_full:true")
    sight = engine.backend._sight
    image, other = picture(0), picture(1)
    first = engine.generate(showing("look: @ what?", image), max_tokens=4, ignore_eos=True)
    again = engine.generate(showing("look: @ what else?", image), max_tokens=4, ignore_eos=True)
    assert sight.encoded == 1
    begin = next(at for at, token in enumerate(first.prompt_tokens) if token < 0)
    behind = begin + sum(token < 0 for token in first.prompt_tokens)
    assert engine.end(again).usage.cached_tokens > behind
    assert engine.end(first).usage.prompt_tokens == len(first.prompt_tokens) > behind

    elsewhere = engine.generate(showing("see: @", image), max_tokens=1)
    assert sight.encoded == 1, "the same image at another place is computed anew, but not encoded"
    assert engine.end(elsewhere).usage.cached_tokens < 3
    changed = engine.generate(showing("look: @ what?", other), max_tokens=1)
    assert sight.encoded == 2
    assert engine.end(changed).usage.cached_tokens == (0 if kind == "gemma3" else begin), "windows do not go back"
    engine.check_books()


def test_an_image_in_the_cache_is_not_encoded_though_it_was_forgotten(open_seeing: Open) -> None:
    engine = open_seeing()
    engine.generate(showing("look: @ what?", picture()), max_tokens=1)
    sight = engine.backend._sight
    sight._encoded._kept.clear()
    engine.generate(showing("look: @ what now?", picture()), max_tokens=1)
    assert sight.encoded == 1
    engine.generate(showing("see: @", picture()), max_tokens=1)
    assert sight.encoded == 2


def test_an_image_in_the_cache_for_other_adapters_is_encoded_before_its_prompt_starts(open_seeing: Open) -> None:
    engine = open_seeing()
    file = lora_adapter(engine.backend.model.path.parent / "adapter.gguf")
    prompt, sight = showing("look: @ what?", picture()), engine.backend._sight
    plain, fully, half = {}, {"adapters": (Adapter(file.name),)}, {"adapters": (Adapter(file.name, 0.5),)}
    encoded = []
    for way in (plain, fully, half, plain, fully):
        sight._encoded._kept.clear()
        engine.submit(prompt, max_tokens=1, **way)
        encoded.append(sight.encoded)
        engine.run()
    assert encoded == [1, 2, 3, 3, 3] and sight.encoded == 3


@pytest.mark.parametrize("kind", KINDS)
def test_streams_go_on_while_an_image_is_encoded(open_seeing: Open, kind: str, monkeypatch) -> None:
    engine = open_seeing(kind)
    go_on, projector = threading.Event(), engine.backend.model.projector
    see = projector.see

    def slow(image: Image) -> Any:
        assert threading.current_thread().name == "images"
        go_on.wait(60)
        return see(image)

    monkeypatch.setattr(projector, "see", slow)
    stream = engine.submit("abc", max_tokens=64, ignore_eos=True)
    prompt = showing("look: @ what?", picture())
    ahead = engine.backend.compile_ahead(Job(99, prompt, SamplingParams()))
    engine.step(20)
    assert len(stream.output_tokens) >= 10 and ahead is not None and not ahead.done()
    go_on.set()
    seen = engine.generate(prompt, max_tokens=4, ignore_eos=True)
    assert len(seen.output_tokens) == 4 and engine.backend._sight.encoded == 1
    assert len(stream.output_tokens) == 64


def test_nobody_waits_for_the_images_of_who_has_left(open_seeing: Open) -> None:
    engine = open_seeing()
    job = Job(99, showing("@@@", *map(picture, range(3))), SamplingParams())
    job.is_over = True
    ahead = engine.backend.compile_ahead(job)
    ahead.result(60)
    assert engine.backend._sight.encoded == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_left_the_cache_while_its_prompt_waited_is_encoded_again(open_seeing: Open, kind: str) -> None:
    engine = open_seeing(kind, "cache_ram:0", "swa_full:true")
    prompt = showing("look: @ what?", picture())
    first = engine.generate(prompt, max_tokens=4, ignore_eos=True)
    cache, sight = engine.backend.cache, engine.backend._sight
    sight._encoded._kept.clear()
    job = engine.submit(prompt, max_tokens=4, ignore_eos=True)
    assert sight.encoded == 1
    for slot in cache.slots:
        cache._eviction.clear(slot)
    stream = engine.submit("abc", max_tokens=200, ignore_eos=True)
    engine.run()
    assert sight.encoded == 2
    assert job.output_tokens == first.output_tokens and len(stream.output_tokens) == 200
    engine.check_books()


def test_an_image_that_breaks_late_ends_its_prompt_alone(open_seeing: Open, monkeypatch) -> None:
    engine = open_seeing("idefics3", "cache_ram:0")
    prompt = showing("look: @ what?", picture())
    engine.generate(prompt, max_tokens=1)
    engine.backend._sight._encoded._kept.clear()
    job, stream = engine.submit(prompt), engine.submit("abc", max_tokens=8, ignore_eos=True)
    for slot in engine.backend.cache.slots:
        engine.backend.cache._eviction.clear(slot)

    def fail(image: Image) -> Any:
        raise InvalidRequest("An image is broken.")

    monkeypatch.setattr(engine.backend.model.projector, "see", fail)
    engine.run()
    assert [failed.error.message for failed in engine.of(job, Failed)] == ["An image is broken."]
    assert engine.end(stream).reason is FinishReason.MAX_TOKENS
    engine.check_books()


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_computed_in_parts_where_that_is_the_same(open_seeing: Open, kind: str) -> None:
    engine = open_seeing(kind, batch=8, threads=1)
    prompt = showing("look: @ and @ now?", picture(), picture(1))
    own = own_logprobs(engine, prompt)
    stream = engine.submit("abc", max_tokens=300, ignore_eos=True)
    engine.step(4)
    told = first_logprobs(engine, prompt)
    assert told == {token: pytest.approx(own[token], abs=0.02) for token in told}
    assert len(stream.output_tokens) == 300
    assert engine.backend.model.n_batch == (16 if kind == "gemma3" else 8)


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_that_share_an_image_run_together(open_seeing: Open, kind: str) -> None:
    engine = open_seeing(kind)
    texts = ("look: @ what?", "look: @ what?", "look: @ who?", "see: @")
    alone = [engine.generate(showing(text, picture()), max_tokens=12, ignore_eos=True).output_tokens for text in texts]
    engine.backend.cache.drop_idle()
    together = [engine.submit(showing(text, picture()), max_tokens=12, ignore_eos=True) for text in texts]
    engine.run()
    assert [job.output_tokens for job in together] == alone
    assert engine.backend._sight.encoded == 1
    engine.check_books()


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_starts_from_the_image_of_one_that_runs(open_seeing: Open, kind: str) -> None:
    engine = open_seeing(kind, "swa_full:true", threads=1)
    own = own_logprobs(engine, showing("look: @ and now?", picture()))
    stream = engine.submit(showing("look: @ what?", picture()), max_tokens=200, ignore_eos=True)
    engine.step(12)
    assert stream.output_tokens
    job = engine.submit(showing("look: @ and now?", picture()), max_tokens=2, top_logprobs=20, ignore_eos=True)
    while len(job.output_tokens) < 2:
        engine.step()
    told = {token: logprob for token, _, logprob in engine.of(job, Delta)[0].logprobs[0].top}
    assert told == {token: pytest.approx(own[token], abs=0.02) for token in told}
    assert engine.end(job).usage.cached_tokens > (0 if kind == "gemma3" else 40)
    engine.check_books()
    engine.run()


def test_streams_get_their_time_back_for_an_image_that_is_computed_whole(open_seeing: Open, monkeypatch) -> None:
    engine = open_seeing("gemma3")
    stream = engine.submit("abc", max_tokens=200, ignore_eos=True)
    engine.step(3)
    seen: list[int] = []
    compute = engine.backend._sight.compute
    monkeypatch.setattr(engine.backend._pace, "budget", lambda *_, **__: 4)
    monkeypatch.setattr(
        engine.backend._sight, "compute", lambda share: (seen.append(len(stream.output_tokens)), compute(share))
    )
    jobs = [engine.submit(showing("@", picture(seed)), max_tokens=1) for seed in range(3)]
    with monkeypatch.context() as later:
        later.setattr(engine.backend.scheduler, "_next_image", lambda: None)
        engine.step(40)  # all stand at their images
    said = len(stream.output_tokens)
    while not all(job.output_tokens for job in jobs):
        engine.step()
    assert len(seen) == 3 and said <= seen[0] <= said + 2
    assert all(after - before >= 3 for before, after in itertools.pairwise(seen))


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_that_is_cancelled_in_an_image_leaves_no_part_of_it(open_seeing: Open, kind: str) -> None:
    engine = open_seeing(kind, batch=8)
    prompt = showing("look: @ what?", picture())
    whole = engine.generate(prompt, max_tokens=6, ignore_eos=True).output_tokens
    engine.backend.cache.drop_idle()
    engine.backend.cache.store.entries.clear()
    engine.backend.cache.store.size = 0
    for steps in range(1, 24, 4):
        job = engine.submit(prompt)
        engine.step(steps)
        engine.backend.cancel(job.id)
        engine.check_books()
        for slot in engine.backend.cache.slots:
            assert chunks.whole(slot.tokens, slot.length) == slot.length
    assert engine.generate(prompt, max_tokens=6, ignore_eos=True).output_tokens == whole


@pytest.mark.parametrize("kind", KINDS)
def test_images_come_back_from_host_memory(open_seeing: Open, kind: str) -> None:
    engine = open_seeing(kind, "parallel:1", context_size=256)
    prompt = showing("look: @ what is there to be seen?", picture())
    first = engine.generate(prompt, max_tokens=6, ignore_eos=True)
    engine.backend.cache.drop_idle()
    assert engine.backend.cache.store.entries and not any(slot.length for slot in engine.backend.cache.slots)
    again = engine.generate(prompt, max_tokens=6, ignore_eos=True)
    assert engine.end(again).usage.cached_tokens > 0.5 * len(first.prompt_tokens)
    assert again.output_tokens == first.output_tokens
    engine.check_books()


def test_a_full_context_with_images_ends_the_text_instead_of_moving_them(open_seeing: Open) -> None:
    engine = open_seeing("idefics3", "context_shift:true", context_size=128)
    job = engine.generate(showing("look: @", picture()), max_tokens=500, ignore_eos=True)
    assert engine.end(job).reason is FinishReason.CONTEXT
    assert engine.end(job).usage.total_tokens == 128


def test_what_has_images_is_not_moved_to_other_positions(open_seeing: Open) -> None:
    engine = open_seeing("idefics3", "cache_reuse:4")
    begin, text = "look well at it, my friend", "and what do you see there, in all of it?"
    engine.generate(showing(f"{begin}, and well: @{text}", picture()), max_tokens=1)
    moved = engine.generate(showing(f"{begin}: @{text}", picture()), max_tokens=4, ignore_eos=True)
    assert engine.end(moved).usage.cached_tokens == len(begin) + 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["spec_type:ngram-mod,ngram-simple", "draft"])
def test_guesses_change_nothing_of_what_is_said_of_an_image(open_seeing: Open, kind: str, way: str) -> None:
    small = ("spec_ngram_size_n:1", "spec_ngram_mod_n_match:1", "spec_ngram_mod_n_min:1", "swa_full:true")
    plain = open_seeing(kind, "swa_full:true")
    prompt = showing("aaaa @ aaaa @ aaaa", picture(), picture())
    expected = plain.generate(prompt, max_tokens=40, ignore_eos=True).output_tokens
    own = {"draft_model": "tiny.gguf"} if way == "draft" else {}
    guessing = open_seeing(kind, *(small if not own else small[3:]), *([way] if not own else []), **own)
    jobs = [guessing.submit(prompt, max_tokens=40, ignore_eos=True), guessing.submit("aaaa", max_tokens=40)]
    guessing.run()
    assert jobs[0].output_tokens == expected
    guessing.check_books()


def test_what_stands_for_an_image_is_never_guessed() -> None:
    class Drafter:
        most = 8

        def propose(self, wanted: dict[Any, int]) -> None:
            for sequence in wanted:
                sequence.draft = [5, 6, -7, 8]

    sequence = Mock(images=[], draft=[], worth_guessing=lambda most: most)
    Speculator([Drafter()]).guess([sequence])
    assert sequence.draft == [5, 6]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (3, 2)])
def test_images_of_odd_sizes_are_seen(open_seeing: Open, kind: str, size: tuple[int, int]) -> None:
    engine = open_seeing(kind, "image_max_tokens:256")
    job = engine.generate(showing("look: @", picture(0, *size)), max_tokens=2, ignore_eos=True)
    assert len(job.output_tokens) == 2
    with pytest.raises(InvalidRequest, match="200 times"):
        engine.submit(showing("look: @", picture(0, 201 * size[0], 1)))


def test_an_image_of_many_pixels_is_made_smaller_first(open_seeing: Open, monkeypatch) -> None:
    from localai_flask.backends.llama_cpp.vision import projector

    engine = open_seeing("qwen2vl_merger")
    large = engine.generate(showing("look: @", picture(0, 80, 40)), max_tokens=1).prompt_tokens
    monkeypatch.setattr(projector, "MOST_PIXELS", 800)
    small = engine.generate(showing("look: @", picture(1, 80, 40)), max_tokens=1).prompt_tokens
    assert 0 < sum(token < 0 for token in small) < sum(token < 0 for token in large) / 3


def test_penalties_and_choices_of_the_sampler_know_text_only(open_seeing: Open) -> None:
    engine = open_seeing()
    job = engine.generate(
        showing("look: @", picture()),
        max_tokens=8,
        ignore_eos=True,
        repeat_penalty=1.3,
        frequency_penalty=0.5,
        dry_multiplier=0.8,
    )
    assert len(job.output_tokens) == 8 and min(job.output_tokens) >= 0


def test_a_thousand_broken_images_hurt_nothing(open_seeing: Open) -> None:
    engine = open_seeing()
    stream = engine.submit("abc", max_tokens=400, ignore_eos=True)
    rng, files = np.random.default_rng(0), [noise(0, kind=kind) for kind in ("PNG", "JPEG", "WEBP", "GIF")]
    refused = 0
    for number in range(1000):
        data = bytearray(files[number % 4])
        for at in rng.integers(8, len(data), 40):
            data[at] = rng.integers(256)
        kind = ("PNG", "JPEG", "WEBP", "GIF")[number % 4]
        try:
            engine.submit(showing("look: @", as_image(bytes(data[: rng.integers(8, len(data) + 1)]), 40, 24, kind)))
        except InvalidRequest:
            refused += 1
        engine.step(number % 3 == 0)
    assert refused > 500
    engine.run()
    assert len(stream.output_tokens) == 400
    assert len(engine.generate(showing("look: @", picture()), max_tokens=4, ignore_eos=True).output_tokens) == 4
    engine.check_books()


def test_what_cannot_be_is_refused_by_name(open_seeing: Open, open_engine) -> None:
    engine = open_seeing(context_size=64)
    with pytest.raises(ContextOverflow, match="64 tokens"):
        engine.submit(showing("look: @", picture()))
    with pytest.raises(UnsupportedParameter, match="`echo`"):
        engine.submit(showing("look: @", picture()), prompt_logprobs=True)
    with pytest.raises(UnsupportedParameter, match="reads text only"):
        open_engine("llama").submit(showing("look: @", picture()))


@pytest.mark.parametrize(
    ("mmproj", "said"),
    [
        ("wide.gguf", "does not fit the model: .*64.* use the projector that was made for this model"),
        ("tiny.gguf", "is of kind 'model' and no projector; correct `mmproj`"),
        ("other.gguf", "does not exist; put the model file there or correct `mmproj`"),
        ("cut.gguf", "is cut off"),
        ("unknown.gguf", "cannot load the projector .*unknown projector type"),
    ],
)
def test_a_projector_that_is_none_of_the_models_is_named(folder: Path, tmp_path: Path, mmproj: str, said: str) -> None:
    model = tmp_path / "tiny.gguf"
    model.symlink_to(folder / "qwen2vl_merger" / "tiny.gguf")
    write_projector(tmp_path / "wide.gguf", "qwen2vl_merger", width=64)
    whole = (folder / "idefics3" / "mmproj-tiny.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    write_projector(tmp_path / "unknown.gguf", "idefics3", called="idefics9")
    with pytest.raises(ApiError, match=said):
        load_engine(model, mmproj=mmproj)


def test_a_projector_that_cannot_be_used_leaves_a_model_that_reads_text(folder: Path, tmp_path: Path, caplog) -> None:
    model = tmp_path / "tiny.gguf"
    model.symlink_to(folder / "qwen2vl_merger" / "tiny.gguf")
    write_projector(tmp_path / "hunyuan.gguf", "idefics3", called="hunyuanvl")
    engine = load_engine(model, mmproj="hunyuan.gguf")
    assert "'hunyuanvl' are not supported yet; the model reads text" in caplog.text
    with pytest.raises(UnsupportedParameter, match="reads text only"):
        engine.submit(showing("look: @", picture()))
    assert engine.generate("abc", max_tokens=2, ignore_eos=True).output_tokens
    engine.backend.close()


def test_images_are_counted_without_being_encoded(open_seeing: Open) -> None:
    engine = open_seeing()
    prompt = showing("look: @ what?", picture())
    inquiry = Inquiry(1, Tokenize(prompt))
    engine.backend.ask_ahead(inquiry).result(60)
    counted = engine.backend.inner.ask(inquiry)
    assert engine.backend._sight.encoded == 0
    assert counted.tokens == engine.generate(prompt, max_tokens=1).prompt_tokens


def test_a_deterministic_model_says_the_same_of_an_image_each_time(tmp_path: Path, monkeypatch) -> None:
    write_projector(tmp_path / "mmproj.gguf", "qwen2vl_merger", width=128)
    model = random_llama(tmp_path / "wide.gguf", width=128, layers=3)
    engine = load_engine(model, deterministic=True, mmproj="mmproj.gguf", context_size=1024)
    prompts = [
        showing(f"{'l' * (seed * seed)}@ and @ {'what? ' * seed}", picture(seed), picture(9)) for seed in range(5)
    ]
    budgets = itertools.cycle((4, 64, 17, 512, 33))
    monkeypatch.setattr(engine.backend._pace, "budget", lambda *_, **__: next(budgets))
    heard: dict[int, list[Any]] = {}
    for number in (0, 1, 2, 3, 4, 3, 1, 0, 4, 2):
        engine.generate("l" * (7 * number), max_tokens=3)
        job = engine.generate(prompts[number], max_tokens=6, top_logprobs=5, ignore_eos=True)
        told = [token for delta in engine.of(job, Delta) for token in delta.logprobs]
        assert told == heard.setdefault(number, told)
    assert engine.backend._sight.encoded == 6
    engine.check_books()
    engine.backend.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_before_an_image_is_on_disk_for_the_next_process(open_seeing, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("LOCALAI_PROMPT_CACHE_SIZE", "1GB")
    monkeypatch.setenv("LOCALAI_PROMPT_CACHE_PATH", str(tmp_path))
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.disk.transfer.SETTLED_S", 0.0)
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.disk.disk_cache.SPARED_BYTES", 0)
    text = "".join(chr(97 + n * n % 26) for n in range(200))
    prompt = showing(text + "@ what is it?", as_image(noise(1)))
    engine = open_seeing(kind)
    engine.generate(prompt, max_tokens=4, ignore_eos=True)
    engine.rest()
    again = open_seeing(kind)
    found = first_logprobs(again, prompt)
    # Memory that cannot roll back is kept whole, which it is not with an image in it.
    assert bool(again.backend.cache.disk.disk.tree.blocks) is not again.backend.model.cannot_roll_back
    assert found == pytest.approx(first_logprobs(open_seeing(kind, "cache_disk:0"), prompt), abs=1e-3)
