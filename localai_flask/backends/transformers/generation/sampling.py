"""How the next token of each sequence is chosen; knows logits and parameters, no text and no events.

The library's own per-request processors know temperature, top_k and top_p only, draw from one generator for all
requests, and end the whole loop at temperature 0. So it is left to take the largest logit, and `BatchSampler`, which
stands in for its processors, makes the token chosen for each request the largest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessorList
from transformers.generation.continuous_batching.requests import FutureRequestState, RequestState
from transformers.generation.logits_process import LogitsProcessorList

from localai_flask.backends.grammars.guide import Guide
from localai_flask.backends.output_rules import NOTHING_LEFT, OutputRules
from localai_flask.backends.transformers.generation.thinking import LimitedThinking
from localai_flask.errors import ApiError, InvalidRequest
from localai_flask.sampling_params import SamplingParams

Logprob = tuple[int, float, list[tuple[int, float]]]
"""A token, its log-probability, and the best tokens with theirs."""
TAKEN = frozenset(
    (
        *("min_p", "typical_p", "repeat_penalty", "frequency_penalty", "presence_penalty", "no_repeat_ngram_size"),
        *("min_tokens", "t_max_predict_ms", "ignore_eos", "stop_token_ids", "include_stop_str_in_output", "bad_words"),
        *("banned_strings", "allowed_token_ids", "logit_bias", "top_logprobs"),
    )
)
"""The parameters that are honoured here, beside those that every engine takes."""


@dataclass(eq=False)
class TokenSampler:
    """One request's parameters, random numbers and progress; written to by the library's thread while it runs."""

    params: SamplingParams
    banned: Collection[int] = ()
    """Tokens that are never chosen."""
    begun: float | None = None
    """When the library first put it into a batch, on the clock of `time.monotonic()`."""
    num_cached: int = 0
    """How many leading prompt tokens the library found in its cache."""
    processed: int = 0
    """How many tokens lie in the cache."""
    logprobs: list[Logprob] = field(default_factory=list)
    """One entry for each chosen token, if they were asked for."""
    broken: bool = False
    """Whether the model gave numbers from which nothing can be chosen."""
    guide: Guide | None = None
    """What the sequence may say."""
    thinking: LimitedThinking | None = None
    rules: OutputRules | None = None
    failure: ApiError | None = None
    """Why the sequence cannot go on."""

    def __post_init__(self) -> None:
        bias = self.params.logit_bias | dict.fromkeys(self.banned, -math.inf)
        self._biased, self._bias = list(bias), torch.tensor(list(bias.values()))
        self._only = torch.tensor(self.params.allowed_token_ids, dtype=torch.int64)
        self._random = torch.Generator()
        if self.params.seed == -1:
            self._random.seed()
        else:
            self._random.manual_seed(self.params.seed % 2**64)

    def watch(self, total: int, new: int) -> None:
        """Note that the library is about to process `new` tokens, after which `total` lie in its cache."""
        if self.begun is None:
            self.num_cached = total - new
            self.begun = time.monotonic()
        self.processed = total - new

    def pick(self, logits: Tensor, history: Callable[[int], list[int]]) -> int:
        """Choose a token from logits (vocabulary,); `history(n)` gives the last n tokens so far (-1: all)."""
        raw, params = logits, self.params
        if self._biased:
            logits = logits.clone()
            logits[self._biased] += self._bias.to(logits.device)
        if _penalizes(params):
            logits = penalize(logits, history(params.repeat_last_n), params)
        if self.rules is not None or len(self._only):
            logits = self._permitted(logits)
        if not torch.isfinite(logits.max()):
            is_forbidden = bool(torch.isneginf(logits.max())) and bool(torch.isfinite(raw.max()))
            self.broken, self.failure = not is_forbidden, InvalidRequest(NOTHING_LEFT) if is_forbidden else None
            return 0
        token = self._next(logits)
        if self.rules is not None:
            self.rules.accept(token)
        if self.thinking is not None:
            self.thinking.feed(token)
        if params.top_logprobs is not None:
            self.logprobs.append(_logprob(raw, token, params.top_logprobs))
        return token

    def _next(self, logits: Tensor) -> int:
        """Take the token that ends thinking if it is time, else choose one."""
        forced = self.thinking.forced(self.guide) if self.thinking is not None else None
        if self.guide is None:
            return self._choose_allowed(logits) if forced is None else forced
        if forced is None:
            return self._choose_guided(logits, self.guide)
        try:
            self.guide.accept(forced)
        except ApiError as error:
            self.failure = error
        return forced

    def _choose(self, logits: Tensor) -> int:
        return int(logits.argmax()) if self.params.temperature <= 0 else self._draw(logits)

    def _permitted(self, logits: Tensor) -> Tensor:
        """Return logits without the tokens that may not come next whatever the form says."""
        logits = logits.clone()
        if self.rules is not None:
            logits[self.rules.banned()] = -math.inf
        if len(self._only):
            others = torch.ones_like(logits, dtype=torch.bool)
            others[self._only.to(logits.device)] = False
            logits[others] = -math.inf
        return logits

    def _choose_guided(self, logits: Tensor, guide: Guide) -> int:
        """Choose among the tokens that may follow; an error ends the sequence, for this thread serves others too."""
        if guide.is_complete and self.banned:  # also who ignores the end of text has an end to a form
            return min(self.banned)
        try:
            if guide.is_armed:
                logits = logits.clone()
                logits[~self._allowed(logits, guide)] = -math.inf
            token = self._choose_allowed(logits, None if guide.is_armed else guide)
            if self.failure is None:
                guide.accept(token)
        except ApiError as error:
            self.failure = error
            return 0
        return token

    def _choose_allowed(self, logits: Tensor, guide: Guide | None = None) -> int:
        """Choose until nothing is said against a token: few are refused, such as those that end a banned text."""
        checks = [each.allows for each in (guide, self.rules) if each is not None]
        token = self._choose(logits)
        while not all(allows(token) for allows in checks):
            logits = logits.clone()
            logits[token] = -math.inf
            if not torch.isfinite(logits.max()):
                self.failure = InvalidRequest(NOTHING_LEFT)
                return 0
            token = self._choose(logits)
        return token

    def _allowed(self, logits: Tensor, guide: Guide) -> Tensor:
        """Return which tokens may follow, shape (vocabulary,)."""
        allowed = torch.from_numpy(guide.allowed()[: logits.shape[-1]].copy()).to(logits.device)
        if not bool(torch.isfinite(logits[allowed]).any()):
            raise InvalidRequest(NOTHING_LEFT)
        return allowed

    def _draw(self, logits: Tensor) -> int:
        params = self.params
        size = logits.shape[-1]
        logits, ids = logits.topk(params.top_k if 0 < params.top_k < size else size)
        logits, ids = logits.cpu(), ids.cpu()  # where the random numbers are: a seed means the same on every device
        logits, ids = narrow(logits, ids, params)
        # Subtracting the largest first keeps the division by a tiny temperature finite where it matters.
        chances = ((logits - logits[0]) / params.temperature).softmax(-1)
        return int(ids[torch.multinomial(chances, 1, generator=self._random)])


def penalize(logits: Tensor, history: list[int], params: SamplingParams) -> Tensor:
    """Lower the logits (vocabulary,) of tokens that the history holds, as llama.cpp does."""
    tokens, counts = torch.tensor(history, dtype=torch.int64, device=logits.device).unique(return_counts=True)
    seen = logits[tokens]
    if params.repeat_penalty != 1.0:
        seen = torch.where(seen > 0, seen / params.repeat_penalty, seen * params.repeat_penalty)
    return logits.index_copy(0, tokens, seen - counts * params.frequency_penalty - params.presence_penalty)


def _penalizes(params: SamplingParams) -> bool:
    adds = params.frequency_penalty != 0.0 or params.presence_penalty != 0.0
    return params.repeat_last_n != 0 and (adds or params.repeat_penalty != 1.0)


def narrow(logits: Tensor, ids: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
    """Apply typical_p, top_p and min_p, in llama.cpp's order, to logits (k,) that fall from the first to the last."""
    if params.typical_p < 1.0:
        chances = logits.softmax(-1)
        surprise = -chances.clamp_min(1e-30).log()
        nearest = (surprise - (chances * surprise).sum()).abs().argsort()
        enough = int((chances[nearest].cumsum(-1) < params.typical_p).sum()) + 1
        kept = nearest[:enough].sort().values
        logits, ids = logits[kept], ids[kept]
    if params.top_p < 1.0:
        enough = int((logits.softmax(-1).cumsum(-1) < params.top_p).sum()) + 1
        logits, ids = logits[:enough], ids[:enough]
    if params.min_p > 0.0:
        chances = logits.softmax(-1)
        enough = max(1, int((chances >= params.min_p * chances[0]).sum()))
        logits, ids = logits[:enough], ids[:enough]
    return logits, ids


def _logprob(logits: Tensor, token: int, best: int) -> Logprob:
    logprobs = logits.log_softmax(-1)
    values, ids = logprobs.topk(min(best, logits.shape[-1]))
    return token, float(logprobs[token]), list(zip(ids.tolist(), values.tolist(), strict=True))


class BatchSampler(ContinuousBatchingLogitsProcessorList):  # type: ignore[misc]  # the library may be absent
    """Chooses the next tokens of one batch; called by the library's thread around each forward pass."""

    def __init__(self, cancel: Callable[[str], None]):
        super().__init__(LogitsProcessorList())
        self.do_processing = True
        self.samplers: dict[str, TokenSampler] = {}
        """By the library's request id; a request that is not here was cancelled."""
        self._cancel = cancel
        self._rows: list[RequestState] = []

    def prepare_tensor_args(self, requests_in_batch: list[FutureRequestState], arg_storage: Tensor) -> Tensor:
        """Remember which requests are in the batch that is about to be processed, in the order of their logits."""
        self._rows = []
        for request in requests_in_batch:
            state = request.state
            sampler = self.samplers.get(state.request_id)
            if sampler is None:
                # The library forgets a cancellation that it reads just before the request itself, so say it again.
                self._cancel(state.request_id)
            else:
                sampler.watch(state.position_offset, request.query_length)
            if request.has_new_token:
                self._rows.append(state)
        return arg_storage

    def __call__(self, input_ids: Tensor, scores: Tensor, logits_processor_args: Tensor) -> Tensor:
        """Make the chosen token the largest in each row of scores (requests, vocabulary).

        Rows of requests with a new token come first; the rest are padding.
        """
        for logits, state in zip(scores, self._rows, strict=False):
            sampler = self.samplers.get(state.request_id)
            if sampler is not None:
                token = sampler.pick(logits, lambda last, state=state: _history(state, last))  # type: ignore[misc]
                logits.fill_(0.0)
                logits[token] = 1.0
        return scores


def _history(state: RequestState, last: int) -> list[int]:
    prompt: list[int] = state.initial_tokens
    generated: list[int] = state.generated_tokens
    if last < 0:
        return prompt + generated
    missing = last - len(generated)
    return prompt[-missing:] + generated if missing > 0 else generated[-last:]
