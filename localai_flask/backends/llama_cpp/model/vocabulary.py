"""A model's vocabulary: text to tokens, tokens to bytes, and which tokens end a generation."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Image, Prompt

PROJECT, CURRENT_FILE, SNIPPET = "myproject\n", "filename\n", "\n\n--- snippet ---\n\n"
"""What stands for the names of a repository and of a file that are not known, and between files without marks."""
PIECE_BYTES = 256


class Vocabulary:
    """Wraps a `llama_vocab`; `pieces` remembers the bytes of the tokens that were seen."""

    def __init__(self, handle: Any):
        self.handle = handle
        self.size: int = lib.llama_vocab_n_tokens(handle)
        self.bos: int = lib.llama_vocab_bos(handle)
        self.eos: int = lib.llama_vocab_eos(handle)
        self.wants_bos: bool = self.bos >= 0 and lib.llama_vocab_get_add_bos(handle)
        is_end = lib.llama_vocab_is_eog
        self.ends = frozenset(token for token in range(self.size) if is_end(handle, token))
        """The tokens that end a generation."""
        self.suppressed = self._read_suppressed()
        """The tokens that the model's author wants never to be chosen."""
        self._pieces: dict[int, bytes] = {}
        self._hidden: dict[str, int] = {}

    @cached_property
    def longest(self) -> int:
        """The length in bytes of the longest token; an upper bound where the vocabulary writes bytes as characters."""
        text = lib.llama_vocab_get_text
        return max(len(text(self.handle, token)) for token in range(self.size))

    def text(self, token: int) -> str:
        """Return a token's name, such as `<s>`; "" for the negative id of a token that does not exist."""
        return lib.llama_vocab_get_text(self.handle, token).decode("utf-8", "replace") if token >= 0 else ""

    def is_control(self, token: int) -> bool:
        """Return whether a token is a marker such as `<|im_start|>` rather than text."""
        return bool(lib.llama_vocab_is_control(self.handle, token))

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """The names of the tokens that mark turns and the like, and are no text."""
        return tuple(self.text(token) for token in range(self.size) if self.is_control(token))

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token stands for in the output; none for a control token."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self.read_piece(token)
        return piece

    def preserved(self, names: Iterable[str]) -> dict[int, bytes]:
        """Return those control tokens among `names` that this vocabulary has and that end nothing, with their text."""
        shown = {}
        for name in names:
            token = self._hidden.get(name)
            if token is None:
                tokens = self._tokenize_text(name.encode(), True)
                is_hidden = len(tokens) == 1 and tokens[0] not in self.ends and not self.piece(tokens[0])
                token = self._hidden[name] = tokens[0] if is_hidden else -1
            if token >= 0:
                shown[token] = name.encode()
        return shown

    def _read_suppressed(self) -> tuple[int, ...]:
        count = ctypes.c_int32()
        tokens = lib.llama_vocab_get_suppress_tokens(self.handle, ctypes.byref(count))
        return tuple(tokens[: count.value])

    def read_piece(self, token: int) -> bytes:
        """Do as `piece`, without remembering; from any thread."""
        buffer = ctypes.create_string_buffer(PIECE_BYTES)
        length = lib.llama_token_to_piece(self.handle, token, buffer, len(buffer), 0, False)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = lib.llama_token_to_piece(self.handle, token, buffer, len(buffer), 0, False)
        return buffer.raw[:length]

    def encode(self, prompt: Prompt, images: Mapping[str, list[int]] = MappingProxyType({})) -> list[int]:
        """Turn a prompt into at least one token; `images` are what stands for its images, by their digests.

        Raises `InvalidRequest` for ids outside the vocabulary, and for an empty prompt if no token could begin it.
        """
        if prompt.suffix is not None:
            tokens = self._infill(prompt, prompt.suffix)
        else:
            tokens = self._tokenize(prompt, images) if prompt.tokens is None else self._checked(prompt.tokens)
        if tokens:
            return tokens
        if self.bos < 0:
            raise InvalidRequest(
                "The prompt is empty and this model has no begin-of-sequence token; send some text.", param="prompt"
            )
        return [self.bos]

    def tokens(self, text: str, special: bool = False) -> list[int]:
        """Turn a text as it stands into tokens, none of which are control tokens unless `special`."""
        return self._tokenize_text(text.encode(), special)

    def encode_whole(self, prompt: Prompt) -> list[int]:
        """Turn a text into tokens, with all the special ones that the vocabulary puts around a whole text.

        Raises `InvalidRequest` for ids outside the vocabulary, and if nothing comes of the text.
        """
        if prompt.tokens is not None:
            tokens = self._checked(prompt.tokens)
        else:
            tokens = self._tokenize_text(prompt.text.encode(), prompt.special, whole=True)
        if not tokens:
            raise InvalidRequest("The input is empty; send some text.", param="input")
        return tokens

    def encode_pair(self, first: str, second: str) -> list[int]:
        """Turn two texts into tokens, with the special ones that the vocabulary puts around and between them."""
        sep = lib.llama_vocab_sep(self.handle)
        if lib.llama_vocab_type(self.handle) == lib.LLAMA_VOCAB_TYPE_WPM:  # BERT's, whatever the file says
            return [self.bos, *self.tokens(first), sep, *self.tokens(second), sep]
        end = [self.eos if self.eos >= 0 else sep] if lib.llama_vocab_get_add_eos(self.handle) else []
        between = [sep] if lib.llama_vocab_get_add_sep(self.handle) else []
        begin = [self.bos] if self.wants_bos else []
        return [*begin, *self.tokens(first), *end, *between, *self.tokens(second), *end]

    @cached_property
    def infill(self) -> tuple[int, int, int] | None:
        """The tokens before the beginning, the end and the middle of a text whose middle is to be written."""
        marks = lib.llama_vocab_fim_pre, lib.llama_vocab_fim_suf, lib.llama_vocab_fim_mid
        tokens = tuple(mark(self.handle) for mark in marks)
        return tokens if min(tokens) >= 0 else None

    def _infill(self, prompt: Prompt, suffix: str) -> list[int]:
        if self.infill is None:
            raise InvalidRequest(
                "This model's vocabulary has no tokens for writing the middle of a text; leave `suffix` out.",
                param="suffix",
            )
        before, after, middle = self.infill
        begin = [self.bos] if prompt.add_bos and self.wants_bos else []
        prefix = self.tokens(prompt.text) if prompt.tokens is None else self._checked(prompt.tokens)
        return [*begin, *self._shown(prompt.files), before, *prefix, after, *self.tokens(suffix), middle]

    def _shown(self, files: list[tuple[str, str]]) -> list[int]:
        """Show other files as llama.cpp's server does, with the marks of a repository where there are any.

        So models were trained, https://arxiv.org/abs/2409.12186; the names of repository and file are that server's.
        """
        if not files:
            return []
        repository, file = lib.llama_vocab_fim_rep(self.handle), lib.llama_vocab_fim_sep(self.handle)
        shown = [repository, *self.tokens(PROJECT)] if repository >= 0 else []
        for name, text in files:
            head = [file, *self.tokens(f"{name}\n")] if file >= 0 else self.tokens(SNIPPET)
            shown += [*head, *self.tokens(text)]
        return [*shown, file, *self.tokens(CURRENT_FILE)] if file >= 0 else shown

    def decode(self, tokens: list[int]) -> str:
        """Turn tokens into text, control tokens into their names; raise `InvalidRequest` for ids that do not exist."""
        checked = np.array(self._checked(tokens), np.int32)
        pointer = checked.ctypes.data_as(lib.llama_token_p)
        room = 8 * len(tokens) + 16
        for _ in range(2):
            buffer = ctypes.create_string_buffer(room)
            length = lib.llama_detokenize(self.handle, pointer, len(tokens), buffer, room, False, True)
            if length >= 0:
                break
            room = -length
        return buffer.raw[:length].decode("utf-8", "replace")

    def spelled(self, token: int) -> bytes:
        """Return the bytes that a token stands for, or its name if it is a control token."""
        return self.piece(token) or self.text(token).encode()

    def _tokenize(self, prompt: Prompt, images: Mapping[str, list[int]]) -> list[int]:
        tokens: list[int] = []
        for part in prompt.parts:
            if isinstance(part, Image):
                tokens += images[part.digest]
                continue
            for text, special in part:
                tokens += self._tokenize_text(text.encode(), special)
        if prompt.add_bos and self.wants_bos and tokens[:1] != [self.bos]:
            tokens.insert(0, self.bos)
        return tokens

    def _tokenize_text(self, text: bytes, special: bool, whole: bool = False) -> list[int]:
        room = len(text) + 3
        for _ in range(2):  # few vocabularies need more than one token per byte, and then the library tells how many
            buffer = np.empty(room, np.int32)
            pointer = buffer.ctypes.data_as(lib.llama_token_p)
            # Asked to add special tokens, llama.cpp would append an end of sequence too where the vocabulary wants one.
            count = lib.llama_tokenize(self.handle, text, len(text), pointer, room, whole, special)
            if count >= 0:
                tokens: list[int] = buffer[:count].tolist()
                return tokens
            room = -count
        raise InvalidRequest(
            f"The prompt of {len(text)} bytes cannot be tokenized; send a shorter one.", param="prompt"
        )

    def _checked(self, tokens: list[int]) -> list[int]:
        for token in tokens:
            if not 0 <= token < self.size:
                raise InvalidRequest(
                    f"The prompt's token {token} is not in this model's vocabulary; ids run from 0 to {self.size - 1}.",
                    param="prompt",
                )
        return list(tokens)
