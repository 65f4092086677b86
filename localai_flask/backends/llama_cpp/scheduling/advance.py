"""What a sequence makes of the logits of one step: a token that it chooses, and those that need no choice.

Tokens that its form or the end of its thinking forces follow at once; guessed ones count as far as it would have chosen
them itself, each by its own sampler, so that guessing changes nothing but the time. Knows neither batches nor slots.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from localai_flask.backends.llama_cpp.model.vocabulary import Vocabulary
from localai_flask.backends.llama_cpp.scheduling.sequence import Sequence
from localai_flask.errors import ApiError
from localai_flask.generation import Failed, FinishReason, Reply, TokenLogprob


@dataclass
class _Turn:
    """What one step adds to a sequence."""

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    reason: FinishReason | None = None


def advance(sequence: Sequence, index: int, vocabulary: Vocabulary) -> list[Reply]:
    """Extend a sequence from the logits at a batch index and, after right guesses, at those behind it.

    Sets what is pending and how many guesses were right; the last reply is a last word if the sequence has ended.
    """
    turn, draft = _Turn(), sequence.draft
    right = taken = 0
    last_word: Reply | None = None
    try:
        while turn.reason is None and right == taken:  # the logits behind a wrong guess tell nothing
            _take(sequence, index + right, vocabulary, turn)
            taken = len(turn.tokens)
            while right < min(taken, len(draft)) and turn.tokens[right] == draft[right]:
                right += 1
    except ApiError as error:  # its constraint cannot be held to any longer; the others' can
        last_word = Failed(error.info)
    sequence.pending = turn.tokens[right:]
    sequence.count_guesses(len(draft), right)
    sequence.draft = []
    if turn.reason is not None:
        last_word = sequence.finished(turn.reason)
    replies: list[Reply] = []
    if turn.text or turn.logprobs:
        replies.append(sequence.output.delta(turn.text, turn.logprobs))
    if last_word is not None:
        replies.append(last_word)
    return replies


def _take(sequence: Sequence, index: int, vocabulary: Vocabulary, turn: _Turn) -> None:
    """Add the token that follows by the logits at a batch index, and what is forced behind it.

    Where log-probabilities are wanted, a forced token waits for its own logits like all others.
    """
    sampler, top = sequence.sampler, sequence.job.sampling.top_logprobs
    while turn.reason is None:
        if sequence.forced:
            token = sequence.forced.popleft()
            sampler.follow(token)
        else:
            token = sampler.sample(index)
        text, turn.reason = sequence.accept(token, vocabulary)
        turn.tokens.append(token)
        turn.text += text
        if top is not None:
            turn.logprobs.append(sampler.logprob(index, token, top))
        if turn.reason is None:
            sequence.foresee(vocabulary)
        if top is not None or not sequence.forced:
            break
