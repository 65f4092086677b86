"""The next tokens of many sequences at once, from the logits that the model gave for them.

One computation for all rows that ask alike, and few waits for the device: none for a single row.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from localai_flask.backends.output.rules import NOTHING_LEFT
from localai_flask.backends.token_choice.narrowing import (
    WIDENING,
    draw_nearby,
    first_look,
    is_greedy,
    narrows,
    pick,
)
from localai_flask.backends.token_choice.sampler import Logprob, Mask, TokenSampler
from localai_flask.errors import ApiError, InvalidRequest
from localai_flask.sampling_params import SamplingParams

NO_TOKEN = 0
"""What a sequence gets that cannot go on; its sampler says why."""


class Row(NamedTuple):
    """A sequence that gets a token; `history(n)` returns its last n tokens so far (-1: all)."""

    sampler: TokenSampler
    history: Callable[[int], list[int]]


def choose_tokens(rows: list[Row], scores: Tensor) -> list[int]:
    """Choose a token for each row of the scores (rows, vocabulary), which are written to."""
    if not rows:
        return []
    samplers = [row.sampler for row in rows]
    reported = [at for at, sampler in enumerate(samplers) if sampler.params.top_logprobs is not None]
    plain = scores[reported]
    tokens = [NO_TOKEN if sampler.is_over else sampler.forced() for sampler in samplers]
    free = {at: row for at, row in enumerate(rows) if tokens[at] is None}
    _settle(free, scores)
    chosen = _choose({at: row.sampler for at, row in free.items() if not row.sampler.is_over}, scores)
    made = [chosen.get(at, NO_TOKEN) if token is None else token for at, token in enumerate(tokens)]
    for token, sampler in zip(made, samplers, strict=True):
        _accept(sampler, token)
    if reported:
        asked = [samplers[at].params for at in reported]
        for at, logprob in zip(reported, log_probabilities(plain, [made[at] for at in reported], asked), strict=True):
            samplers[at].logprobs.append(logprob)
    return made


def _accept(sampler: TokenSampler, token: int) -> None:
    """Take a chosen token; an error ends the sequence alone, for the thread serves others too."""
    if sampler.is_over:
        return
    try:
        sampler.accept(token)
    except ApiError as error:
        sampler.failure = error


def _settle(rows: Mapping[int, Row], scores: Tensor) -> None:
    """Write into the logits what requests and forms say of them; note for which sequences nothing is left."""
    if not rows:
        return
    before = scores.amax(-1)
    _add_biases(rows, scores)
    _penalize(rows, scores)
    _forbid(rows, scores)
    best = torch.stack([before, scores.amax(-1)]).T.tolist()
    for at, row in rows.items():
        first, last = best[at]
        if last == -math.inf and math.isfinite(first):
            row.sampler.failure = row.sampler.failure or InvalidRequest(NOTHING_LEFT)
        elif not (math.isfinite(last) and math.isfinite(first)):
            row.sampler.broken = True


def _add_biases(rows: Mapping[int, Row], scores: Tensor) -> None:
    entries = [(at, *entry) for at, row in rows.items() for entry in row.sampler.params.logit_bias.items()]
    if entries:
        values = torch.tensor([bias for *_, bias in entries], dtype=scores.dtype)
        scores[_places([entry[:2] for entry in entries], scores)] += values.to(scores.device)


def _penalize(rows: Mapping[int, Row], scores: Tensor) -> None:
    """Lower the logits of tokens that have been there, as llama.cpp does."""
    counted, terms = [], []
    for at, row in rows.items():
        if row.sampler.penalizes:
            params = row.sampler.params
            tokens, counts = np.unique(row.history(params.repeat_last_n), return_counts=True)
            counted += [(at, token) for token in tokens.tolist()]
            added = counts * params.frequency_penalty + params.presence_penalty
            terms += [(params.repeat_penalty, each) for each in added.tolist()]
    if counted:
        places = _places(counted, scores)
        factors, subtracted = torch.tensor(terms, dtype=scores.dtype).to(scores.device).unbind(1)
        seen = scores[places]
        scores[places] = torch.where(seen > 0, seen / factors, seen * factors) - subtracted


def _forbid(rows: Mapping[int, Row], scores: Tensor) -> None:
    forbidden = [(at, token) for at, row in rows.items() for token in row.sampler.forbidden()]
    if forbidden:
        scores[_places(forbidden, scores)] = -math.inf
    masks: dict[int, Mask] = {}
    for at, row in rows.items():
        try:
            mask = row.sampler.mask(scores.shape[-1])
        except ApiError as error:
            row.sampler.failure = error
            continue
        if mask is not None:
            masks[at] = mask
    if masks:
        places = list(masks)
        hidden = torch.from_numpy(np.stack([*masks.values()])).to(scores.device)
        scores[places] = scores[places].masked_fill(hidden, -math.inf)


def _choose(samplers: Mapping[int, TokenSampler], scores: Tensor) -> dict[int, int]:
    """Choose until nothing is said against any token: few are refused, such as those that end a banned text."""
    tokens: dict[int, int] = {}
    wanted = [*samplers]
    while wanted:
        tokens |= zip(wanted, _draw([samplers[at] for at in wanted], scores[wanted]), strict=True)
        wanted = [at for at in wanted if not samplers[at].allows(tokens[at])]
        if not wanted:
            break
        scores[wanted, [tokens[at] for at in wanted]] = -math.inf
        left = dict(zip(wanted, scores[wanted].amax(-1).isfinite().tolist(), strict=True))
        for at in wanted:
            if not left[at]:
                samplers[at].failure = InvalidRequest(NOTHING_LEFT)
        wanted = [at for at in wanted if left[at]]
    return tokens


def _draw(samplers: list[TokenSampler], logits: Tensor) -> list[int]:
    """Choose a token for each row of logits (rows, vocabulary), without rules."""
    size = logits.shape[-1]
    tokens = [NO_TOKEN] * len(samplers)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    greedy, free = [], []
    for at, sampler in enumerate(samplers):
        if is_greedy(sampler.params):
            greedy.append(at)
        elif narrows(sampler.params, size):
            groups[first_look(sampler.params, size)].append(at)
        else:
            free.append(at)
    if greedy:
        for at, token in zip(greedy, logits[greedy].argmax(-1).tolist(), strict=True):
            tokens[at] = token
    if free:
        for at, row in zip(free, logits[free].cpu().numpy(), strict=True):
            tokens[at] = pick(row, samplers[at].params.temperature, samplers[at].random)
    while groups:
        look, group = groups.popitem()
        found = _draw_nearby([samplers[at] for at in group], logits[group], look)
        for at, token in zip(group, found, strict=True):
            if token is None:
                groups[min(look * WIDENING, size)].append(at)
            else:
                tokens[at] = token
    return tokens


def _draw_nearby(samplers: list[TokenSampler], logits: Tensor, look: int) -> list[int | None]:
    """Choose among the `look` likeliest tokens of each row; None where that may be too few."""
    values, ids = logits.topk(look)
    size = logits.shape[-1]
    needs_chances = any(not 0 < sampler.params.top_k < size for sampler in samplers)
    chances = logits.softmax(-1).gather(-1, ids) if needs_chances else values
    nearby = zip(values.cpu().numpy(), ids.cpu().numpy(), chances.cpu().numpy(), strict=True)
    return [
        draw_nearby(*row, size, sampler.params, sampler.random) for row, sampler in zip(nearby, samplers, strict=True)
    ]


def log_probabilities(logits: Tensor, tokens: list[int], asked: list[SamplingParams]) -> list[Logprob]:
    """Return the log-probability of a token of each row of logits (rows, vocabulary), and those that it asks for."""
    best = [params.top_logprobs or 0 for params in asked]
    logprobs = logits.log_softmax(-1)
    of_tokens = logprobs.gather(-1, torch.tensor(tokens, device=logits.device).unsqueeze(-1)).squeeze(-1).tolist()
    values, ids = (each.tolist() for each in logprobs.topk(min(max(best), logits.shape[-1])))
    return [
        (token, of_tokens[at], [*zip(ids[at][: best[at]], values[at][: best[at]], strict=True), *_named(row, params)])
        for at, (token, row, params) in enumerate(zip(tokens, logprobs, asked, strict=True))
    ]


def _named(logprobs: Tensor, params: SamplingParams) -> Iterator[tuple[int, float]]:
    """Return the log-probabilities (vocabulary,) of the tokens that are asked for by their ids."""
    ids = params.logprob_token_ids
    return zip(ids, logprobs[list(ids)].tolist() if ids else (), strict=True)


def _places(entries: list[tuple[int, int]], scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows and tokens as an index."""
    rows, tokens = torch.tensor(entries).T.to(scores.device)
    return rows, tokens
