"""The frame of the page in a real browser: its views, its key, its themes, and where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.browser import Visitor
from tests.support.server import Server


def test_a_browser_finds_its_way(server: Server, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(server.url)
    nav = page.get_by_role("navigation", name="Views")
    expect(nav.get_by_role("link", name="Chat")).to_have_attribute("aria-current", "page")
    nav.get_by_role("link", name="Models").click()
    expect(page).to_have_title("Models · localai-flask")
    expect(page.get_by_role("heading", level=1, name="Models")).to_be_visible()
    page.go_back()
    expect(nav.get_by_role("link", name="Chat")).to_have_attribute("aria-current", "page")


def test_the_theme_is_kept(server: Server, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(server.url)
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme: light").click()
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    assert page.evaluate(paper) == dark


@pytest.fixture
def closed_server(models_path: Path, tmp_path: Path) -> Server:
    return Server(models_path, tmp_path, LOCALAI_API_KEY="opensesame")


def test_the_key_is_asked_for_once(closed_server: Server, visitor: Visitor) -> None:
    page = visitor.page
    with closed_server:
        page.goto(closed_server.url)
        dialog = page.get_by_role("dialog", name="API key")
        dialog.get_by_label("Key").fill("guess")
        dialog.get_by_role("button", name="Save").click()
        expect(dialog.get_by_text("does not know this key")).to_be_visible()
        dialog.get_by_label("Key").fill("opensesame")
        dialog.get_by_role("button", name="Save").click()
        expect(dialog).not_to_be_visible()
        page.reload()
        page.get_by_role("navigation", name="Views").wait_for()
        page.wait_for_load_state("networkidle")
        assert page.get_by_role("dialog").count() == 0
