"""The verbs that are the same for all engines that see their models' tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from localai_flask.backends.base import Backend, Inquiry, Job
from localai_flask.backends.hugging_face.model_tokens import ModelTokens
from localai_flask.backends.output.output import Output
from localai_flask.backends.output.rules import check_ids
from localai_flask.errors import ApiError, ContextOverflow
from localai_flask.generation import Failed, Finished, Prompt, Reply, TokenLogprob
from localai_flask.inquiry import Detokenize, Detokenized, Fact, Tokenize, Tokenized

T = TypeVar("T")


class TokenEngine(Backend):
    """An engine whose `load` sets these; a `trained_context` of 0 is not known."""

    tokens: ModelTokens
    context_length: int
    trained_context: int = 0

    def encode(self, prompt: Prompt) -> list[int]:
        return self.tokens.encode(prompt)

    def read_prompt(self, job: Job) -> list[int]:
        """Return the tokens of a job's prompt."""
        return self.encode(job.prompt)

    def prepare(self, job: Job) -> None:
        check_ids(job.sampling, self.tokens.size)
        job.prompt_tokens = self.read_prompt(job)
        if len(job.prompt_tokens) >= self.context_length:
            raise ContextOverflow(len(job.prompt_tokens), self.context_length, trained=self.trained_context)

    def ask(self, inquiry: Inquiry) -> Fact | None:
        question = inquiry.question
        if isinstance(question, Tokenize):
            return self.tokenized(self.tokens.tokenize(question.prompt), question)
        if isinstance(question, Detokenize):
            ids = self.tokens.encode(Prompt(tokens=question.tokens)) if question.tokens else []
            return Detokenized(self.tokens.decode(ids) if ids else "")
        return None

    def tokenized(self, ids: list[int], question: Tokenize) -> Tokenized:
        """Answer a question for tokens with these."""
        return Tokenized(ids, [self.tokens.spelled(token) for token in ids] if question.pieces else [])


def add_token(
    output: Output,
    token: int,
    read: Callable[[int], bytes],
    logprob: Callable[[], TokenLogprob | None],
    *,
    is_end: bool,
) -> list[Reply]:
    """Add a token to an answer; return the replies that it makes.

    `read` returns the bytes by which it makes the text longer, `logprob` what was asked for of its log-probability;
    the token that is the end has neither.
    """
    text, reason = output.take(token, b"" if is_end else read(token), is_end=is_end)
    found = None if is_end else logprob()
    logprobs = [] if found is None else [found]
    replies: list[Reply] = [output.delta(text, logprobs)] if text or logprobs else []
    return [*replies, output.finished(reason)] if reason is not None else replies


def take_each(new: Iterable[T], take: Callable[[T], list[Reply]]) -> list[Reply]:
    """Take what is new of an answer up to its end, which an `ApiError` is too."""
    replies: list[Reply] = []
    try:
        for each in new:
            replies += take(each)
            if has_ended(replies):
                break
    except ApiError as error:
        replies.append(Failed(error.info))
    return replies


def has_ended(replies: list[Reply]) -> bool:
    """Return whether the last of these replies is the last word about its request."""
    return bool(replies) and isinstance(replies[-1], Finished | Failed)
