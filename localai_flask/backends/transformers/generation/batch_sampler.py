"""Our choice of tokens in the library's loop, whose own processors it stands in for.

Those know temperature, top_k and top_p only, draw from one generator for all requests, and end the whole loop at
temperature 0. So the library is left to take the largest logit, and the token chosen for each request is made that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessorList
from transformers.generation.continuous_batching.requests import FutureRequestState, RequestState
from transformers.generation.logits_process import LogitsProcessorList

from localai_flask.backends.token_choice.row_choice import Row, choose_tokens
from localai_flask.backends.token_choice.sampler import TokenSampler
from localai_flask.backends.transformers.generation.image_rows import ImageRows


class BatchSampler(ContinuousBatchingLogitsProcessorList):  # type: ignore[misc]  # the library may be absent
    """Chooses the next tokens of one batch; called by the library's thread around each forward pass."""

    def __init__(self, cancel: Callable[[str], None], images: ImageRows | None = None):
        super().__init__(LogitsProcessorList())
        self.do_processing = True
        self.samplers: dict[str, TokenSampler] = {}
        """By the library's request id; a request that is not here was cancelled."""
        self._cancel = cancel
        self._images = images
        self._rows: list[RequestState] = []

    def prepare_tensor_args(self, requests_in_batch: list[FutureRequestState], arg_storage: Tensor) -> Tensor:
        """Remember which requests are in the batch that is about to be processed, in the order of their logits."""
        self._rows = []
        if self._images is not None:
            spans = [(each.state, each.query_length) for each in requests_in_batch]
            self._images.begin_batch([(state.request_id, state.position_offset - n, n) for state, n in spans])
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
        samplers = {at: self.samplers.get(state.request_id) for at, state in enumerate(self._rows)}
        rows = {
            at: Row(sampler, functools.partial(self._history, self._rows[at]))
            for at, sampler in samplers.items()
            if sampler is not None
        }
        if rows:
            places = list(rows)
            tokens = choose_tokens([*rows.values()], scores[places])
            scores.zero_()
            scores[places, tokens] = 1.0
        return scores

    def _history(self, state: RequestState, last: int) -> list[int]:
        prompt: list[int] = state.initial_tokens
        generated: list[int] = state.generated_tokens
        missing = last - len(generated)
        if last < 0 or missing > 0:
            seen = prompt if last < 0 else prompt[-missing:]
            return [*(seen if self._images is None else filter(self._images.is_token, seen)), *generated]
        return generated[-last:]
