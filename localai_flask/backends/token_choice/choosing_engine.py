"""The verbs of engines whose tokens are chosen here, from logits, and held to any form."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from localai_flask.backends.base import Job
from localai_flask.backends.grammars.guide import Guide
from localai_flask.backends.hugging_face.grammar import TokenGrammars
from localai_flask.backends.hugging_face.thinking import LimitedThinking
from localai_flask.backends.hugging_face.token_engine import TokenEngine, add_token
from localai_flask.backends.output.output import Output
from localai_flask.backends.output.rules import OutputRules
from localai_flask.backends.token_choice.sampler import TokenSampler
from localai_flask.generation import Reply, TokenLogprob


class ChoosingEngine(TokenEngine):
    """A `TokenEngine` with grammars; None where another process chooses the tokens."""

    grammars: TokenGrammars | None

    def prepare(self, job: Job) -> None:
        super().prepare(job)
        job.prepared = self.grammars.guide(job.sampling) if self.grammars is not None else None

    def compile_ahead(self, job: Job) -> Future[Any] | None:
        return self.grammars.compile(job.sampling) if self.grammars is not None else None

    def make_sampler(self, job: Job) -> TokenSampler:
        """Make what chooses the tokens of a prepared job."""
        params, guide = job.sampling, job.prepared
        assert guide is None or isinstance(guide, Guide)
        budget = params.thinking
        return TokenSampler(
            params,
            banned=self.tokens.eos if params.ignore_eos else (),
            guide=guide,
            thinking=LimitedThinking(job, budget, self.tokens) if budget is not None else None,
            rules=OutputRules.of(params, job.prompt_tokens, self.tokens.eos, self.tokens.piece),
        )

    def add_chosen(
        self, output: Output, sampler: TokenSampler, token: int, read: Callable[[int], bytes]
    ) -> list[Reply]:
        """Add a token that the sampler has chosen; raise what keeps the sequence from going on.

        `read` as in `add_token`.
        """
        sampler.check()
        is_end = token in self.tokens.eos
        return add_token(
            output, token, read, lambda: self._logprob(sampler, len(output.job.output_tokens)), is_end=is_end
        )

    def _logprob(self, sampler: TokenSampler, number: int) -> TokenLogprob | None:
        """Look up the log-probabilities of the answer's token of this number, if they were asked for."""
        if sampler.params.top_logprobs is None:
            return None
        token, logprob, best = sampler.logprobs[number - 1]
        piece = self.tokens.piece
        return TokenLogprob(token, piece(token), logprob, [(other, piece(other), value) for other, value in best])
