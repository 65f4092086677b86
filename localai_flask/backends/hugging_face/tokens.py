"""Between text and token ids of one Hugging Face tokenizer; knows no model and no request."""

from __future__ import annotations

import codecs
import functools
import json
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from localai_flask.errors import InvalidRequest
from localai_flask.generation import Prompt

if TYPE_CHECKING:
    import transformers

CONTEXT_TOKENS = 5
"""Earlier tokens decoded with new ones, since a decoder may drop the space at the start of what it is given."""
LONGEST_CHARACTER = 4
"""Bytes of the longest UTF-8 character, hence the tokens that one character can be split over."""
REPLACEMENT = "\ufffd"

_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class Tokens:
    """A tokenizer, and which ids mean something to the engine."""

    def __init__(self, tokenizer: transformers.PreTrainedTokenizerBase, size: int, eos: Iterable[int]):
        self.tokenizer = tokenizer
        self.size = size
        """Rows of the model's embedding: every id must be below it."""
        self.eos = frozenset(token for token in eos if 0 <= token < size)  # configs may keep another vocabulary's
        self.silent = self.eos | {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
        """Control tokens, which never become text; markers such as `<tool_call>` are often none."""

    def silent_but(self, names: Iterable[str]) -> frozenset[int]:
        """Return the silent tokens without the control tokens of these names, unless they end a generation."""
        wanted = set(names)
        added = self.tokenizer.added_tokens_decoder
        shown = {token for token in self.silent - self.eos if token in added and str(added[token].content) in wanted}
        return self.silent - shown

    def encode(self, prompt: Prompt) -> list[int]:
        """Turn a prompt into ids; raises `InvalidRequest` if it is empty or names ids that the model does not have."""
        ids = self._encode_text(prompt) if prompt.tokens is None else list(prompt.tokens)
        if not ids and self.tokenizer.bos_token_id is None:
            raise InvalidRequest(
                "The prompt is empty and this model has no begin-of-sequence token; send some text.", param="prompt"
            )
        ids = ids or [self.tokenizer.bos_token_id]
        outside = next((token for token in ids if not 0 <= token < self.size), None)
        if outside is not None:
            raise InvalidRequest(
                f"The prompt has the token id {outside} but this model's ids end at {self.size - 1}.", param="prompt"
            )
        return ids

    def encode_whole(self, prompt: Prompt) -> list[int]:
        """Turn a text into ids, with all the special ones that the tokenizer puts around a text; ids as they are."""
        if prompt.tokens is not None:
            return self.encode(prompt)
        split = not prompt.special
        ids: list[int] = self.tokenizer.encode(prompt.text, split_special_tokens=split, verbose=False)
        if not ids:
            raise InvalidRequest("The input is empty; send some text.", param="input")
        return ids

    def tokenize(self, prompt: Prompt) -> list[int]:
        """Turn a text into ids, which may be none."""
        if prompt.add_bos and prompt.text:
            return self.encode_whole(prompt)
        return self._encode_text(msgspec.structs.replace(prompt, add_bos=False))

    def spelled(self, token: int) -> bytes:
        """Return the bytes that a token stands for, or its name if it is a control token."""
        return self.piece(token) or str(self.tokenizer.convert_ids_to_tokens(token) or "").encode()

    def _encode_text(self, prompt: Prompt) -> list[int]:
        encode = functools.partial(self.tokenizer.encode, add_special_tokens=False, verbose=False)
        ids = [id for text, special in prompt.pieces for id in encode(text, split_special_tokens=not special)]
        bos = self.first_token
        return [bos, *ids] if prompt.add_bos and bos is not None and ids[:1] != [bos] else ids

    @cached_property
    def first_token(self) -> int | None:
        """The begin-of-sequence id, if the tokenizer puts one before a text."""
        bos: int | None = self.tokenizer.bos_token_id
        return bos if bos is not None and bos in self.tokenizer.encode("", add_special_tokens=True)[:1] else None

    def decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def piece(self, token: int) -> bytes:
        """Render one token as the bytes it stands for, which need not be whole characters; none for control tokens."""
        if token in self.silent:
            return b""
        added = self.tokenizer.added_tokens_decoder.get(token)
        if added is not None:
            return str(added.content).encode()
        piece: str = self.tokenizer.convert_ids_to_tokens(token) or ""
        if self._is_byte_level:
            return b"".join(BYTES_OF.get(character, character.encode()) for character in piece)
        if len(piece) == 6 and piece.startswith("<0x"):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("\u2581", " ").encode()

    def name(self, token: int) -> bytes:
        """Return the text by which an added token, such as a control token, is known; empty for others."""
        added = self.tokenizer.added_tokens_decoder.get(token)
        return b"" if added is None else str(added.content).encode()

    @cached_property
    def _is_byte_level(self) -> bool:
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        return backend is not None and '"ByteLevel"' in json.dumps(json.loads(backend.to_str())["decoder"])


class TextDecoder:
    """Decodes one sequence as it grows, holding a character back until all its bytes are there."""

    def __init__(self, tokens: Tokens, prompt: list[int], preserved: Iterable[str] = ()):
        self._tokens = tokens
        self._silent = tokens.silent_but(preserved)
        self._ids = prompt[-CONTEXT_TOKENS:]
        self._known = len(self._ids)
        """How many of the ids have been given out as text already."""

    def feed(self, token: int) -> str:
        """Take the next id and return the text that it completes."""
        if token in self._silent:
            return ""
        self._ids.append(token)
        end = len(self._ids)
        text = self._text(end)
        if not text or text.endswith(REPLACEMENT):
            # Four tokens that end in no character: the first of them cannot belong to one that is still to come.
            end -= LONGEST_CHARACTER - 1
            if end <= self._known:
                return ""
            text = self._text(end)
        self._ids, self._known = self._ids[self._known :], end - self._known
        return text

    def read(self, token: int) -> bytes:
        """Do the same as `feed`, in bytes."""
        return self.feed(token).encode()

    def flush(self) -> str:
        """Return what was held back, without the bytes of an unfinished character."""
        text, utf8 = self._text(len(self._ids)), _utf8_decoder("replace")
        utf8.decode(b"".join(map(self._tokens.piece, self._ids[self._known :])))
        self._known = len(self._ids)
        is_unfinished = bool(utf8.getstate()[0])
        return text.rstrip(REPLACEMENT) if is_unfinished else text

    def _text(self, end: int) -> str:
        known = self._tokens.decode(self._ids[: self._known])
        return self._tokens.decode(self._ids[:end])[len(known) :]


def _bytes_of_characters() -> dict[str, bytes]:
    """Map the characters of byte-level vocabularies to bytes.

    Printable Latin-1 characters stand for themselves, the other bytes for 256 and up in order (GPT-2's scheme, used by
    every byte-level tokenizer).
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(b): bytes([b]) for b in plain} | {chr(256 + n): bytes([b]) for n, b in enumerate(others)}


BYTES_OF = _bytes_of_characters()
