"""Texts to tokens and back, as the program does it: over HTTP, in pieces of which each is read in its own way."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from localai_flask.backends.over_http.http_thread import HttpThread
from localai_flask.generation import Prompt
from localai_flask.inquiry import Tokenized

WORD = "a"
"""A text that is put between what models want around one: some want a mark before it, some behind, some both."""


class Tokens:
    """The vocabulary of a program."""

    def __init__(self, http: HttpThread):
        self._http = http
        self._names = re.compile(r"(?!)")
        self._heeds_special = True
        self.opening: list[int] = []
        self.closing: list[int] = []
        """What stands before and behind a whole text."""

    async def look(self, control: Sequence[str]) -> None:
        """Find out what a text begins with, and whether the program can read markers as text; these are their names."""
        word = await self._tokens(WORD, special=False)
        whole = await self._tokens(WORD, special=False, whole=True)
        at = next((at for at in range(len(whole)) if whole[at : at + len(word)] == word), 0)
        self.opening, self.closing = whole[:at], whole[at + len(word) :]
        if control:
            self._names = re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))))
            self._heeds_special = len(await self._tokens(control[0], special=False)) > 1

    def has_name(self, text: str) -> bool:
        """Return whether a text has the name of a control token."""
        return self._names.search(text) is not None

    async def encode(self, prompt: Prompt) -> list[int]:
        """Return the tokens of a prompt, each of whose pieces is read in its own way."""
        if prompt.tokens is not None:
            return prompt.tokens
        lists = await asyncio.gather(*(self._piece(text, special) for text, special in prompt.pieces))
        tokens = [token for each in lists for token in each]
        adds = prompt.add_bos and tokens[:1] != self.opening
        return self.opening + tokens if adds else tokens

    async def encode_whole(self, text: str, *, special: bool = True) -> list[int]:
        """Return the tokens of a text with those around it that the model wants around one."""
        return await self._tokens(text, special=special, whole=True)

    async def _piece(self, text: str, special: bool) -> list[int]:
        if special or self._heeds_special:
            return await self._tokens(text, special=special)
        # Cut inside each marker, whose halves are text.
        parts = self._names.sub(lambda name: f"{name[0][0]}\0{name[0][1:]}", text).split("\0")
        lists = [await self._tokens(part, special=True) for part in parts]
        return [token for each in lists for token in each]

    async def _tokens(self, text: str, *, special: bool, whole: bool = False) -> list[int]:
        body = {"content": text, "add_special": whole, "parse_special": special}
        tokens: list[int] = (await self._http.ask("POST", "/tokenize", body))["tokens"]
        return tokens

    async def spelled(self, tokens: list[int]) -> Tokenized:
        """Return tokens with the bytes of each."""
        pieces = await asyncio.gather(*(self._piece_of(token) for token in tokens))
        return Tokenized(tokens, list(pieces))

    async def _piece_of(self, token: int) -> bytes:
        body = {"content": [token], "with_pieces": True}
        (entry,) = (await self._http.ask("POST", "/tokenize", body))["tokens"]
        piece: Any = entry["piece"] if isinstance(entry, dict) else await self.decode([token])
        return piece.encode() if isinstance(piece, str) else bytes(piece)

    async def decode(self, tokens: list[int]) -> str:
        text: str = (await self._http.ask("POST", "/detokenize", {"tokens": tokens}))["content"]
        return text
