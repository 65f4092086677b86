"""Questions that the program answers in one go: vectors, scores, tokens and their text."""

from __future__ import annotations

import array
from typing import Any

from localai_flask.backends.embedding import InputTooLong
from localai_flask.backends.llama_server.images import ImagePrompts
from localai_flask.backends.llama_server.sequence import UNSEEN
from localai_flask.backends.llama_server.tokens import Tokens
from localai_flask.backends.over_http.http_thread import HttpThread
from localai_flask.generation import Prompt
from localai_flask.inquiry import (
    ALL_IT_TAKES,
    Detokenize,
    Detokenized,
    Embed,
    Embedded,
    Fact,
    Question,
    Score,
    Scored,
    Tokenize,
    Tokenized,
)

AROUND = 2
"""How many special tokens models put between a query and a document, and behind both."""


class Questions:
    """Asks one program; `limit` is how many tokens a text may have."""

    def __init__(
        self,
        http: HttpThread,
        tokens: Tokens,
        images: ImagePrompts,
        limit: int,
        trained: int,
        *,
        is_word_piece: bool = False,
    ):
        self._http = http
        self._tokens = tokens
        self._images = images
        self._limit = limit
        self._trained = trained
        self._is_word_piece = is_word_piece

    async def answer(self, question: Question) -> Fact:
        if isinstance(question, Embed):
            return await self._embed(question)
        if isinstance(question, Score):
            return await self._score(question)
        if isinstance(question, Detokenize):
            return Detokenized(await self._tokens.decode(question.tokens) if question.tokens else "")
        return await self._tokenize(question)

    async def _tokenize(self, question: Tokenize) -> Fact:
        prompt = question.prompt
        if prompt.images:
            return Tokenized([UNSEEN] * await self._images.count(prompt))
        is_whole = prompt.tokens is None and prompt.add_bos and not prompt.plain
        tokens = await (
            self._tokens.encode_whole(prompt.text, special=prompt.special) if is_whole else self._tokens.encode(prompt)
        )
        return await self._tokens.spelled(tokens) if question.pieces else Tokenized(tokens)

    async def _embed(self, question: Embed) -> Embedded:
        prompt = question.prompt
        tokens = prompt.tokens
        if tokens is None:
            tokens = await self._tokens.encode_whole(prompt.text, special=prompt.special)
        tokens = self._cut(tokens, question.cut_to)
        (answer,) = await self._http.ask("POST", "/embedding", {"content": tokens})
        rows: list[list[float]] = answer["embedding"]
        if rows and not isinstance(rows[0], list):
            rows = [rows]  # type: ignore[list-item]
        return Embedded(b"".join(array.array("f", row).tobytes() for row in rows), len(rows[0]), len(tokens))

    def _cut(self, tokens: list[int], cut_to: int | None) -> list[int]:
        if cut_to is None:
            if len(tokens) > self._limit:
                raise InputTooLong(len(tokens), self._limit, self._trained, is_text=True)
            return tokens
        most = self._limit if cut_to == ALL_IT_TAKES else min(cut_to, self._limit)
        if len(tokens) <= most:
            return tokens
        closing = tokens[-1:] if tokens[-1:] == self._tokens.closing else []
        return tokens[: most - len(closing)] + closing

    async def _score(self, question: Score) -> Scored:
        document = await self._document(question)
        if self._is_word_piece:
            return await self._score_pair(question.query, document)
        body = {"query": question.query, "documents": [document]}
        answer: Any = await self._http.ask("POST", "/v1/rerank", body)
        (result,) = answer["results"]
        return Scored(result["relevance_score"], answer.get("usage", {}).get("prompt_tokens", 0))

    async def _score_pair(self, query: str, document: str) -> Scored:
        """Score what BERT was trained on: its marks around both texts, which the program leaves out with many files."""
        texts = [Prompt(text, special=False, add_bos=False) for text in (query, document)]
        first, second = [await self._tokens.encode(text) for text in texts]
        closing = self._tokens.closing
        pair = [*self._tokens.opening, *first, *closing, *second, *closing]
        (answer,) = await self._http.ask("POST", "/embedding", {"content": pair, "embd_normalize": -1})
        return Scored(float(answer["embedding"][0][0]), len(pair))

    async def _document(self, question: Score) -> str:
        """Return a document that fits beside its query, cut if that was asked for."""
        query = await self._tokens.encode_whole(question.query, special=False)
        document = await self._tokens.encode(Prompt(question.document, special=False, add_bos=False))
        most = self._limit if question.cut_to in (None, ALL_IT_TAKES) else min(question.cut_to, self._limit)
        room = most - len(query) - AROUND
        if len(document) <= room:
            return question.document
        if question.cut_to is None:
            asked = len(document) + len(query) + AROUND
            raise InputTooLong(asked, self._limit, self._trained, is_text=False)
        return await self._tokens.decode(document[: max(room, 1)])
