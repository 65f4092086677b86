"""What keeps people out of a page: faults that axe-core finds, and pages wider than their window."""

from __future__ import annotations

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

GRAVE = ("serious", "critical")


def find_barriers(page: Page) -> list[str]:
    """Return the serious faults, each with the elements that have it."""
    page.wait_for_timeout(250)  # until nothing fades any more
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE_SCRIPT)
    found = [
        f"{each['id']}: {[node['html'][:200] for node in each['nodes']][:5]}"
        for each in page.evaluate("axe.run()")["violations"]
        if each["impact"] in GRAVE
    ]
    is_wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    return [*found, *(["the page scrolls sideways"] if is_wide else [])]
