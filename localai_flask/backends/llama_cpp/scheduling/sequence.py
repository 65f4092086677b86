"""A job inside this engine: its prompt as an array, its slot, its sampler, and the text that its tokens become."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from localai_flask.backends.base import Job
from localai_flask.backends.grammars.guide import Guide
from localai_flask.backends.llama_cpp.cache.kv_cache import Slot
from localai_flask.backends.llama_cpp.cache.shifting import LEAST_SHIFT, kept_tokens
from localai_flask.backends.llama_cpp.model.adapters import AdapterSet
from localai_flask.backends.llama_cpp.model.vocabulary import Vocabulary
from localai_flask.backends.llama_cpp.sampling.sampler import Sampler
from localai_flask.backends.llama_cpp.scheduling.batch import Tokens
from localai_flask.backends.llama_cpp.vision.placing import PlacedChunk
from localai_flask.backends.output.output import Output, never
from localai_flask.backends.output.thinking import ThinkingWatch
from localai_flask.generation import Finished, FinishReason

FIRST_GUESSES, LONGEST_PAUSE = 4, 32


@dataclass(eq=False, slots=True, weakref_slot=True)
class Sequence:
    """A job from its submission to its end; `slot` and `sampler` are set once it is admitted."""

    job: Job
    prompt: Tokens
    output: Output
    guide: Guide | None = None
    """What holds the text to a form, if the job has one."""
    shown: Mapping[int, bytes] = field(default_factory=dict)
    """The control tokens that are text here."""
    shifts: bool = False
    """Whether the oldest tokens behind the first `kept` may be dropped when the context is full."""
    kept: int = 0
    alone: bool = False
    """Whether nothing ran beside it when it began, and its text is to be the same each time."""
    images: list[PlacedChunk] = field(default_factory=list)
    """What of the prompt is no text, in order."""
    is_anew: bool = False
    """Whether nothing of the prompt may come from the cache, and it is cut in the same places each time."""
    adapters: AdapterSet | None = None
    """What changes the model's weights for it; None: what the YAML says."""
    slot: Slot = field(init=False)
    sampler: Sampler = field(init=False)
    pending: list[int] = field(default_factory=list)
    """The last tokens, which are not computed yet: one, and what was forced behind it."""
    forced: deque[int] = field(default_factory=deque)
    """The tokens that have to follow and are not taken yet."""
    draft: list[int] = field(default_factory=list)
    """Guesses of what follows `pending`, to be computed with it."""
    thinking: ThinkingWatch | None = None
    drafted: int = 0
    accepted: int = 0
    trust: int = FIRST_GUESSES
    """How many tokens to guess next time."""
    doubt: int = 0
    """How many guesses in a row were wrong from their first token on."""
    pause: int = 0
    """For how many steps not to guess."""

    @classmethod
    def of(cls, job: Job, context_size: int, guide: Guide | None, shown: Mapping[int, bytes] | None = None) -> Sequence:
        """Make the sequence of a job whose prompt is tokenized and fits."""
        is_complete = (lambda: guide.is_complete) if guide is not None else never
        output = Output(job, context_size, is_complete=is_complete)
        sequence = cls(job, np.array(job.prompt_tokens, np.int32), output, guide, shown or {})
        if job.sampling.thinking is not None:
            sequence.thinking = ThinkingWatch(job.sampling.thinking, lambda: job.ends_thinking)
        return sequence

    def may_shift(self, context_size: int, vocabulary: Vocabulary, n_keep: int) -> None:
        """Let the answer be as long as asked for: a full context drops its oldest half behind the first message.

        Without `max_tokens` it still ends with the context, as some models never end.
        """
        kept = kept_tokens(self.prompt, vocabulary.is_control, vocabulary.wants_bos, n_keep)
        if self.job.sampling.max_tokens > self.output.limit and context_size - kept >= 2 * LEAST_SHIFT:
            self.output.lift_limit(self.job.sampling.max_tokens)
            self.shifts, self.kept = True, kept

    @property
    def scope(self) -> str:
        """What tells its adapters from others: only what was computed with the same ones is of use to it."""
        return "" if self.adapters is None else self.adapters.key

    @property
    def left(self) -> int:
        """How many tokens of the prompt are still to be computed."""
        return len(self.prompt) - self.slot.length

    @property
    def image(self) -> PlacedChunk | None:
        """The image, or the part of one, of which a token is to be computed next."""
        at = self.slot.length
        return next((each for each in self.images if each.begin <= at < each.end), None)

    @property
    def is_computable(self) -> bool:
        """Whether a step could advance it: what comes next is no image that is still being encoded."""
        return not self.images or (image := self.image) is None or image.embedding is not None

    @property
    def text_end(self) -> int:
        """Where the text ends that is to be computed next: where an image begins, or with the prompt."""
        if not self.images:
            return len(self.prompt)
        return next((each.begin for each in self.images if each.end > self.slot.length), len(self.prompt))

    @property
    def is_new(self) -> bool:
        """Whether nothing behind its prompt has been computed yet."""
        return self.slot.length <= len(self.prompt)

    @property
    def wants_prompt_logprobs(self) -> bool:
        return self.job.sampling.prompt_logprobs

    @property
    def is_repeatable(self) -> bool:
        """Whether its text is to come again the same: at temperature 0, or with a seed."""
        sampling = self.job.sampling
        can_repeat = not self.wants_prompt_logprobs and (self.is_anew or not self.images)
        return (sampling.temperature == 0 or sampling.seed >= 0) and can_repeat

    @property
    def reusable(self) -> Tokens:
        """The prompt as far as it may come from the cache; a cached token has no logits, so none may if all are asked.

        The last of these tokens is computed anyway.
        """
        is_free = self.job.sampling.cache_prompt and not (self.wants_prompt_logprobs or self.is_anew)
        return self.prompt if is_free else self.prompt[:1]

    def admit(self, slot: Slot, sampler: Sampler) -> None:
        """Take a slot that holds the beginning of the prompt already, and a sampler."""
        self.slot, self.sampler = slot, sampler
        self.job.num_cached = slot.length
        self.job.num_kept = self.left if self.job.sampling.keep_s else 0
        self.output.started_at = time.monotonic()

    def accept(self, token: int, vocabulary: Vocabulary) -> tuple[str, FinishReason | None]:
        """Take a chosen token; return the text it releases, and why the sequence ends if it does."""
        if token in vocabulary.ends:
            return self.output.take(token, b"", is_end=True)
        piece = self.shown.get(token) or vocabulary.piece(token)
        if self.thinking is not None:
            self.thinking.feed(piece)
        return self.output.take(token, piece)

    def foresee(self, vocabulary: Vocabulary) -> None:
        """Find out which tokens have to follow, as far as that is certain already."""
        if self.forced:
            return
        guide = self.guide
        if self.thinking is not None:
            permits = guide.permits if guide is not None else bool
            self.forced.extend(self.thinking.ending(lambda text: vocabulary.tokens(text, special=True), permits))
        if guide is not None and not self.forced and not self.sampler.is_bound:
            self.forced.extend(guide.forced())

    def count_guesses(self, drafted: int, accepted: int) -> None:
        """Learn how far to guess the next times: a wrong guess costs a step its time and brings nothing."""
        if not drafted:
            return
        self.drafted += drafted
        self.accepted += accepted
        self.trust = 2 * max(drafted, self.trust) if accepted == drafted else accepted + 1
        self.doubt = 0 if accepted else self.doubt + 1
        self.pause = min(2**self.doubt, LONGEST_PAUSE) if self.doubt > 1 else 0

    def worth_guessing(self, most: int) -> int:
        """Return how many tokens, `most` at most, are worth guessing; the last one is always sampled."""
        if self.pause:
            self.pause -= 1
            return 0
        room = self.slot.room - len(self.pending)
        self.trust = min(self.trust, most)
        return min(self.trust, self.output.limit - len(self.job.output_tokens) - 1, room)

    def known_tokens(self) -> Tokens:
        """Return the tokens as they stand in the cache, and those that are not computed yet."""
        return np.concatenate([self.slot.tokens[: self.slot.length], np.array(self.pending, np.int32)])

    def finished(self, reason: FinishReason) -> Finished:
        """Return the last word about the sequence."""
        return self.output.finished(reason, draft_tokens=self.drafted, accepted_tokens=self.accepted)
