"""Images in prompts for the library: where they stand among the tokens, and what its processor makes of them.

The processor has a tokenizer that it changes while it uses it, so it runs in a thread of its own with one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from vllm.model_executor.model_loader import get_model_cls
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.v1.engine.llm_engine import LLMEngine

from localai_flask.backends.base import Inquiry, Job
from localai_flask.backends.hugging_face.image_prompts import find_placeholder, with_placeholders
from localai_flask.backends.hugging_face.tokens import Tokens
from localai_flask.backends.images import open_image
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Image, Prompt

KIND = "image"
"""The library's word for images among what a model may read beside text."""


def sees(engine: LLMEngine) -> bool:
    """Return whether the engine's model reads images, as many as its YAML allows."""
    processor = engine.renderer.mm_processor
    return processor is not None and processor.info.allowed_mm_limits.get(KIND, 0) > 0


class ImagePrompts:
    """Makes of prompts with images what the engine takes."""

    def __init__(self, engine: LLMEngine, tokens: Tokens, template: str | None):
        self._renderer, self._settings, self._tokens = engine.renderer, engine.vllm_config.model_config, tokens
        self._class = get_model_cls(self._settings)
        first, second = self._mark(0), self._mark(1)
        processor = self._renderer.get_mm_processor().info.get_hf_processor()
        self._placeholder = find_placeholder(processor, template, first) if first == second else ""
        """What stands for any image; "" where each has its number."""
        self._thread = ThreadPoolExecutor(1, "process images")

    def _mark(self, number: int) -> str:
        return self._class.get_placeholder_str(KIND, number + 1) or ""

    def prepare(self, job: Job, beside: Future[Any] | None) -> Future[None]:
        """Have a job's images processed, and wait for what is made beside; raise `InvalidRequest` as `ids` does."""
        return self._thread.submit(self._prepare, job, self.ids(job.prompt), beside)

    def ids(self, prompt: Prompt) -> list[int]:
        """Turn a prompt into tokens, one mark for each image; raise `InvalidRequest` if its text has marks itself."""
        marks = [self._mark(number) for number in range(len(prompt.images))]
        ids = self._tokens.encode(with_placeholders(prompt, [self._placeholder or mark for mark in marks]))
        begins = [self._tokens.tokenizer.encode(mark, add_special_tokens=False)[0] for mark in marks]
        if any(ids.count(begin) != begins.count(begin) for begin in begins):
            raise InvalidRequest(
                f"The messages' text has {marks[0]}, by which this model knows its images; leave it out.",
                param="messages",
            )
        return ids

    def _prepare(self, job: Job, ids: list[int], beside: Future[Any] | None) -> None:
        job.ahead = self.process(ids, job.prompt.images)
        if beside is not None:
            beside.result()

    def process(self, ids: list[int], images: Sequence[Image]) -> Any:
        """Return the engine's input, in whose tokens each image has as many as it takes."""
        asked = {
            "prompt_token_ids": ids,
            "multi_modal_data": {KIND: [open_image(image) for image in images]},
            "multi_modal_uuids": {KIND: [image.digest for image in images]},
        }
        try:
            # Of what the engine's own cache holds, a request that is never added would leave it a wrong idea.
            (made,) = self._renderer.render_cmpl([parse_model_prompt(self._settings, asked)], skip_mm_cache=True)
        except (ValueError, RuntimeError) as error:
            raise InvalidRequest(f"vLLM cannot read the images: {error}", param="messages") from error
        return made

    def count(self, inquiry: Inquiry, prompt: Prompt) -> Future[None]:
        """Find the tokens of a prompt, with those of its images, for a question."""
        ids = self.ids(prompt)

        def make() -> None:
            inquiry.prepared = list(self.process(ids, prompt.images)["prompt_token_ids"])

        return self._thread.submit(make)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
