"""exllamav2: its dynamic generator, in which a filter takes over the choice of tokens."""

from __future__ import annotations

import logging
from typing import Any

import torch
from exllamav2 import (
    ExLlamaV2,
    ExLlamaV2Cache,
    ExLlamaV2Cache_Q4,
    ExLlamaV2Cache_Q6,
    ExLlamaV2Cache_Q8,
    ExLlamaV2Config,
    ExLlamaV2Tokenizer,
)
from exllamav2.generator import ExLlamaV2DynamicGenerator, ExLlamaV2DynamicJob, ExLlamaV2Sampler
from exllamav2.generator.filters import ExLlamaV2Filter
from exllamav2.version import __version__

from localai_flask.backends.exllama.chooser import Chooser
from localai_flask.backends.exllama.runner import JobRunner, Jobs, Progress
from localai_flask.backends.exllama.settings import PAGE, Settings

log = logging.getLogger(__name__)

CACHES = {4: ExLlamaV2Cache_Q4, 6: ExLlamaV2Cache_Q6, 8: ExLlamaV2Cache_Q8, 16: ExLlamaV2Cache}


class ChoiceFilter(ExLlamaV2Filter):  # type: ignore[misc]  # the library may be absent
    """Leaves one token of the logits that the library is about to sample from."""

    def __init__(self, model: ExLlamaV2, tokenizer: ExLlamaV2Tokenizer, chooser: Chooser):
        super().__init__(model, tokenizer)
        self._chooser = chooser

    def begin(self, prefix_str: str) -> None:
        """Take no notice: a sequence begins where it is made."""

    def feed(self, token: torch.Tensor) -> None:
        """Take no notice: what was chosen was accepted then."""

    def use_background_worker(self) -> bool:
        return False

    def can_mask_logits(self) -> bool:
        return True

    def prepare_logit_mask(self) -> bool:
        return True

    def mask_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (vocabulary,), that all but forbid other tokens than the chosen one."""
        token = self._chooser.choose(logits)
        return torch.full_like(logits, float("-inf")).index_fill_(0, torch.tensor([token]), 0.0)


class Exllama2(JobRunner):
    """A loaded model and its generator."""

    version = f"exllamav2 {__version__}"

    def __init__(self, settings: Settings, progress: Progress):
        config = _read_config(settings)
        self._drafted = settings.drafted
        self.model, cache = _load(config, settings, settings.key_bits, progress)
        self._tokenizer = ExLlamaV2Tokenizer(config)
        self._draft, draft_cache = None, None
        if settings.draft is not None:
            draft = ExLlamaV2Config(str(settings.draft))
            draft.max_seq_len = config.max_seq_len
            self._draft, draft_cache = _load(draft, settings, settings.key_bits, lambda at, count: None)
        arguments = {
            "model": self.model,
            "cache": cache,
            "tokenizer": self._tokenizer,
            "draft_model": self._draft,
            "draft_cache": draft_cache,
            "num_draft_tokens": settings.drafted or 4,
        }
        generator, self.parallel = _open(arguments, settings)
        self._jobs = Jobs(generator, PAGE)

    def add(self, key: int, ids: list[int], chooser: Chooser, limit: int, ends: list[int]) -> None:
        job = ExLlamaV2DynamicJob(
            input_ids=torch.tensor([ids]),
            max_new_tokens=limit + self._drafted,  # the library keeps these free, as a draft may run over
            gen_settings=ExLlamaV2Sampler.Settings.greedy(),
            stop_conditions=ends,
            filters=[ChoiceFilter(self.model, self._tokenizer, chooser)],
            identifier=key,
        )
        self._jobs.add(key, job)


def _read_config(settings: Settings) -> ExLlamaV2Config:
    config = ExLlamaV2Config(str(settings.folder))
    config.max_seq_len = settings.context + settings.drafted
    config.max_input_len = max(settings.chunk, PAGE)
    config.scale_pos_emb = settings.rope_scale
    config.scale_alpha_value = settings.rope_alpha
    if settings.rope_base is not None:
        config.rotary_embedding_base = settings.rope_base
    return config


def _load(config: ExLlamaV2Config, settings: Settings, bits: int, progress: Progress) -> tuple[Any, Any]:
    """Load a model with its cache: over the cards one after the other, or as it is asked for."""
    model = ExLlamaV2(config)
    make = CACHES[bits]
    if settings.split:
        model.load(list(settings.split), callback=progress)
        return model, make(model, max_seq_len=settings.cache)
    cache = make(model, max_seq_len=settings.cache, lazy=True)
    model.load_autosplit(cache, callback=progress)
    return model, cache


def _open(arguments: dict[str, Any], settings: Settings) -> tuple[Any, int]:
    """Make the generator; without flash attention's pages it runs one request after the other."""
    try:
        generator = ExLlamaV2DynamicGenerator(
            **arguments, max_batch_size=settings.parallel, max_chunk_size=settings.chunk, paged=True
        )
        return generator, settings.parallel
    except AssertionError as error:
        if "attention" not in str(error).lower() and "attn" not in str(error):
            raise
        log.warning("requests run one after the other, as the package flash-attn is not there (%s)", error)
        return ExLlamaV2DynamicGenerator(**arguments, max_batch_size=1, paged=False), 1
