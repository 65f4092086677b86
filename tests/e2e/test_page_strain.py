"""What the page must bear: hostile text, endless lines, thousands of messages; and whom it must not keep out."""

from __future__ import annotations

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import Visitor
from tests.support.chat_page import ChatPage
from tests.support.server import Server

HOSTILE = """\
<script>window.struck = 1</script>
<img src=x onerror="window.struck = 2"><svg onload="window.struck = 3"></svg>
<a href="javascript:window.struck=4">raw</a> [click](javascript:window.struck=5)
[data](data:text/html,<script>1</script>)
![x](x" onerror="window.struck=6) ![far](https://far.example/pixel.png) <javascript:window.struck=7>
<iframe srcdoc="<script>parent.struck = 8</script>"></iframe><style>body { display: none }</style>
[a]: javascript:window.struck=9
[a] $\\href{javascript:window.struck=10}{x}$ $\\htmlData{x=1}{y}$

```html"onmouseover="window.struck=11
<script>window.struck = 12</script>
```
"""
FIRST_LOAD = 300_000
"""Bytes, compressed."""


@pytest.fixture
def told(server: Server, visitor: Visitor) -> ChatPage:
    return ChatPage(visitor.page).open(server.url, "echo")


def test_hostile_text_stays_text(told: ChatPage) -> None:
    foreign = []
    told.page.on("request", lambda request: foreign.append(request.url) if "far.example" in request.url else None)
    told.say(HOSTILE, chunk=9, pace_ms=1)
    answer = told.await_answer()
    text = answer.locator(".answer")
    expect(text).to_contain_text("<script>window.struck = 1</script>")
    expect(text).to_contain_text("<script>window.struck = 12</script>")
    assert text.locator("script, img, iframe, style, svg[onload], [onerror], [onmouseover]").count() == 0
    addresses = text.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert addresses == ["https://far.example/pixel.png"]
    for part in text.locator(".markdown").locator("a, p, pre").all():
        part.hover()
    assert told.page.evaluate("window.struck") is None and not foreign


def test_a_hostile_conversation_that_is_imported_stays_text(told: ChatPage) -> None:
    told.add_conversation("<img src=x onerror=alert(1)>", [HOSTILE, HOSTILE])
    expect(told.page.locator("article.user")).to_contain_text("<script>window.struck = 1</script>")
    assert told.page.evaluate("window.struck") is None


def test_an_endless_line_leaves_the_page_fluent(told: ChatPage) -> None:
    told.page.get_by_label("Model", exact=True).select_option("roomy")
    told.say("x" * 150_000, chunk=3_000, pace_ms=10)
    expect(told.await_answer()).to_contain_text("more characters")
    told.add_conversation("A long line", ["?", "y" * 2_000_000])
    expect(told.answer).to_contain_text("1,880,000 more characters")
    _is_fluent(told)
    told.page.get_by_role("button", name="more characters").click()
    _is_fluent(told)
    assert (told.answer.locator(".answer").text_content() or "").count("y") == 2_000_000


def test_thousands_of_messages_leave_the_page_fluent(told: ChatPage) -> None:
    told.add_conversation("Many", [f"Message **{number}**" for number in range(10_000)])
    expect(told.answer).to_contain_text("Message 9999")
    assert told.page.locator("article").count() <= 100
    _is_fluent(told)
    oldest = told.page.locator("article").first.inner_text()
    told.page.locator(".chat-scroll").evaluate("element => element.scrollTop = 0")
    expect(told.page.locator("article").first).not_to_have_text(oldest)
    told.page.get_by_label("Search").fill("**77**")
    expect(told.conversations.get_by_role("link", name="Many")).to_be_visible()


def _is_fluent(told: ChatPage) -> None:
    """Type, and see it: no step may take seconds."""
    told.field.fill("")
    told.field.press_sequentially("fluent")
    longest = told.page.evaluate(
        """async () => {
            let longest = 0;
            for (let last = performance.now(), step = 0; step < 20; step += 1) {
                await new Promise(requestAnimationFrame);
                longest = Math.max(longest, performance.now() - last);
                last = performance.now();
            }
            return longest;
        }"""
    )
    assert longest < 2000
    told.field.fill("")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["wide", "phone"])
def test_nothing_keeps_people_out(server: Server, browser: Browser, phone: bool, dark: bool) -> None:
    with Visitor(browser, phone=phone, dark=dark) as visitor:
        told = ChatPage(visitor.page).open(server.url, "echo")
        _has_no_barriers(told.page)
        told.say(
            "<think>Hm.</think># Head\n\n| a |\n|---|\n| 1 |\n\n```python\ndef f(): pass  # yes\n```\n\n$x$ [a](https://example.org)"
        )
        told.await_answer()
        _has_no_barriers(told.page)
        told.page.get_by_role("button", name="Settings of this conversation").click()
        _has_no_barriers(told.page)
        told.page.keyboard.press("Escape")
        if phone:
            told.page.get_by_role("button", name="Menu").click()
            _has_no_barriers(told.page)
        width = "document.documentElement.scrollWidth <= innerWidth"
        assert told.page.evaluate(width), "the page scrolls sideways"


def _has_no_barriers(page: Page) -> None:
    """Raise if axe-core finds a fault that is serious or critical."""
    page.wait_for_timeout(250)  # until nothing fades any more
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate("axe.run()")["violations"]
    grave = [each for each in found if each["impact"] in ("serious", "critical")]
    assert not grave, [(each["id"], each["help"], [node["html"] for node in each["nodes"]][:5]) for each in grave]


def test_the_first_load_is_small(server: Server, visitor: Visitor) -> None:
    visitor.page.goto(server.url)
    visitor.page.get_by_role("textbox", name="Message", exact=True).wait_for()
    visitor.page.wait_for_load_state("networkidle")
    sizes = visitor.page.evaluate(
        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        ".map(entry => [entry.name, entry.encodedBodySize])"
    )
    assert len(sizes) > 10 and sum(size for _, size in sizes) < FIRST_LOAD, sizes
    assert all(name.startswith(server.url) for name, _ in sizes)
