"""What llama-cpp-python's own `Llama` answers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llama_cpp import LLAMA_POOLING_TYPE_RANK, Llama, LogitsProcessorList

from tests.contract.own_answers import Answer

CONTEXT = 1024


def write(path: str, prompts: list[str], max_tokens: int) -> list[Answer]:
    llama = Llama(path, n_ctx=CONTEXT, n_threads=1, verbose=False)
    return [_answer(llama, prompt, max_tokens) for prompt in prompts]


def _answer(llama: Llama, prompt: str, max_tokens: int) -> Answer:
    leads: list[float] = []

    def watch(_: Any, scores: Any) -> Any:
        best = np.partition(scores, -2)[-2:]
        leads.append(float(best[1] - best[0]))
        return scores

    llama.reset()
    read = llama.tokenize(prompt.encode(), add_bos=True, special=True)
    tokens: list[int] = []
    for token in llama.generate(read, temp=0.0, repeat_penalty=1.0, logits_processor=LogitsProcessorList([watch])):
        if token == llama.token_eos() or len(tokens) == max_tokens:
            break
        tokens.append(token)
    return {
        "prompt_tokens": read,
        "tokens": tokens,
        "pieces": [llama.detokenize([token], special=True).decode("utf-8", "replace") for token in tokens],
        "text": llama.detokenize(tokens, special=True).decode("utf-8", "replace"),
        "leads": leads[:max_tokens],
    }


def embed(path: str, texts: list[str]) -> list[list[float]]:
    llama = Llama(path, n_ctx=CONTEXT, embedding=True, verbose=False)
    return [_unit(llama.embed(text)) for text in texts]


def score(path: str, query: str, documents: list[str]) -> list[float]:
    llama = Llama(path, n_ctx=CONTEXT, embedding=True, pooling_type=LLAMA_POOLING_TYPE_RANK, verbose=False)
    llama.tokenize = functools.partial(llama.tokenize, special=True)  # `embed` reads no [SEP] otherwise
    # It gives as many numbers as a vector has, of which the first is the score.
    return [float(llama.embed(f"{query}[SEP]{document}")[0]) for document in documents]


def _unit(vector: list[float]) -> list[float]:
    array = np.array(vector)
    return list(map(float, array / np.linalg.norm(array)))
