"""What YAML asks of the libraries, in their terms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localai_flask.backends.exllama.key_checks import cache_bits
from localai_flask.config.files.snapshot import read_snapshot
from localai_flask.config.model import EngineConfig
from localai_flask.config.traits import choose_context

PAGE = 256
"""Tokens of a page of the cache, in both libraries."""
PARALLEL, CHUNK, DRAFTED = 16, 2048, 4


@dataclass(frozen=True)
class Settings:
    """How a model is loaded and run; sizes are in tokens, and whole pages where the libraries want that."""

    folder: Path
    context: int
    cache: int
    parallel: int
    chunk: int
    key_bits: int
    value_bits: int
    split: tuple[float, ...]
    """Gigabytes that may be used of each card; none: the library fills one after the other."""
    draft: Path | None
    drafted: int
    """Tokens that the draft model proposes at once; 0 without one."""
    rope_base: float | None = None
    rope_scale: float = 1.0
    """By how much positions lie closer than they were trained."""
    rope_alpha: float = 1.0


def read_settings(config: EngineConfig) -> Settings:
    """Read a config whose keys have been checked."""
    is_third = config.backend == "exllama3"
    context = choose_context(config.context_size, read_snapshot(config.model_path).trained_context)
    drafted = (config.n_draft or DRAFTED) if config.draft_model else 0
    return Settings(
        folder=config.model_path,
        context=context,
        cache=max(int(config.option("cache_size") or 0), pages(context + drafted)),
        parallel=int(config.option("parallel", "n_parallel") or PARALLEL),
        chunk=pages(config.batch or CHUNK),
        key_bits=cache_bits(config.cache_type_k, is_third) or 16,
        value_bits=cache_bits(config.cache_type_v, is_third) or 16,
        split=_split(config.option("gpu_split") or ""),
        draft=Path(config.models_path) / config.draft_model if config.draft_model else None,
        drafted=drafted,
        rope_base=config.rope_freq_base or None,
        rope_scale=1 / config.rope_freq_scale if config.rope_freq_scale else 1.0,
        rope_alpha=float(config.option("rope_alpha") or 1.0),
    )


def _split(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.replace("/", ",").split(","))) if text else ()


def pages(tokens: int) -> int:
    """Round a number of tokens up to whole pages."""
    return -(-tokens // PAGE) * PAGE
