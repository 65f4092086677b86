"""Models of the transformers backend that see: batched, with positions of three dimensions, and in turns."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from localai_flask.backends.base import Inquiry, Job  # noqa: E402
from localai_flask.backends.hugging_face.image_prompts import with_placeholders  # noqa: E402
from localai_flask.backends.images import open_image  # noqa: E402
from localai_flask.backends.transformers.engine import TransformersBackend  # noqa: E402
from localai_flask.backends.transformers.generation.batching import Batcher  # noqa: E402
from localai_flask.backends.transformers.generation.turns import Turns  # noqa: E402
from localai_flask.backends.transformers.images.reader import ImageReader  # noqa: E402
from localai_flask.config import traits  # noqa: E402
from localai_flask.errors import ApiError, ContextOverflow, InvalidRequest, ModelLoadFailed  # noqa: E402
from localai_flask.generation import Delta, Failed, FinishReason, Image, Prompt, Started  # noqa: E402
from localai_flask.inquiry import Tokenize  # noqa: E402
from localai_flask.sampling_params import SamplingParams  # noqa: E402
from tests.engine.test_transformers import configured, ending, opened, run, text_of  # noqa: E402
from tests.support import hf_vision_models  # noqa: E402
from tests.support.pictures import as_image, noise, showing  # noqa: E402

A, B = noise(1, 60, 80), noise(2, 200, 90)
GREEDY = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
MAKERS = {
    "llava": hf_vision_models.make_llava,
    "qwen2_vl": hf_vision_models.make_qwen2_vl,
    "gemma3": hf_vision_models.make_gemma3,
    "qwen3_vl": hf_vision_models.make_qwen3_vl,
}
IN_TURNS = ("gemma3", "qwen3_vl")
PROMPTS = [
    ("the ", A, " dog looks on"),
    ("the fox", A, " dog looks on", B, " there was a small model in a galaxy far away"),
    ("the fox", B, " dog looks on", A, " there was a small model in a galaxy far away"),
    ("a dog looks on, and the fox jumps over the lazy dog",),
]


def prompt_of(*parts: str | bytes) -> Prompt:
    """Make a prompt of texts and images."""
    text = "".join(part if isinstance(part, str) else "@" for part in parts)
    shown = showing(text, *(as_image(part) for part in parts if isinstance(part, bytes)))
    return msgspec.structs.replace(shown, add_bos=False)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a folder with a model of an architecture, made once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = MAKERS[kind](tmp_path_factory.mktemp("models") / kind)
        return made[kind]

    return folder


@pytest.fixture(scope="module", params=MAKERS)
def seeing(request: pytest.FixtureRequest, make: Callable[[str], Path]) -> Iterator[tuple[str, Any]]:
    with opened(make(request.param)) as backend:
        yield request.param, backend


@pytest.fixture(scope="module")
def llava(make: Callable[[str], Path]) -> Iterator[Any]:
    with opened(make("llava")) as backend:
        yield backend


def generated(backend: Any, parts: tuple[str | bytes, ...]) -> tuple[list[int], list[int]]:
    """Return a prompt's tokens, and what the library's own processor and `generate` make of it."""
    reader: ImageReader = backend.images.reader
    texts = [part if isinstance(part, str) else reader._placeholder for part in parts]
    images = [open_image(as_image(part)) for part in parts if isinstance(part, bytes)]
    made = reader._processor(
        text=["".join(texts)], images=images or None, return_tensors="pt", add_special_tokens=False
    )
    ends = list(hf_vision_models.hf_models.END_TOKENS)
    # A model of its own, as batches change how ours attends.
    model = transformers.AutoModelForImageTextToText.from_pretrained(reader.model.name_or_path).eval()
    answer = model.generate(
        **made, do_sample=False, max_new_tokens=12, eos_token_id=None, suppress_tokens=ends, pad_token_id=0
    )
    prompt = made["input_ids"][0].tolist()
    return prompt, answer[0, len(prompt) :].tolist()


def test_answers_are_those_of_the_library(seeing: tuple[str, Any]) -> None:
    kind, backend = seeing
    assert isinstance(backend.runner, Turns if kind in IN_TURNS else Batcher)
    jobs = [Job(number, prompt_of(*parts), GREEDY) for number, parts in enumerate(PROMPTS)]
    replies = run(backend, *jobs)
    for job, parts in zip(jobs, PROMPTS, strict=True):
        prompt, answer = generated(backend, parts)
        assert (job.prompt_tokens, job.output_tokens) == (prompt, answer), parts
        assert ending(replies[job.id]).usage.prompt_tokens == len(prompt)


def test_an_image_in_the_cache_is_the_same_one(make: Callable[[str], Path]) -> None:
    long = " the quick brown fox jumps over the lazy dog" * 6
    asked = [("look: ", image, long) for image in (A, A, B)]
    with opened(make("llava")) as backend:
        opened_images, process = [], backend.images.reader.process
        backend.images.reader.process = lambda image: opened_images.append(image) or process(image)
        alone = [ending(run(backend, Job(n, prompt_of(*parts), GREEDY))[n]) for n, parts in enumerate(asked)]
        assert [each.usage.cached_tokens > 0 for each in alone] == [False, True, False]
        encoded = backend.images.reader._kept
        assert len(encoded) == len(opened_images) == 2, "an image that comes again is not opened and encoded again"


def test_streams_go_on_while_an_image_is_encoded(llava: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    gate, encode = threading.Event(), llava.images.reader.encode

    def slow(images: Any) -> None:
        assert gate.wait(30)
        encode(images)

    monkeypatch.setattr(llava.images.reader, "encode", slow)
    llava.submit(Job(1, prompt_of("see ", B, " this"), GREEDY))
    replies = []
    text = Job(2, Prompt("the dog"), GREEDY)
    llava.submit(text)
    while len(text.output_tokens) < 12:
        replies += [(id, type(reply)) for id, reply in llava.step()]
    assert (2, Delta) in replies and (1, Started) not in replies
    llava.submit(Job(3, prompt_of("see ", A, " this"), GREEDY))
    llava.cancel(3)
    gate.set()
    assert ending(run(llava)[1]).reason is FinishReason.MAX_TOKENS
    assert llava.is_idle


def test_what_goes_wrong_with_an_image_ends_its_request_alone(llava: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(images: Any) -> None:
        raise RuntimeError("no such layer")

    monkeypatch.setattr(llava.images.reader, "encode", broken)
    jobs = [Job(1, prompt_of("see ", A), GREEDY), Job(2, Prompt("the dog"), GREEDY)]
    replies = run(llava, *jobs)
    assert isinstance(replies[1][-1], Failed) and "cannot read an image: no such layer" in replies[1][-1].error.message
    assert ending(replies[2]).reason is FinishReason.MAX_TOKENS


def test_thousand_broken_images_hurt_nothing(llava: Any) -> None:
    before = run(llava, Job(1, prompt_of("see ", A), GREEDY))
    for cut in range(1000):
        data = A[: 60 + cut % (len(A) - 60)] if cut % 2 else A[:50] + bytes([cut % 256]) + A[51:]
        prompt = Prompt("see ", images=[Image(0, data, "image/png", 60, 80, f"broken {cut}")])
        try:
            llava.images.reader.open(prompt)
        except InvalidRequest as error:
            assert "An image is broken" in error.info.message
    after = run(llava, Job(1, prompt_of("see ", A), GREEDY))
    assert text_of(after[1]) == text_of(before[1])


def test_a_mark_in_a_text_is_no_image(llava: Any) -> None:
    said = "he said <image>"
    prompt = prompt_of("see ", A, said)
    plain = Prompt(prompt.text, add_bos=False, images=prompt.images, plain=[(4, 4 + len(said))])
    job = Job(1, plain, GREEDY)
    run(llava, job)
    assert job.prompt_tokens.count(llava.images.reader.token) == 4
    with pytest.raises(InvalidRequest, match="has <image>, by which this model knows its images"):
        llava.submit(Job(2, prompt, GREEDY))


def test_tokens_of_images_are_counted(llava: Any) -> None:
    prompt = prompt_of("see ", A, B, " this")
    asked = Inquiry(1, Tokenize(prompt))
    opening = llava.ask_ahead(asked)
    assert opening is not None and opening.result(30) is None
    counted = llava.ask(asked)
    job = Job(2, prompt, GREEDY)
    run(llava, job)
    assert counted.tokens == job.prompt_tokens and len(counted.tokens) > 8


def test_what_is_kept_has_a_limit_and_is_given_back(llava: Any) -> None:
    reader: ImageReader = llava.images.reader
    for seed in range(40, 43):
        run(llava, Job(seed, prompt_of("see ", noise(seed)), GREEDY))
    before = llava.spare_bytes
    assert before == sum(image.bytes for image in reader._kept.values()) > 0
    llava.give_back(before // 2)
    assert 0 < llava.spare_bytes <= before - before // 2
    reader.open(prompt_of(*[noise(seed) for seed in range(60, 64)]))
    assert llava.spare_bytes > before // 2, "what is opened counts before it is encoded"
    llava.give_back(1 << 40)
    assert llava.spare_bytes == 0
    assert ending(run(llava, Job(1, prompt_of("see ", noise(41)), GREEDY))[1]).usage.prompt_tokens > 4


def test_penalties_pass_over_images(llava: Any) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=6, ignore_eos=True, repeat_penalty=1.5, repeat_last_n=-1)
    replies = run(llava, Job(1, prompt_of("see ", A), params))
    assert ending(replies[1]).reason is FinishReason.MAX_TOKENS


def test_images_have_to_fit_the_context(make: Callable[[str], Path]) -> None:
    too_long = pytest.raises(ContextOverflow, match="32 tokens, but the prompt has 43")
    with opened(make("llava"), context_size=32) as backend, too_long:
        backend.submit(Job(1, prompt_of("see ", *[A] * 8), GREEDY))


@pytest.mark.parametrize(
    ("type_", "sees"), [("", True), ("AutoModelForCausalLM", False), ("AutoModelForImageTextToText", True)]
)
def test_type_says_whether_a_model_that_can_see_does(make: Callable[[str], Path], type_: str, sees: bool) -> None:
    folder = make("llava")
    config = configured(folder, type=type_, backend="transformers")
    backend = TransformersBackend()
    try:
        info = backend.load(config, lambda fraction: None)
        assert ("image" in info.capabilities) == ("image" in traits.capabilities(config)) == sees
        if not sees:
            with pytest.raises(ApiError, match="reads text only"):
                backend.prepare(Job(1, prompt_of("see ", A), GREEDY))
    finally:
        backend.close()


def test_a_folder_without_a_processor_reads_text(make: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(make("llava"), tmp_path / "blind")
    (tmp_path / "blind" / "processor_config.json").unlink()
    with opened(tmp_path / "blind") as backend:
        assert ending(run(backend, Job(1, Prompt("the dog"), GREEDY))[1]).reason is FinishReason.MAX_TOKENS
    with (
        pytest.raises(ModelLoadFailed, match=r"cannot see images .* no preprocessor_config.json"),
        opened(tmp_path / "blind", type="AutoModelForImageTextToText"),
    ):
        pass


def test_placeholders_move_what_is_plain() -> None:
    prompt = Prompt("ab<x>cd", plain=[(2, 5)], images=[msgspec.structs.replace(as_image(A), at=at) for at in (1, 5)])
    made = with_placeholders(prompt, ["[1]", "[22]"])
    assert made.text == "a[1]b<x>[22]cd" and made.plain == [(5, 8)] and made.images == []
