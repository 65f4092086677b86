"""Between text and the tokens of an RWKV model: a vocabulary file of RWKV's own, or a tokenizer.json.

In RWKV's files each line has a token's id, the token as Python writes it, and its length in bytes; a text is cut into
the longest tokens from its beginning on. Token 0, which ends a text, has no line.
"""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from localai_flask.backends.hugging_face.tokens import BYTES_OF
from localai_flask.config.files.bounded import read_text
from localai_flask.errors import ConfigError, InvalidRequest
from localai_flask.generation import Prompt

END = 0
"""The token that ends a text, in all vocabularies that RWKV was trained with."""
END_NAME = "<|endoftext|>"
MOST_BYTES = 16 << 20


class Tokens(ABC):
    """What the engine, its grammars and its limits ask of a vocabulary; none has tokens that are shown on demand."""

    eos: frozenset[int] = frozenset((END,))
    silent: frozenset[int] = eos
    """Control tokens, which never become text."""

    def __init__(self, size: int, pieces: dict[int, bytes]):
        """`size` is how many ids the model has, of which some may stand for nothing."""
        self.size, self._pieces = size, pieces

    @abstractmethod
    def cut(self, text: str) -> list[int]:
        """Cut a text into tokens."""

    def encode(self, prompt: Prompt) -> list[int]:
        """Turn a prompt into ids; raises `InvalidRequest` if it is empty or names ids that the model does not have."""
        ids = list(prompt.tokens) if prompt.tokens is not None else self.tokenize(prompt)
        outside = next((token for token in ids if not 0 <= token < self.size), None)
        if outside is not None:
            raise InvalidRequest(
                f"The prompt has the token id {outside} but this model's ids end at {self.size - 1}.", param="prompt"
            )
        return ids or [END]  # which stands before every text that RWKV was trained with

    def tokenize(self, prompt: Prompt) -> list[int]:
        """Turn a text into ids, which may be none; the name of the end is a control token where it may be one."""
        ids: list[int] = []
        for text, special in prompt.pieces:
            first, *rest = text.split(END_NAME) if special else [text]
            ids += self.cut(first)
            for part in rest:
                ids += [END, *self.cut(part)]
        return ids

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for the end."""
        return self._pieces.get(token, b"")

    def spelled(self, token: int) -> bytes:
        return self.piece(token) or self.name(token)

    def name(self, token: int) -> bytes:
        return (END_NAME if token == END else f"<{token}>").encode()

    def silent_but(self, names: Iterable[str]) -> frozenset[int]:
        """Return the silent tokens without those of these names that do not end a text; there are none."""
        return self.silent

    def decode(self, ids: Collection[int]) -> str:
        return b"".join(map(self.piece, ids)).decode("utf-8", "replace")

    @property
    def without_meaning(self) -> list[int]:
        """The ids that stand for nothing, as rows were added to the model's matrices to round their size."""
        return [token for token in range(self.size) if token not in self._pieces and token != END]


class WorldTokens(Tokens):
    """A vocabulary file of RWKV's own."""

    def __init__(self, size: int, pieces: dict[int, bytes]):
        super().__init__(size, pieces)
        self._ids = {piece: token for token, piece in pieces.items()}
        self._lengths: dict[bytes, list[int]] = {}
        """How long tokens are that begin with two bytes (or are one), the longest first."""
        for piece in pieces.values():
            self._lengths.setdefault(piece[:2], []).append(len(piece))
        for begin, lengths in self._lengths.items():
            self._lengths[begin] = sorted(set(lengths), reverse=True)

    def cut(self, text: str) -> list[int]:
        content, at, ids = text.encode(), 0, []
        while at < len(content):
            token = self._longest(content, at)
            ids.append(token)
            at += len(self._pieces[token])
        return ids

    def _longest(self, content: bytes, at: int) -> int:
        for length in (*self._lengths.get(content[at : at + 2], ()), 1):
            found = self._ids.get(content[at : at + length])
            if found is not None:
                return found
        raise InvalidRequest(
            f"The text has the byte 0x{content[at]:02x}, which the model's vocabulary has no token for.", param="prompt"
        )


class JsonTokens(Tokens):
    """A tokenizer.json of Hugging Face's library, as the models before World have."""

    def __init__(self, size: int, tokenizer: Any):
        added = {token for token, each in tokenizer.get_added_tokens_decoder().items() if each.special}
        names = {token: name for name, token in tokenizer.get_vocab().items() if token not in added | {END}}
        pieces = {
            token: b"".join(BYTES_OF.get(character, character.encode()) for character in name)
            for token, name in names.items()
            if token < size
        }
        super().__init__(size, pieces)
        tokenizer.encode_special_tokens = True  # a marker in a text is text
        self._tokenizer = tokenizer

    def cut(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def read_vocabulary(path: Path, size: int) -> Tokens:
    """Read the vocabulary of a model with `size` ids; raises `ConfigError` if it is none, or a larger one."""
    text = read_text(path, MOST_BYTES)
    tokens = _read_json(path, size) if text.lstrip().startswith("{") else WorldTokens(size, _read_lines(path, text))
    largest = max(tokens._pieces, default=0)
    if largest >= size:
        raise ConfigError(
            f"{path} has the token {largest}, but the model has {size} tokens only; name its own vocabulary in "
            "`parameters.tokenizer`.",
            param="tokenizer",
        )
    return tokens


def _read_json(path: Path, size: int) -> Tokens:
    import tokenizers

    try:
        return JsonTokens(size, tokenizers.Tokenizer.from_file(str(path)))
    except Exception as error:  # the library raises no other class
        raise ConfigError(f"{path} is no tokenizer.json that can be read: {error}.", param="tokenizer") from error


def _read_lines(path: Path, text: str) -> dict[int, bytes]:
    pieces: dict[int, bytes] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            token, rest = line.split(" ", 1)
            written, length = rest.rsplit(" ", 1)
            read = ast.literal_eval(written.strip())
            piece = read.encode() if isinstance(read, str) else bytes(read)
            pieces[int(token)] = piece
            if not piece or len(piece) != int(length):
                raise ValueError
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise ConfigError(
                f"{path}, line {number}, is no token of a vocabulary (id, token, length in bytes); download it again.",
                param="tokenizer",
            ) from None
    return pieces
