"""Pages of PDFs as images, for models that see: in all families, sent by the official clients."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import openai
import PIL.Image
import pytest
from flask import Flask

from localai_flask.api.work.content import documents
from localai_flask.chat.images import ImageSource
from localai_flask.documents.pages import Document
from localai_flask.generation import Prompt
from tests.api.document_families import FAMILIES, Chat, Clients, Responses, open_clients, upload
from tests.api.fakes import FakePool, says
from tests.api.test_images import picture
from tests.support.pdfs import encrypted, pages, painted_over, pdf, text_at

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
RED, GREEN, BLUE = "1 0 0 rg 0 0 612 792 re f", "0 1 0 rg 0 0 612 792 re f", "0 0 1 rg 0 0 612 792 re f"
CHART = " ".join(f"{100 + 60 * at} 200 40 {height} re f" for at, height in enumerate((50, 120, 80)))
WORDS = [f"Page {number}, which has as much text as the pages of books have" for number in range(3)]
MIXED = pages(text_at(WORDS[0]), f"0 1 0 rg {CHART} {text_at(WORDS[1])}", RED, text_at(WORDS[2]))
"""Text, a green chart, a red scan, and text."""
Ask = Callable[..., Prompt]


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_documents", documents._Kept[Document](documents.MOST_TEXT))
    monkeypatch.setattr(documents, "_drawn", documents._Kept[ImageSource](documents.MOST_DRAWN))


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[int]]:
    """Note which pages are drawn."""
    noted: list[Sequence[int]] = []
    draw_pages = documents.draw_pages
    monkeypatch.setattr(documents, "draw_pages", lambda data, at, *how: noted.append(at) or draw_pages(data, at, *how))
    return noted


@pytest.fixture
def clients(app: Flask, pool: FakePool) -> Iterator[Clients]:
    sees = frozenset({"generate", "image", "tokenize"})
    pool.info = msgspec.structs.replace(pool.info, chat_template=TEMPLATE, capabilities=sees)
    with open_clients(app, "none") as clients:
        yield clients


@pytest.fixture(params=FAMILIES, ids=lambda kind: kind.__name__)
def family(request: pytest.FixtureRequest, clients: Clients) -> Chat:
    made: Chat = request.param(clients)
    return made


@pytest.fixture
def ask(pool: FakePool, family: Chat) -> Ask:
    """Send turns, and return the prompt that the engine was given."""

    def ask(*turns: Any) -> Prompt:
        pool.scripts = [says("ok")]
        family.ask(*turns)
        return pool.prompt

    return ask


def blind(pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate"}))


def seen(prompt: Prompt) -> str:
    """Return a prompt with the colours of its images in their places: their first letter, or none for text."""
    pieces, end = [], 0
    for image in prompt.images:
        with PIL.Image.open(io.BytesIO(image.data)) as opened:
            assert opened.format == "JPEG" and opened.size == (image.width, image.height) == (989, 1280)
            colours = np.asarray(opened).reshape(-1, 3)
        vivid = colours[np.argmax(np.ptp(colours, axis=1))]
        pieces += [prompt.text[end : image.at], f"<{'rgb'[int(np.argmax(vivid))] if np.ptp(vivid) > 200 else ' '}>"]
        end = image.at
    return "".join(pieces) + prompt.text[end:]


def shown(*of_pages: str, name: str = "a.pdf") -> str:
    return f'<document name="{name}">\n' + "\n\n".join(of_pages) + "\n</document>\n"


AUTO = shown(WORDS[0], f"{WORDS[1]}\n<g>", "<r>", WORDS[2])


def test_each_image_stands_behind_the_text_of_its_page(ask: Ask, family: Chat) -> None:
    prompt = ask([family.text("x"), family.data(MIXED, "a.pdf"), family.text("y")])
    assert seen(prompt) == f"[user]x{AUTO}y"


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ("low", shown(WORDS[0], WORDS[1], "<r>", WORDS[2])),
        ("auto", AUTO),
        (None, AUTO),
        ("high", shown(f"{WORDS[0]}\n< >", f"{WORDS[1]}\n<g>", "<r>", f"{WORDS[2]}\n< >")),
    ],
)
def test_detail_says_which_pages(ask: Ask, family: Chat, detail: str | None, expected: str) -> None:
    prompt = ask([family.with_detail(family.data(MIXED, "a.pdf"), detail)])
    assert seen(prompt) == f"[user]{expected}"


def test_the_same_file_may_be_shown_in_two_ways(ask: Ask, family: Chat) -> None:
    data = pages(text_at(WORDS[0]))
    low, high = (family.with_detail(family.data(data, "a.pdf"), detail) for detail in ("low", "high"))
    assert seen(ask([low, high])) == f"[user]{shown(WORDS[0])}" + shown(f"{WORDS[0]}\n< >")


def test_another_detail_is_refused(family: Chat, pool: FakePool) -> None:
    with pytest.raises(family.refused, match=r"detail` must be one of: auto, low, high") as refused:
        family.ask([family.with_detail(family.data(MIXED, "a.pdf"), "original")])
    assert not pool.requests
    if isinstance(refused.value, openai.APIError):
        where = "file.detail" if type(family) is Chat else "detail"
        assert refused.value.param == f"{family.field}[0].content[0].{where}"


@pytest.mark.parametrize("detail", ["auto", "high"])
def test_a_model_that_does_not_see_reads_the_text_and_nothing_is_drawn(
    ask: Ask, family: Chat, pool: FakePool, drawings: list[Any], detail: str
) -> None:
    blind(pool)
    prompt = ask([family.with_detail(family.data(MIXED, "a.pdf"), detail)])
    assert prompt.text == f"[user]{shown(WORDS[0], WORDS[1], '', WORDS[2])}" and prompt.images == []
    with pytest.raises(family.refused, match="has no text, as of scanned pages, and this model sees no images; choose"):
        family.ask([family.data(pages(RED), "scan.pdf")])
    assert drawings == []


def test_one_that_shows_nothing_is_refused(ask: Ask, family: Chat) -> None:
    with pytest.raises(family.refused, match=r"The document 'a\.pdf' has nothing on its pages"):
        ask([family.data(pdf("", ""), "a.pdf")])
    assert len(ask([family.with_detail(family.data(pdf("", ""), "a.pdf"), "high")]).images) == 2


def test_by_a_files_id_too(ask: Ask, family: Chat, clients: Clients) -> None:
    assert seen(ask([family.uploaded(upload(clients, MIXED, "a.pdf"))])) == f"[user]{AUTO}"


def test_a_text_file_is_never_drawn(ask: Ask, family: Chat) -> None:
    assert ask([family.with_detail(family.data(b"text", "a.txt"), "high")]).images == []


def test_pages_are_drawn_once_for_the_turns_of_a_conversation(
    ask: Ask, family: Chat, drawings: list[Any], clients: Clients
) -> None:
    parts = [family.data(MIXED, "a.pdf"), family.uploaded(upload(clients, pages(BLUE), "b.pdf"))]
    first = ask([*parts])
    again = ask([*parts], "yes", [family.text("and?")])
    assert seen(again) == f"[user]{AUTO}{shown('<b>', name='b.pdf')}[assistant]yes[user]and?"
    assert [image.digest for image in again.images] == [image.digest for image in first.images]
    assert drawings == [[1, 2], [0]]
    ask([family.with_detail(family.data(MIXED, "other.pdf"), "high")])
    assert drawings[2:] == [[0, 3]], "only those that are new"


def test_what_was_forgotten_is_drawn_again(
    ask: Ask, family: Chat, drawings: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "_drawn", documents._Kept[ImageSource](1))
    texts = {seen(ask([family.data(MIXED, "a.pdf")])) for _ in range(2)}
    assert texts == {f"[user]{AUTO}"} and drawings == [[1, 2], [1, 2]]


def test_in_the_result_of_a_tool(pool: FakePool, family: Chat) -> None:
    pool.scripts = [says("ok")]
    family.after_a_call(family.data(pages(BLUE), "a.pdf"))
    assert f"[tool]{shown('<b>')}" in seen(pool.prompt)


class TestTooMany:
    """Nothing is left out silently, and nothing is drawn before it is known that all of it may be sent."""

    @pytest.fixture(autouse=True)
    def three_images(self, models: Any) -> None:
        (models / "tiny.yaml").write_text("name: tiny\nbackend: echo\nlimit_mm_per_prompt: {image: 3}\n")

    def test_they_are_counted_and_what_helps_is_said(self, family: Chat, ask: Ask, drawings: list[Any]) -> None:
        every = family.with_detail(family.data(MIXED, "a.pdf"), "high")
        advice = 'send fewer pages, or with `detail: "low"`, which draws only those without text'
        with pytest.raises(family.refused, match=f"4 pages of the documents would be drawn, but at most 3 .*{advice}"):
            family.ask([every])
        assert drawings == []
        assert len(ask([family.data(MIXED, "a.pdf"), family.data(pages(BLUE), "b.pdf")]).images) == 3

    def test_beside_the_images_of_all_messages(self, family: Chat, drawings: list[Any]) -> None:
        one = family.picture(picture())
        with pytest.raises(family.refused, match="2 pages of the documents would be drawn beside 2 images, but"):
            family.ask([one], "yes", [one, family.data(MIXED, "a.pdf")])
        assert drawings == []

    def test_where_only_pages_without_text_are_drawn_there_is_one_advice(self, family: Chat) -> None:
        scans = family.with_detail(family.data(pages(*[RED] * 4), "a.pdf"), "low")
        with pytest.raises(family.refused, match=r"may be sent; send fewer pages\."):
            family.ask([scans])

    def test_a_model_that_may_have_none_gets_the_text(self, family: Chat, ask: Ask, models: Any) -> None:
        (models / "tiny.yaml").write_text("name: tiny\nbackend: echo\nlimit_mm_per_prompt: {image: 0}\n")
        assert ask([family.data(MIXED, "a.pdf")]).images == []


class TestHostile:
    """A page that cannot be drawn is refused with why now, and told of in the past."""

    def test_it_is_refused_in_time(self, family: Chat, pool: FakePool, monkeypatch: pytest.MonkeyPatch) -> None:
        """However long reading it takes on a busy machine."""
        draw_pages = documents.draw_pages
        hurry = lambda data, at, limits, who: draw_pages(data, at, limits._replace(seconds=2), who)  # noqa: E731
        monkeypatch.setattr(documents, "draw_pages", hurry)
        with pytest.raises(family.refused, match=r"The document 'a\.pdf' takes more than 2 s to draw; .*_TIMEOUT"):
            family.ask([family.data(painted_over(), "a.pdf")])
        assert not pool.requests

    def test_in_the_past_the_model_is_told(self, family: Chat, ask: Ask) -> None:
        narrow = family.data(pages(text_at("long"), box="0 0 100000 1"), "b.pdf")
        prompt = ask([family.with_detail(narrow, "high")], "yes", [family.data(pages(BLUE), "a.pdf")])
        begin, _, rest = seen(prompt).partition("[It cannot be read: it has a page (1) that is too narrow to be drawn;")
        assert begin == '[user]<document name="b.pdf">\n' and rest.endswith(f"[user]{shown('<b>')}")

    def test_an_encrypted_one_is_refused_as_before(self, family: Chat) -> None:
        with pytest.raises(family.refused, match="is an encrypted PDF"):
            family.ask([family.data(encrypted(MIXED, "secret"), "a.pdf")])


def test_they_are_counted_as_tokens(family: Chat, pool: FakePool) -> None:
    """What stands in for an engine makes a token of each byte, and of the images none, but has the same prompt."""
    family.count([family.data(MIXED, "a.pdf"), family.text("y")])
    (asked,) = [question.prompt for question in pool.questions]
    assert seen(asked) == f"[user]{AUTO}y"


def test_a_stored_response_goes_on_with_its_pages(pool: FakePool, clients: Clients, drawings: list[Any]) -> None:
    pool.scripts = [says("ok"), says("ok")]
    part = Responses(clients).with_detail({"type": "input_file", "file_id": upload(clients, MIXED, "a.pdf")}, "low")
    content: Any = [part]
    first = clients.openai.responses.create(model="tiny", input=[{"role": "user", "content": content}])
    clients.openai.responses.create(model="tiny", input="and?", previous_response_id=first.id)
    low = shown(WORDS[0], WORDS[1], "<r>", WORDS[2])
    assert seen(pool.prompt) == f"[user]{low}[assistant]ok[user]and?" and drawings == [[2]]
    item: Any = clients.openai.responses.input_items.list(first.id).data[0]
    assert item.content[0].detail == "low"
