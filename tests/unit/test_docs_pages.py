"""The documentation's pages: links lead somewhere, and quoted sentences are the server's own."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from localai_flask import errors
from localai_flask.api.answer.errors import CODES
from localai_flask.backends.environments import tool_run
from localai_flask.errors import ApiError
from localai_flask.gallery import errors as gallery_errors
from localai_flask.gotemplate import errors as template_errors
from localai_flask.server.web import refusal
from localai_flask.settings import Settings
from localai_flask.settings.fields import URL, env_name

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them."""
    text = FENCE.sub("", page.read_text())
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower().replace("`", "")).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(FENCE.sub("", page.read_text())):
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"{page.name} links to {target}"
        if anchor and found.suffix == ".md":
            assert anchor[1:] in headings(found), f"{page.name} links to {target}{anchor}"


def test_the_index_knows_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index] == ["index.md"]


def sentences() -> str:
    """Return all text constants of the package, one a line."""
    found = []
    for file in (ROOT / "localai_flask").rglob("*.py"):
        tree = ast.parse(file.read_text())
        found += [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) is str]
    return "\n".join(found)


def test_troubleshooting_quotes_what_the_server_says() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    fragments = [fragment for row in rows for fragment in re.findall(r"`([^`]+)`", row)]
    said = sentences()
    assert len(fragments) > 20
    assert [fragment for fragment in fragments if fragment not in said] == []


def test_troubleshooting_has_every_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    modules = (errors, gallery_errors, template_errors, tool_run)
    named = [each for module in modules for each in vars(module).values()]
    kinds = [kind for kind in named if isinstance(kind, type) and issubclass(kind, ApiError)]
    assert len(kinds) > 25
    assert [kind.code for kind in kinds if f"{kind.status} " not in page or f"`{kind.code}`" not in page] == []
    assert [code for status, code in CODES.items() if f"| {status} " not in page or f"`{code}`" not in page] == []
    assert f"`{refusal.MALFORMED}`" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_are_settings(page: Path) -> None:
    fields = dataclasses.fields(Settings)
    known = {URL, *map(env_name, fields), *(field.metadata["also"] for field in fields)}
    named = set(re.findall(r"\b(?:LOCALAI|LLAMACPP)_[A-Z_0-9]+", page.read_text()))
    assert named - known == set()
