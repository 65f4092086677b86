"""What the engine makes of a job before it waits: tokens, images, a constraint, and a sequence of all that.

What takes long is made by other threads, so that running streams do not wait for it.
"""

from __future__ import annotations

import functools
from concurrent.futures import Future
from typing import Any

from localai_flask.backends.base import Job
from localai_flask.backends.grammars.compiler import Grammars
from localai_flask.backends.llama_cpp.inquiries import LONG_TEXT
from localai_flask.backends.llama_cpp.model.adapters import Adapter
from localai_flask.backends.llama_cpp.model.model import Model
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.backends.llama_cpp.sampling.constraint import make_tokenizer
from localai_flask.backends.llama_cpp.scheduling.sequence import Sequence
from localai_flask.backends.llama_cpp.vision.sight import Sight
from localai_flask.backends.output.rules import check_ids
from localai_flask.backends.side_thread import SideThread, both
from localai_flask.errors import ContextOverflow, InvalidRequest, UnsupportedParameter, advise_shorter
from localai_flask.generation import Prompt

HUGE_TEXT = 1 << 20
"""Characters that are not tokenized if they cannot fit."""


class PromptTooLong(ContextOverflow):
    """A prompt that need not be tokenized to see that it does not fit."""

    def __init__(self, size: int, limit: int, trained: int):
        InvalidRequest.__init__(
            self,
            f"This model's maximum context length is {limit} tokens, which the prompt's {size} characters exceed; "
            f"{advise_shorter(limit, trained)}.",
        )


class Preparation:
    """Prepares the jobs of one model that generates; one without `sight` reads text only."""

    def __init__(self, model: Model, sight: Sight | None, tokenizing: SideThread, options: EngineOptions):
        self._is_deterministic = options.deterministic
        self._models_path = options.models_path
        self._n_keep = options.n_keep if options.context_shift else None
        """How many tokens a shift of the context keeps; None: contexts are not shifted."""
        self._model, self._sight, self._tokenizing = model, sight, tokenizing
        self._grammars = Grammars(model.vocabulary, make_tokenizer(model.vocabulary))

    def begin(self, job: Job) -> Future[Any] | None:
        """Have other threads make what takes long; None if nothing does."""
        constraint = job.sampling.constraint
        compiled = None if constraint is None else self._grammars.compile(constraint)
        wanted = self._adapters_of(job)
        adapters = None if wanted is None else self._model.adapters.read_ahead(wanted)
        read = None if self._is_hopeless(job.prompt) else self._read_ahead(job, wanted)
        made = [each for each in (compiled, adapters, read) if each is not None]
        return functools.reduce(both, made) if made else None

    def make(self, job: Job) -> Sequence:
        """Make the sequence of a job; raise `ContextOverflow` or `InvalidRequest` if it can never run."""
        model, sampling = self._model, job.sampling
        check_ids(sampling, model.vocabulary.size)
        self._check_images(job)
        limit, trained = model.context_size, model.trained_context
        if self._is_hopeless(job.prompt):
            raise PromptTooLong(len(job.prompt.text), limit, trained)
        if not job.prompt_tokens:  # a long text is tokenized ahead
            self._tokenize(job)
        if len(job.prompt_tokens) >= limit:  # one token at least has to fit behind it
            raise ContextOverflow(len(job.prompt_tokens), limit, trained=trained)
        shown = model.vocabulary.preserved(sampling.preserved)
        guide = None if sampling.constraint is None else self._grammars.guide(sampling.constraint, shown)
        sequence = Sequence.of(job, limit, guide, shown)
        if (wanted := self._adapters_of(job)) is not None:
            sequence.adapters = model.adapters.find(wanted)
        if self._sight is not None and job.prompt.images:
            sequence.images = self._sight.place(job, sequence.prompt)
            sequence.is_anew = self._is_deterministic
        elif self._n_keep is not None:
            sequence.may_shift(limit, model.vocabulary, self._n_keep)
        return sequence

    def _adapters_of(self, job: Job) -> list[Adapter] | None:
        """List the adapters that a job has in place of the YAML's; None if it has those."""
        chosen = job.sampling.adapters
        return None if chosen is None else [Adapter(self._models_path / each.file, each.scale) for each in chosen]

    def _read_ahead(self, job: Job, wanted: list[Adapter] | None) -> Future[Any] | None:
        """Have images encoded, and a long text tokenized behind them."""
        is_long = len(job.prompt.text) + len(job.prompt.suffix or "") >= LONG_TEXT
        thread, seen = self._tokenizing, None
        if self._sight is not None and job.prompt.images:
            scope = "" if wanted is None else self._model.adapters.find_key(wanted)
            scope = None if is_long or self._is_deterministic else scope
            thread, seen = self._sight.thread, self._sight.look_ahead(job, scope)
        if not is_long:
            return seen
        read = thread.submit(functools.partial(self._tokenize, job))
        return read if seen is None else both(seen, read)

    def _check_images(self, job: Job) -> None:
        """Raise `UnsupportedParameter` if a prompt has images that the model cannot see, or asks what they have not."""
        if not job.prompt.images:
            return
        if self._sight is None:
            raise UnsupportedParameter("This model reads text only; leave the images out.", param="messages")
        if job.sampling.prompt_logprobs:
            raise UnsupportedParameter("`echo` with `logprobs` is impossible with images; leave one out.", param="echo")

    def _tokenize(self, job: Job) -> None:
        if job.is_over:
            return
        images = self._sight.tokens_of(job) if self._sight is not None and job.prompt.images else {}
        job.prompt_tokens = self._model.vocabulary.encode(job.prompt, images)

    def _is_hopeless(self, prompt: Prompt) -> bool:
        """Return whether a text is so long that even the longest tokens could not make it fit.

        Tokenizing takes a second for two megabytes, in which no other sequence advances.
        """
        size = len(prompt.text)
        return size > HUGE_TEXT and size > self._model.context_size * self._model.vocabulary.longest
