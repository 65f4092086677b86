"""The log-probabilities of a prompt's own tokens, as its chunks are computed."""

from __future__ import annotations

from localai_flask.backends.llama_cpp.model.vocabulary import Vocabulary
from localai_flask.backends.llama_cpp.scheduling.shares import Chunk
from localai_flask.generation import PromptLogprobs, TokenLogprob


def prompt_logprobs(chunk: Chunk, vocabulary: Vocabulary) -> PromptLogprobs:
    """Read a chunk's logits for the tokens that follow each of its own; the first token of all has none."""
    sequence, count = chunk.sequence, len(chunk.tokens)
    begin, prompt = sequence.slot.length - count, sequence.prompt
    top = sequence.job.sampling.top_logprobs or 0
    first = [TokenLogprob(int(prompt[0]), vocabulary.piece(int(prompt[0])), 0.0)] if begin == 0 else []
    following = prompt[begin + 1 : begin + 1 + count].tolist()
    index = chunk.last - count + 1
    return PromptLogprobs(
        first + [sequence.sampler.logprob(index + i, token, top) for i, token in enumerate(following)]
    )
