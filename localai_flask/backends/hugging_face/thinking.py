"""How long one sequence may think, in the tokens of a Hugging Face tokenizer."""

from __future__ import annotations

from collections import deque

from localai_flask.backends.base import Job
from localai_flask.backends.grammars.guide import Guide
from localai_flask.backends.hugging_face.model_tokens import ModelTokens
from localai_flask.backends.output.thinking import ThinkingWatch
from localai_flask.generation import Prompt, ThinkingBudget


class LimitedThinking:
    """The tokens that end a sequence's thinking when its budget is used up."""

    def __init__(self, job: Job, budget: ThinkingBudget, tokens: ModelTokens):
        self._watch = ThinkingWatch(budget, lambda: job.ends_thinking)
        self._tokens = tokens
        self._shown = tokens.silent - tokens.silent_but(job.sampling.preserved)
        """Control tokens that are text here, as thinking's marks may be."""
        self._forced: deque[int] = deque()

    def forced(self, guide: Guide | None) -> int | None:
        """Return the token that has to come next, if one has to."""
        if not self._forced:
            permits = guide.permits if guide is not None else bool
            self._forced.extend(self._watch.ending(lambda text: self._tokens.tokenize(_bare(text)), permits))
        return self._forced.popleft() if self._forced else None

    def feed(self, token: int) -> None:
        """Take the token that comes next."""
        self._watch.feed(self._tokens.name(token) if token in self._shown else self._tokens.piece(token))


def _bare(text: str) -> Prompt:
    return Prompt(text, add_bos=False)
