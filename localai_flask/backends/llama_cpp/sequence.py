"""A job inside this engine: its prompt as an array, its slot, its sampler, and the text that its tokens become."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from localai_flask.backends.base import Job
from localai_flask.backends.llama_cpp.batch import Tokens
from localai_flask.backends.llama_cpp.cache import Slot
from localai_flask.backends.llama_cpp.constraint import Guide
from localai_flask.backends.llama_cpp.sampler import Sampler
from localai_flask.backends.llama_cpp.vocabulary import Vocabulary
from localai_flask.backends.text import TextStream
from localai_flask.generation import Finished, FinishReason, Timings


@dataclass(eq=False, slots=True)
class Sequence:
    """A job from its submission to its end; `slot` and `sampler` are set once it is admitted."""

    job: Job
    prompt: Tokens
    limit: int
    """How many tokens it may generate."""
    limit_reason: FinishReason
    text: TextStream
    guide: Guide | None = None
    """What holds the text to a form, if the job has one."""
    shown: Mapping[int, bytes] = field(default_factory=dict)
    """The control tokens that are text here."""
    slot: Slot = field(init=False)
    sampler: Sampler = field(init=False)
    is_admitted: bool = False
    next_token: int = -1
    """The token that was sampled last and is not computed yet."""
    admitted_at: float = 0.0
    first_token_at: float = 0.0

    @classmethod
    def of(cls, job: Job, context_size: int, guide: Guide | None, shown: Mapping[int, bytes] | None = None) -> Sequence:
        """Make the sequence of a job whose prompt is tokenized and fits."""
        limit, reason = context_size - len(job.prompt_tokens), FinishReason.CONTEXT
        if 0 < job.sampling.max_tokens <= limit:
            limit, reason = job.sampling.max_tokens, FinishReason.MAX_TOKENS
        prompt = np.array(job.prompt_tokens, np.int32)
        return cls(job, prompt, limit, reason, TextStream(job.sampling.stop), guide, shown or {})

    @property
    def wants_prompt_logprobs(self) -> bool:
        return self.job.sampling.prompt_logprobs

    @property
    def reusable(self) -> Tokens:
        """The prompt as far as it may come from the cache; a cached token has no logits, so none may if all are asked.

        The last of these tokens is computed anyway.
        """
        return self.prompt[:1] if self.wants_prompt_logprobs else self.prompt

    def admit(self, slot: Slot, sampler: Sampler) -> None:
        """Take a slot that holds the beginning of the prompt already, and a sampler."""
        self.slot, self.sampler = slot, sampler
        self.is_admitted = True
        self.job.num_cached = slot.length
        self.admitted_at = time.monotonic()

    def accept(self, token: int, vocabulary: Vocabulary) -> tuple[str, FinishReason | None]:
        """Take a sampled token; give the text it releases, and why the sequence ends if it does."""
        output = self.job.output_tokens
        if not output:
            self.first_token_at = time.monotonic()
        output.append(token)
        self.next_token = token
        if token in vocabulary.ends:
            return self.text.flush(), FinishReason.EOS
        text = self.text.feed(self.shown.get(token) or vocabulary.piece(token))
        if self.text.matched is not None:
            return text, FinishReason.STOP_SEQUENCE
        if self.guide is not None and self.guide.is_complete:
            return text + self.text.flush(), FinishReason.EOS
        if len(output) >= self.limit:
            return text + self.text.flush(), self.limit_reason
        return text, None

    def finished(self, reason: FinishReason) -> Finished:
        """Give the last word about the sequence."""
        now = time.monotonic()
        timings = Timings(
            queue_ms=(self.admitted_at - self.job.created) * 1e3,
            prompt_ms=(self.first_token_at - self.admitted_at) * 1e3,
            decode_ms=(now - self.first_token_at) * 1e3,
        )
        return Finished(reason, self.job.usage, timings, self.text.matched)
