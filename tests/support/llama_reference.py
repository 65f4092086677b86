"""What llama-cpp-python's own `Llama` writes greedily, and how sure it is of each token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from llama_cpp import Llama, LogitsProcessorList

Messages = list[dict[str, str]]


class Greedy(NamedTuple):
    """One answer: its text, and for each of its tokens the text and the lead over the second best in logits."""

    text: str
    pieces: list[str]
    leads: list[float]

    def common(self, text: str) -> int:
        """Return how many of its tokens this text begins with."""
        seen = ""
        for count, piece in enumerate(self.pieces):
            seen += piece
            if not text.startswith(seen):
                return count
        return len(self.pieces)


class Reference:
    """One model in this process, with its own caches."""

    def __init__(self, path: Path, context: int = 2048):
        self._llama = Llama(str(path), n_ctx=context, n_threads=2, verbose=False)

    def chat(self, messages: Messages, max_tokens: int) -> Greedy:
        def ask(**settings: Any) -> list[str]:
            chunks = self._llama.create_chat_completion(messages, stream=True, **settings)
            return [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks]

        return self._greedy(ask, max_tokens)

    def complete(self, prompt: str, max_tokens: int) -> Greedy:
        def ask(**settings: Any) -> list[str]:
            return [
                chunk["choices"][0]["text"] for chunk in self._llama.create_completion(prompt, stream=True, **settings)
            ]

        return self._greedy(ask, max_tokens)

    def _greedy(self, ask: Callable[..., list[str]], max_tokens: int) -> Greedy:
        leads: list[float] = []

        def watch(_: Any, scores: Any) -> Any:
            best = np.partition(scores, -2)[-2:]
            leads.append(float(best[1] - best[0]))
            return scores

        self._llama.reset()  # compute the prompt as one, whatever was asked before
        settings = {"temperature": 0.0, "repeat_penalty": 1.0, "max_tokens": max_tokens}
        pieces = [piece for piece in ask(logits_processor=LogitsProcessorList([watch]), **settings) if piece]
        return Greedy("".join(pieces), pieces, leads)
