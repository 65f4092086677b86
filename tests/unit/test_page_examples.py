"""The page's examples are those of the documentation: whatever a page asks the server by curl can be tried there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import localai_flask
from tests.support.pages import Block, read_blocks

FILE = Path(localai_flask.__file__).parent / "web/views/try_it/examples.json"
EXAMPLES: list[dict[str, Any]] = [each for group in json.loads(FILE.read_text()) for each in group["examples"]]
ASKED = re.compile(r"(?:127\.0\.0\.1|localhost):8080(/[^\s'\"?]*)")


def is_of(path: str, example: dict[str, Any]) -> bool:
    pattern = re.escape(example["path"].partition("?")[0]).replace(r"\{model\}", "[^/]+")
    return re.fullmatch(pattern, path) is not None


@pytest.mark.parametrize("block", [each for each in read_blocks("sh") if "curl" in each.text], ids=str)
def test_what_is_asked_by_curl_can_be_tried(block: Block) -> None:
    for path in ASKED.findall(block.text):
        assert any(is_of(path, example) for example in EXAMPLES), f"{block} asks {path}: add it to {FILE.name}"


def test_names_are_addresses() -> None:
    names = [each["name"] for each in EXAMPLES]
    assert len(set(names)) == len(names) and all(re.fullmatch("[a-z]+", name) for name in names)
