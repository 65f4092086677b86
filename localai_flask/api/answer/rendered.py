"""The prompt that a request would give the model, as text and as tokens, instead of an answer to it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from localai_flask.generation import Prompt


class Rendered(msgspec.Struct):
    """`prompt` is empty where the request has token ids; `token_ids` are all that the model reads."""

    model: str
    prompt: str
    token_ids: list[int]
    prompt_tokens: int


def rendered(model: str, prompt: Prompt, tokens: Sequence[int]) -> Rendered:
    return Rendered(model, prompt.text, list(tokens), len(tokens))
