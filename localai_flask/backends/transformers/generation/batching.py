"""The library's generation thread, and everything about it that must be known to use it safely.

Knows ids, samplers and outputs, no text and no jobs. Left to itself the library sizes its cache from all free memory,
which costs seconds and gigabytes; and after a cancellation it sends nothing more.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching.requests import GenerationOutput

from localai_flask.backends.token_choice.sampler import TokenSampler
from localai_flask.backends.transformers.generation.batch_sampler import BatchSampler
from localai_flask.backends.transformers.generation.image_rows import ImageRows, reason_for_turns
from localai_flask.backends.transformers.generation.runner import Made, NotBatchable
from localai_flask.backends.transformers.generation.turns import Passes
from localai_flask.backends.transformers.images.seen import SeenPrompt
from localai_flask.backends.transformers.loading.cache_size import PAGE_TOKENS, CacheSize
from localai_flask.backends.transformers.loading.failures import LIBRARY, UNREADABLE, first_line
from localai_flask.errors import ModelLoadFailed
from localai_flask.sampling_params import SamplingParams

if TYPE_CHECKING:
    from localai_flask.backends.transformers.images.reader import ImageReader

PROBE = list(range(8))
PROBE_TIMEOUT_S = 60.0
PROBE_TOLERANCE = {True: 0.01, False: 0.5}
"""By whether the model has 32-bit floats throughout, how far its log-probabilities may differ by rounding."""


class Batcher:
    """Runs many sequences in one batch, each with its own sampler."""

    runs_by_itself = True

    def __init__(
        self,
        model: Any,
        cache: CacheSize,
        notify: Callable[[], None] | None = None,
        reader: ImageReader | None = None,
    ):
        """`notify` is called from the library's thread when there is something to collect."""
        self._images = None
        try:
            # Before the manager, which changes how the model attends.
            expected = _plain_logprobs(model)
            seen, expected_of_image = _image_logprobs(model, reader) if reader is not None else (None, [])
            settings = GenerationConfig(do_sample=False, eos_token_id=-1)
            self._manager = model.init_continuous_batching(settings, _layout(cache))
            self._images = ImageRows(model, reader) if reader is not None else None
            self._sampler = BatchSampler(self._manager.cancel_request, self._images)
            self._manager.logit_processor = self._sampler
            if notify is not None:
                self._manager.output_router.output_queue = _Results(notify)
            self._manager.warmup()  # makes the cache here rather than in the thread, so that its errors are raised here
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise ModelLoadFailed(f"{LIBRARY} has no memory for the KV cache: {first_line(error)}") from error
        except (*UNREADABLE, TypeError) as error:
            raise NotBatchable(first_line(error)) from error
        self._manager.start()
        is_exact = model.dtype.itemsize >= 4 and getattr(model, "hf_quantizer", None) is None
        self._compare("probe", SeenPrompt(PROBE), expected, PROBE_TOLERANCE[is_exact])
        if seen is not None:
            self._compare("probe with an image", seen, expected_of_image, PROBE_TOLERANCE[is_exact])

    def add(self, key: str, prompt: SeenPrompt, sampler: TokenSampler, limit: int, eos: Iterable[int]) -> None:
        """Start a sequence that ends after `limit` tokens or one of `eos`; a thread that is dead drops it."""
        self._sampler.samplers[key] = sampler
        ids = prompt.ids if self._images is None else self._images.add(key, prompt)
        self._manager.add_request(ids, request_id=key, max_new_tokens=limit, eos_token_id=list(eos), streaming=True)

    def drop(self, key: str) -> None:
        """Stop a sequence before the next batch and free its cache; it may already have ended."""
        self._sampler.samplers.pop(key, None)
        if self._images is not None:
            self._images.drop(key)
        self._manager.cancel_request(key)

    def collect(self, wait_s: float) -> tuple[list[Made], bool]:
        """Take what was made, waiting for the first; return it, and whether more may come."""
        alive: bool = self._manager.is_running()  # asked first: a thread that ends afterwards has delivered all it made
        made = []
        output = self._manager.get_result(timeout=wait_s)
        while output is not None:
            made.append(Made(output.request_id, output.generated_tokens, output.error))
            output = self._manager.get_result(timeout=0)
        return made, alive

    @property
    def error(self) -> str:
        """Why the thread ended."""
        error = self._manager.background_thread_status.fatal_error
        return str(error) or type(error).__name__ if error is not None else "its thread ended"

    def stop(self) -> None:
        self._manager.stop(block=True, timeout=5, hard_stop=True)
        self._manager.destroy()
        if self._images is not None:
            self._images.close()

    def _compare(self, key: str, prompt: SeenPrompt, expected: list[float], tolerance: float) -> None:
        """Generate two tokens and see that they are what the model says without batching.

        Not every architecture that runs without an error gives the same text.
        """
        sampler = TokenSampler(SamplingParams(temperature=0.0, top_logprobs=1))
        self.add(key, prompt, sampler, limit=len(expected), eos=())
        finished = False
        while not finished:
            made, alive = self.collect(PROBE_TIMEOUT_S)
            error = next((each.error for each in made if each.error is not None), None)
            if error is not None or not alive or not made:
                self.stop()
                raise NotBatchable(error or self.error)
            finished = any(len(each.tokens) >= len(expected) for each in made)
        self.drop(key)
        found = [logprob for _, logprob, _ in sampler.logprobs]
        if len(found) < len(expected) or any(abs(a - b) > tolerance for a, b in zip(found, expected, strict=True)):
            self.stop()
            raise NotBatchable("it gives other results in batches than without")


class _Results(queue.Queue[GenerationOutput]):
    """The queue of the library's results, whose reader is called."""

    def __init__(self, notify: Callable[[], None]):
        super().__init__()
        self._notify = notify

    def put(self, item: GenerationOutput, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._notify()


def _layout(cache: CacheSize) -> ContinuousBatchingConfig:
    return ContinuousBatchingConfig(
        page_size=PAGE_TOKENS,
        num_blocks=cache.blocks,
        max_batch_tokens=cache.batch_tokens,
        max_requests_per_batch=cache.sequences,
        use_async_batching=False,  # the sampler needs each forward pass to follow its preparation
        use_cuda_graph=False,
        auto_switch_to_flash=False,  # it may fetch kernels from the internet, and takes no 32-bit floats
    )


@torch.inference_mode()  # type: ignore[untyped-decorator]
def _plain_logprobs(model: Any) -> list[float]:
    """Compute the log-probabilities of two greedy tokens after the probe's prompt, without any cache."""
    ids, found = list(PROBE), []
    for _ in range(2):
        logprobs = (
            model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
            .logits[0, -1]
            .float()
            .log_softmax(-1)
        )
        ids.append(int(logprobs.argmax()))
        found.append(float(logprobs[ids[-1]]))
    return found


@torch.inference_mode()  # type: ignore[untyped-decorator]
def _image_logprobs(model: Any, reader: ImageReader) -> tuple[SeenPrompt, list[float]]:
    """Return a prompt with an image, and the same of it; raise `NotBatchable` where images cannot be in batches."""
    seen = reader.probe()
    if reason := reason_for_turns(model, seen):
        raise NotBatchable(reason)
    passes, found = Passes(model, reader), []
    text = passes.begin(seen, None)
    for _ in range(2):
        logprobs = passes.read(text)[0].log_softmax(-1)
        token = int(logprobs.argmax())
        text.waiting.append(torch.tensor([[token]], device=model.device))
        found.append(float(logprobs[token]))
    return seen, found
