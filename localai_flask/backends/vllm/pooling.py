"""Vectors and scores by the library's pooling models; it batches them by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from vllm import PoolingParams

from localai_flask.backends.embedding import InputTooLong
from localai_flask.backends.hugging_face.tokens import Tokens
from localai_flask.inquiry import ALL_IT_TAKES, Embed, Embedded, Fact, Score, Scored


def read_text(question: Embed | Score, tokens: Tokens, longest: int) -> list[int]:
    """Turn a question into ids, with all that the model wants around them; raises `InputTooLong`."""
    if isinstance(question, Embed):
        ids = tokens.encode_whole(question.prompt)
    else:
        ids = tokens.tokenizer.encode(question.query, question.document, split_special_tokens=True, verbose=False)
    cut_to = longest if question.cut_to == ALL_IT_TAKES else min(question.cut_to or longest, longest)
    if len(ids) > longest and question.cut_to is None:
        raise InputTooLong(len(ids), longest, longest, isinstance(question, Embed))
    if len(ids) <= cut_to:
        return ids
    closing = tokens.tokenizer.num_special_tokens_to_add() and ids[-1] in tokens.silent
    return [*ids[: cut_to - 1], ids[-1]] if closing else ids[:cut_to]


def pooling_params(question: Embed | Score, ids: list[int], tokens: Tokens) -> PoolingParams:
    """Return what the library is to make of a text: a normalized vector, or a pair's number before its sigmoid."""
    if isinstance(question, Embed):
        return PoolingParams(task="embed")
    params = PoolingParams(task="classify", use_activation=False)
    if "token_type_ids" in tokens.tokenizer.model_input_names:
        # How many leading tokens are the query's, with what stands around it.
        params.extra_kwargs = {"compressed_token_type_ids": ids.index(tokens.tokenizer.sep_token_id) + 1}
    return params


def fact_of(question: Embed | Score, output: Any, tokens: int) -> Fact:
    """Turn what the library has made into an answer."""
    data = np.asarray(output.outputs.data.float().cpu().numpy(), dtype="<f4").reshape(-1)
    if isinstance(question, Score):
        return Scored(float(data[0]), tokens)
    return Embedded(data.tobytes(), len(data), tokens)
