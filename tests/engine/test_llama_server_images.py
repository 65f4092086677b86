"""Images on their way to a real llama-server: in their places, counted, cached by content, refused if they break."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from localai_flask.config import traits
from localai_flask.config.blocks import ModelFile
from localai_flask.config.model import EngineConfig
from localai_flask.errors import InvalidRequest
from localai_flask.generation import FinishReason, Prompt, Started
from localai_flask.inquiry import Tokenize
from tests.engine.test_llama_server import opened
from tests.support.gguf_projectors import seeing_model
from tests.support.llama_server import need_llama_server
from tests.support.pictures import as_image, noise, picture, showing
from tests.support.served import Served

FILES = {"mmproj": "mmproj-tiny.gguf", "context_size": 512, "options": ("parallel:2",)}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seeing_model(tmp_path_factory.mktemp("models"), "idefics3")


@pytest.fixture(scope="module")
def seeing(path: Path) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCALAI_LLAMA_SERVER", str(need_llama_server()))
        with opened(path, **FILES) as served:
            yield served


def test_each_image_makes_its_own_text(seeing: Served) -> None:
    one, two = picture(1), picture(2)
    asked = [showing("see @ there", one), showing("see @ there", two), showing("see @ and @ there", one, two)]
    jobs = [seeing.generate(prompt, max_tokens=8, temperature=0.0) for prompt in [*asked, asked[0]]]
    texts = [seeing.text(job) for job in jobs]
    assert len({*texts[:3]}) == 3 and texts[3] == texts[0]
    counts = [seeing.end(job).usage.prompt_tokens for job in jobs]
    assert counts[0] == counts[1] > 20 and counts[2] > 1.8 * counts[0] - 20
    (started,) = [reply for reply in seeing.replies[jobs[0].id] if isinstance(reply, Started)]
    assert started.prompt_tokens == counts[0]


def test_the_cache_tells_images_apart(seeing: Served) -> None:
    words = "some words before "
    cached = []
    for image in (picture(11), picture(11), picture(12)):
        job = seeing.generate(showing(f"{words}@ there", image), max_tokens=2, temperature=0.0)
        cached.append(seeing.end(job).usage.cached_tokens)
    assert cached[1] > cached[2] + 20, "of another image, only what is before it is found"


def test_tokens_are_counted_before(seeing: Served) -> None:
    prompt = showing("see @ there", picture(3))
    counted = seeing.ask(Tokenize(prompt))
    job = seeing.generate(prompt, max_tokens=1)
    assert len(counted.tokens) == seeing.end(job).usage.prompt_tokens


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_all_formats_are_read(seeing: Served, kind: str) -> None:
    job = seeing.generate(showing("see @", as_image(noise(4, kind=kind), kind=kind)), max_tokens=2)
    assert seeing.end(job).reason is FinishReason.MAX_TOKENS


def test_what_cannot_be_shown_is_refused(seeing: Served) -> None:
    broken = msgspec.structs.replace(picture(5), data=noise(5)[:80])
    with pytest.raises(InvalidRequest, match="An image is broken"):
        seeing.generate(showing("see @", broken))
    shown = showing("see @", picture(5))
    said = Prompt(f"{shown.text}<s> he said", images=shown.images, plain=[(4, 15)])
    with pytest.raises(InvalidRequest, match="has the name of a control token"):
        seeing.generate(said)
    too_long = seeing.failure(seeing.generate(showing("@" * 8, *map(picture, range(20, 28)))))
    assert too_long.error.code == "context_length_exceeded" and (too_long.error.asked or 0) > 512
    assert seeing.end(seeing.generate("still there", max_tokens=2)).usage.completion_tokens == 2


def test_an_answer_ends_where_the_context_does(seeing: Served) -> None:
    job = seeing.generate(showing("see @", picture(6)), ignore_eos=True)
    end = seeing.end(job)
    assert end.reason is FinishReason.CONTEXT and end.usage.total_tokens <= 512


def test_a_model_without_a_projector_reads_text(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALAI_LLAMA_SERVER", str(need_llama_server()))
    for mmproj in ("", "mmproj-tiny.gguf"):
        file = ModelFile(model=path.name)
        config = EngineConfig(
            name="t", backend="llama-server", models_path=str(path.parent), parameters=file, mmproj=mmproj
        )
        assert ("image" in traits.capabilities(config)) is bool(mmproj)
    with opened(path) as served:
        assert "image" not in served.backend.info.capabilities  # type: ignore[attr-defined]
