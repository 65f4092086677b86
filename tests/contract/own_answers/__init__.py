"""What each engine's library answers by itself, without our engine: a module for each, run in the engine's environment.

A module has, as far as its library can do it:

* `write(path, prompts, max_tokens) -> list[Answer]`, greedily;
* `see(path, asked, max_tokens) -> list[Answer]`, the same of a message with `images` in base64 before its `text`;
* `embed(path, texts) -> list[list[float]]`, of length 1;
* `score(path, query, documents) -> list[float]`.

`path` is the model's file or folder. Only what the environment has may be imported: the library, no pytest.
"""

from __future__ import annotations

from typing import TypedDict


class Answer(TypedDict):
    """`leads` is by how much each token led over the second best, in logits; [] if it is not known.

    Behind the last piece the token has its lead that has ended the answer, if one has.
    """

    prompt_tokens: list[int]
    tokens: list[int]
    pieces: list[str]
    text: str
    leads: list[float]
