"""Debian's Chromium without a window, driven by Playwright; what a page says on its console fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.required import need_program

WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 780}
PATIENCE_MS = 20_000
"""How long something may take to be there, on a machine that has much else to do."""


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Start a browser; skip the test where there is none."""
    program = need_program("chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # Root may not use Chromium's sandbox, and a container's /dev/shm may be small.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """Somebody with a browser of their own, with nothing kept in it yet; a context manager."""

    def __init__(self, browser: Browser, *, phone: bool = False, dark: bool = False):
        self.context: BrowserContext = browser.new_context(
            viewport=PHONE if phone else WIDE,
            color_scheme="dark" if dark else "light",
            has_touch=phone,
            permissions=["clipboard-read", "clipboard-write"],
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.faults: list[str] = []
        """What went wrong in the pages: uncaught errors, and what the policy has forbidden."""
        self.page = self.open()

    def open(self) -> Page:
        """Open another tab."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.faults.append(f"{error.name}: {error.message}"))
        page.on("console", lambda said: self._note(said.type, said.text))
        return page

    def _note(self, kind: str, text: str) -> None:
        if kind == "error" and "Failed to load resource" not in text:  # a status that the page has asked for
            self.faults.append(text)

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert not self.faults, self.faults
