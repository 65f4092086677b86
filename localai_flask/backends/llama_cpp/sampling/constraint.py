"""A GGUF vocabulary as llguidance wants it; made once for a model."""

from __future__ import annotations

import ctypes
from typing import Any

from llguidance import LLTokenizer

from localai_flask.backends.grammars.guide import SPECIAL
from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.model.vocabulary import Vocabulary


def make_tokenizer(vocabulary: Vocabulary) -> LLTokenizer:
    """Show llguidance every token's bytes in the output, so that markers which are text are text to grammars too."""
    tokens = []
    for token in range(vocabulary.size):
        piece = vocabulary.read_piece(token)
        tokens.append(piece if piece and token not in vocabulary.ends else SPECIAL + vocabulary.text(token).encode())
    tokenize = ctypes.cast(lib._lib.llama_tokenize, ctypes.c_void_p).value
    make: Any = LLTokenizer.from_llamacpp  # type: ignore[attr-defined]  # missing from the package's type stubs
    tokenizer: LLTokenizer = make(
        tokens=tokens, vocab_ptr=vocabulary.handle, tokenize_fptr=tokenize, eos_token=_ends(vocabulary), slices=None
    )
    return tokenizer


def _ends(vocabulary: Vocabulary) -> list[int]:
    """The tokens that end a generation, the model's own first; llguidance wants at least one."""
    ends = sorted(vocabulary.ends, key=lambda token: token != vocabulary.eos)
    return ends or [max(vocabulary.eos, 0)]
