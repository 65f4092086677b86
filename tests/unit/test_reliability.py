"""docs/reliability.md names tests that there are, and states the promises in the words in which they are checked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chaos.promises import Promise

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


def test_it_names_tests() -> None:
    assert len(NAMED) > 20
    assert len(NAMED) == len(set(re.findall(r"`(tests/[^`]+)`", PAGE))) - PAGE.count("`tests/chaos/promises.py`")


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_of_them_is_there(file: str, name: str) -> None:
    assert re.search(rf"^ *(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


@pytest.mark.parametrize("promise", Promise)
def test_each_promise_is_told(promise: Promise) -> None:
    assert f"| {promise.name} | {promise.value} |" in PAGE
