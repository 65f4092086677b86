"""exllamav3: its generator, in which a sampler of ours chooses the tokens."""

from __future__ import annotations

from typing import Any

import torch
from exllamav3 import Cache, CacheLayer_fp16, CacheLayer_quant, Config, Generator, Job, Model, Tokenizer
from exllamav3.generator.sampler import Sampler
from exllamav3.version import __version__

from localai_flask.backends.exllama.chooser import Chooser
from localai_flask.backends.exllama.runner import JobRunner, Jobs, Progress
from localai_flask.backends.exllama.settings import PAGE, Settings


class ChoiceSampler(Sampler):  # type: ignore[misc]  # the library may be absent
    """Samples for one job."""

    def __init__(self, chooser: Chooser):
        super().__init__()
        # With a draft, the library would have all positions chosen before it knows which of them count.
        self.reqs_past_ids = True
        self._chooser = chooser

    def forward(self, logits: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Return the chosen token, shape (1, 1), for logits of shape (1, 1, vocabulary)."""
        return torch.full(logits.shape[:-1], self._chooser.choose(logits), dtype=torch.long, device=logits.device)


class Exllama3(JobRunner):
    """A loaded model and its generator."""

    version = f"exllamav3 {__version__}"

    def __init__(self, settings: Settings, progress: Progress):
        config = Config.from_directory(str(settings.folder))
        self.model, cache = _load(config, settings, progress)
        self._draft, draft_cache = None, None
        if settings.draft is not None:
            draft = Config.from_directory(str(settings.draft))
            self._draft, draft_cache = _load(draft, settings, lambda at, count: None)
        self.parallel = settings.parallel
        generator = Generator(
            self.model,
            cache,
            Tokenizer.from_config(config),
            max_batch_size=settings.parallel,
            max_chunk_size=settings.chunk,
            draft_model=self._draft,
            draft_cache=draft_cache,
            num_draft_tokens=settings.drafted or None,
        )
        self._jobs = Jobs(generator, PAGE)

    def add(self, key: int, ids: list[int], chooser: Chooser, limit: int, ends: list[int]) -> None:
        job = Job(
            input_ids=torch.tensor([ids]),
            max_new_tokens=limit,
            sampler=ChoiceSampler(chooser),
            stop_conditions=ends,
            identifier=key,
        )
        self._jobs.add(key, job)


def _load(config: Config, settings: Settings, progress: Progress) -> tuple[Any, Any]:
    """Load a model with its cache."""
    model = Model.from_config(config)
    bits = (settings.key_bits, settings.value_bits)
    kind = {} if bits == (16, 16) else {"k_bits": min(bits[0], 8), "v_bits": min(bits[1], 8)}
    layer = CacheLayer_quant if kind else CacheLayer_fp16
    cache = Cache(
        model,
        max_num_tokens=settings.cache,
        layer_type=layer,
        max_batch_size=settings.parallel,
        max_history=settings.drafted,
        **kind,
    )
    split = {"use_per_device": list(settings.split)} if settings.split else {}
    model.load(callback=progress, max_chunk_size=settings.chunk, **split)
    return model, cache
