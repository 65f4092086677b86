"""What stands around a text, as a llama-server says it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from localai_flask.backends.llama_server.tokens import Tokens
from localai_flask.generation import Prompt


class Program:
    """Tokenizes bytes, with marks around a whole text."""

    def __init__(self, opening: list[int], closing: list[int]):
        self.opening, self.closing = opening, closing

    async def ask(self, method: str, path: str, body: dict[str, Any]) -> Any:
        tokens = [*body["content"].encode()]
        return {"tokens": [*self.opening, *tokens, *self.closing] if body["add_special"] else tokens}


@pytest.mark.parametrize(
    ("opening", "closing"), [([], []), ([256], []), ([], [257]), ([256], [257])], ids=["none", "begin", "end", "both"]
)
def test_marks_around_a_text_are_told_apart(opening: list[int], closing: list[int]) -> None:
    async def look() -> Tokens:
        tokens = Tokens(Program(opening, closing))  # type: ignore[arg-type]
        await tokens.look(())
        assert await tokens.encode(Prompt("xy")) == [*opening, *b"xy"]
        return tokens

    tokens = asyncio.run(look())
    assert (tokens.opening, tokens.closing) == (opening, closing)
