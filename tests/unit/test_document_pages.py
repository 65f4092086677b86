"""Which pages of a PDF a model is shown as images: those that show what their text does not tell."""

from __future__ import annotations

import math

import pytest

from localai_flask.documents.limits import Limits
from localai_flask.documents.pages import DETAILS, Document, Page, joined, pages_to_draw
from tests.support.documents import read_now
from tests.support.pdfs import form, pages, picture, text_at

TEXT = "The text of a page, as it is in any book, letter, or report."
ASKED, AUTO, ALWAYS = ["high"], ["auto", "high"], ["auto", "low", "high"]


@pytest.mark.parametrize(
    ("page", "drawn_for"),
    [
        (Page(TEXT), ASKED),
        (Page(""), ASKED),
        (Page("Chapter 1"), ASKED),
        (Page(TEXT, pictures=0.04, is_bare=False), ASKED),
        (Page(TEXT, pictures=0.06, is_bare=False), AUTO),
        (Page(TEXT, has_drawing=True, is_bare=False), AUTO),
        (Page(TEXT, pictures=1.0, is_bare=False), AUTO),
        (Page("", pictures=1.0, is_bare=False), ALWAYS),
        (Page("", is_bare=False), ALWAYS),
        (Page("- 7 -", pictures=0.01, is_bare=False), ALWAYS),
        (Page("\ufffd" * 100, is_bare=False), ALWAYS),
    ],
)
def test_the_detail_says_which_pages_are_drawn(page: Page, drawn_for: list[str]) -> None:
    document = Document([Page(TEXT), page])
    found = {detail: pages_to_draw(document, detail) for detail in DETAILS}
    assert [detail for detail in ("auto", "low", "high") if 1 in found[detail]] == drawn_for
    assert found["high"] == [0, 1] and 0 not in found["auto"] + found["low"]


def test_what_is_text_itself_has_no_pages_to_draw() -> None:
    text = Document([Page("", is_bare=False)], can_be_drawn=False)
    assert [pages_to_draw(text, detail) for detail in DETAILS] == [[], [], []]


def test_a_documents_text_is_that_of_its_pages() -> None:
    document = Document([Page("one"), Page(""), Page("two")])
    text = joined([page.text for page in document.pages])
    assert text == "one\n\n\n\ntwo" and len(text) == document.characters and document.has_text


def lines(*points: tuple[float, float]) -> str:
    (x, y), *others = points
    return f"{x} {y} m " + " ".join(f"{x} {y} l" for x, y in others) + " S"


def circle(x: float, y: float, r: float) -> str:
    k = 0.55 * r
    return (
        f"{x + r} {y} m {x + r} {y + k} {x + k} {y + r} {x} {y + r} c {x - k} {y + r} {x - r} {y + k} {x - r} {y} c "
        f"{x - r} {y - k} {x - k} {y - r} {x} {y - r} c {x + k} {y - r} {x + r} {y - k} {x + r} {y} c f"
    )


def rounded(x: float, y: float, width: float, height: float, r: float = 8) -> str:
    right, top = x + width, y + height
    return (
        f"{x + r} {y} m {right - r} {y} l {right} {y} {right} {y} {right} {y + r} c {right} {top - r} l "
        f"{right} {top} {right} {top} {right - r} {top} c {x + r} {top} l {x} {top} {x} {top} {x} {top - r} c "
        f"{x} {y + r} l {x} {y} {x} {y} {x + r} {y} c S"
    )


def table(columns: int, rows: int) -> str:
    cells = [
        f"{50 + 500 / columns * x} {100 + 12 * y * (1 + y % 3)} {500 / columns} {12 * (1 + y % 3)} re S"
        for x in range(columns)
        for y in range(rows)
    ]
    return " ".join(cells)


SLOPES = [(50 + 40 * at, 300 + 70 * (at % 3)) for at in range(12)]
SINE = [(100 + at, 300 + 60 * math.sin(at / 20)) for at in range(150)]
BARS = " ".join(f"{100 + 60 * at} 200 40 {height} re f" for at, height in enumerate((50, 120, 80, 30)))
LYING = " ".join(f"100 {200 + 60 * at} {width} 40 re f" for at, width in enumerate((50, 120, 80)))
ABSURD = "1000000000 0 0 1000000000 0 0 cm " * 6 + "1 1 5 5 re f"
"""Of which the coordinates are infinite."""
IMAGE = "{} 0 0 {} 50 300 cm /X0 Do"
FRAME = form("q 2 0 0 2 0 0 cm 100 0 0 100 0 0 cm /X Do Q", "/X 6 0 R")
BOX = "50 50 500 600 re f"


@pytest.mark.parametrize(
    ("commands", "drawn_for"),
    [
        ("", []),
        (text_at(TEXT), []),
        (text_at("Chapter 1"), []),
        (f"{text_at(TEXT)} {IMAGE.format(120, 120)}", []),
        (f"{text_at(TEXT)} {IMAGE.format(200, 150)}", ["auto"]),
        (f"{text_at(TEXT)} {IMAGE.format(-200, 150)}", []),
        (f"{text_at(TEXT)} 1 0 0 1 5000 0 cm {IMAGE.format(500, 500)}", []),
        (f"{text_at('- 7 -')} {IMAGE.format(500, 500)}", ["auto", "low"]),
        (IMAGE.format(50, 50), ["auto", "low"]),
        (f"{text_at(TEXT)} /X1 Do", ["auto"]),
        (f"{text_at(TEXT)} 0.5 0 0 0.5 0 0 cm /X1 Do", []),
        (f"{text_at(TEXT)} {table(6, 20)}", []),
        (f"{text_at(TEXT)} {table(2, 220)}", ["auto"]),
        (f"{text_at(TEXT)} {' '.join(circle(40, 100 + 20 * at, 2) for at in range(30))}", []),
        (f"{text_at(TEXT)} {' '.join(rounded(50, 100 + 100 * at, 200, 60) for at in range(6))}", []),
        (f"{text_at(TEXT)} {lines(*SLOPES)}", ["auto"]),
        (f"{text_at(TEXT)} {lines(*SLOPES[:4])}", []),
        (f"{text_at(TEXT)} 0.02 0 0 0.02 0 0 cm {lines(*SLOPES)}", []),
        (f"{text_at(TEXT)} {lines(*SINE)}", ["auto"]),
        (f"{text_at(TEXT)} {circle(200, 200, 90)} {circle(400, 200, 90)}", ["auto"]),
        (f"{text_at(TEXT)} {BARS}", ["auto"]),
        (f"{text_at(TEXT)} {LYING}", ["auto"]),
        (f"{text_at(TEXT)} {ABSURD}", []),
        (lines(*SLOPES[:2]), ["auto", "low"]),
    ],
    ids=[
        "empty", "text", "title", "logo", "picture", "picture half beside the page", "picture beside the page", "scan",
        "small picture", "picture in a form", "small picture in a form", "table", "vast table", "bullets",
        "rounded boxes", "line chart", "a few lines", "small lines", "curve of many points", "circles", "bars",
        "lying bars", "absurd numbers", "a line",
    ],
)  # fmt: skip
def test_pages_that_show_something_are_found(commands: str, drawn_for: list[str]) -> None:
    document = read_now(pages(commands, objects=[picture(), FRAME]), Limits(1, 10_000, 20))
    assert [detail for detail in ("auto", "low") if pages_to_draw(document, detail)] == drawn_for


@pytest.mark.parametrize(("kind", "drawn_for"), [("Widget", ["auto"]), ("Stamp", ["auto"]), ("Link", [])])
def test_the_fields_of_a_form_are_seen_and_links_are_not(kind: str, drawn_for: list[str]) -> None:
    note = f"/Annots [<< /Type /Annot /Subtype /{kind} /Rect [50 50 100 100] /FT /Tx /T (a) /V (b) >>]"
    document = read_now(pages(text_at(TEXT), more=note), Limits(1, 10_000, 20))
    assert [detail for detail in ("auto", "low") if pages_to_draw(document, detail)] == drawn_for


def chain(count: int, last: str) -> bytes:
    """Return a page that shows what the last of so many forms within forms does."""
    forms = [form("/X Do", f"/X {7 + at} 0 R") for at in range(count)]
    return pages("/X0 Do", objects=[*forms, form(last)])


@pytest.mark.parametrize(
    ("data", "drawn_for"),
    [
        (pages("/X0 Do", objects=[form(f"{BOX} /X Do", "/X 6 0 R")]), ["auto", "low"]),
        (pages("/X0 Do", objects=[form(f"/X Do {BOX}", "/X 6 0 R")]), ["auto", "low"]),
        (pages("/X0 Do", objects=[form("/X Do", "/X 7 0 R"), form(f"/X Do {BOX}", "/X 6 0 R")]), ["auto", "low"]),
        (pages("/X0 Do", objects=[form("/X Do", "/X 6 0 R")]), []),
        (chain(39, BOX), ["auto", "low"]),
        (chain(39, ""), []),
        (chain(60, BOX), []),
        (pages("/X0 Do " * 25_000 + BOX, objects=[form("")]), ["auto", "low"]),
    ],
    ids=[
        "in itself", "in itself first", "in each other", "nothing but itself", "deep", "deep and empty",
        "deeper than is drawn", "behind many",
    ],
)  # fmt: skip
def test_what_stands_within_forms_is_found(data: bytes, drawn_for: list[str]) -> None:
    document = read_now(data, Limits(1, 10_000, 20))
    assert [detail for detail in ("auto", "low") if pages_to_draw(document, detail)] == drawn_for
