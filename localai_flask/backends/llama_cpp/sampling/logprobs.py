"""Log-probabilities of tokens, as the model has them before any sampler."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from localai_flask.backends.llama_cpp.model.vocabulary import Vocabulary
from localai_flask.backends.llama_cpp.sampling.candidates import Candidates, Row
from localai_flask.generation import TokenLogprob


def token_logprob(
    candidates: Candidates, row: Row, vocabulary: Vocabulary, token: int, top: int, named: Sequence[int] = ()
) -> TokenLogprob:
    """Return a token's log-probability by the logits (vocabulary,) before it, the `top` best, and those of `named`."""
    highest, piece = float(row.max()), vocabulary.piece
    scale = highest + float(np.log(candidates.weights(row, highest).sum(dtype=np.float64)))
    alternatives = []
    if top:
        ids = candidates.at_least(row, candidates.threshold(row, min(top, candidates.size)))
        ranked = ids[np.argsort(-row[ids], kind="stable")[:top]].tolist()
        alternatives = [(other, piece(other), float(row[other] - scale)) for other in ranked]
    alternatives += [(other, piece(other), float(row[other] - scale)) for other in named]
    return TokenLogprob(token, piece(token), float(row[token] - scale), alternatives)
