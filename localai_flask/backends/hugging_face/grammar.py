"""A Hugging Face tokenizer as llguidance wants it; made once for a model."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from llguidance import LLTokenizer, TokenizerWrapper

from localai_flask.backends.grammars.compiler import Grammars
from localai_flask.backends.grammars.guide import SPECIAL, Guide
from localai_flask.backends.hugging_face.model_tokens import ModelTokens
from localai_flask.errors import UnsupportedParameter
from localai_flask.generation import Constraint, Prompt
from localai_flask.sampling_params import SamplingParams


class TokenGrammars:
    """Compiles the constraints of requests for one tokenizer."""

    def __init__(self, tokens: ModelTokens):
        self._tokens = tokens
        self._grammars = Grammars(_Vocabulary(tokens), _make_tokenizer(tokens)) if tokens.eos else None

    def compile(self, params: SamplingParams) -> Future[Any] | None:
        """Have another thread compile a request's constraint, if it has one."""
        constraint = params.constraint
        if constraint is None:
            return None
        if self._grammars is None:
            raise _endless(constraint)
        return self._grammars.compile(constraint)

    def guide(self, params: SamplingParams) -> Guide | None:
        """Compile a request's constraint, if it has one; raises `InvalidRequest` if it cannot be kept."""
        constraint = params.constraint
        if constraint is None:
            return None
        if self._grammars is None:
            raise _endless(constraint)
        shown = self._tokens.silent - self._tokens.silent_but(params.preserved)
        return self._grammars.guide(constraint, {token: self._tokens.name(token) for token in shown})


def _endless(constraint: Constraint) -> UnsupportedParameter:
    field = constraint.param or constraint.kind
    return UnsupportedParameter(
        f"`{field}` asks for a form, but this model has no token that ends a text; leave it out.", param=field
    )


class _Vocabulary:
    """The tokens as grammars see them."""

    def __init__(self, tokens: ModelTokens):
        self.size, self.ends, self.piece = tokens.size, tokens.eos, tokens.piece


class _Encoder:
    """The tokenizer as llguidance calls it."""

    def __init__(self, tokens: ModelTokens):
        self._tokens = tokens
        self.eos_token_id = min(tokens.eos)
        self.bos_token_id = None
        # Rows of the embedding that are no token have neither bytes nor a name.
        names = [tokens.name(token) or f"<{token}>".encode() for token in range(tokens.size)]
        self.tokens = [tokens.piece(token) or SPECIAL + name for token, name in enumerate(names)]
        self.special_token_ids: list[int] = []

    def __call__(self, text: str | bytes) -> list[int]:
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        return self._tokens.tokenize(Prompt(text, special=False, add_bos=False))


def _make_tokenizer(tokens: ModelTokens) -> LLTokenizer:
    wrapper: Any = TokenizerWrapper(_Encoder(tokens))
    return LLTokenizer(wrapper, n_vocab=tokens.size, eos_token=sorted(tokens.eos), slices=None)
