"""The sampling that well-known model families were published with, for models whose YAML says nothing about it."""

from __future__ import annotations

import functools
import re
from types import MappingProxyType
from typing import Any

_NAMES = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty", "presence_penalty")


def _like(families: str, *values: float) -> dict[str, dict[str, Any]]:
    return {family: dict(zip(_NAMES, values, strict=False)) for family in families.split()}


FAMILIES: dict[str, dict[str, Any]] = {
    **_like("qwen3.5 qwen3.6 qwen3.8", 0.7, 0.8, 20, 0.0, 1.0, 1.5),
    **_like("qwen3-coder qwen3-next qwen3-vl qwen2.5 qwen2.5-omni qwen2.5-math qwen2", 0.7, 0.8, 20, 0.0, 1.0),
    **_like("qwen3", 0.6, 0.95, 20, 0.0, 1.0),
    **_like("qwq", 0.6, 0.95, 40, 0.0, 1.0),
    **_like("qwen2.5-coder qwen2.5-vl qwen2-vl llama-3 llama-3.1 llama-3.2 llama-3.3 pixtral", 1.5, 0.95, -1, 0.1, 1.0),
    **_like("llama-4", 1.0, 0.9, -1, 0.01, 1.0),
    **_like("gemma-2 gemma-3 gemma-3n gemma-4 medgemma muse-glimmer", 1.0, 0.95, 64, 0.0, 1.0),
    **_like("phi-4", 0.8, 0.95, -1, 0.0, 1.0),
    **_like("phi-3", 0.7, 0.9, -1, 0.01, 1.0),
    **_like("mistral-nemo mistral-large magistral devstral smollm olmo", 0.7, 0.95, -1, 0.01, 1.0),
    **_like("falcon ernie seed mimo", 0.7, 0.95, -1, 0.01, 1.0),
    **_like("mistral-small ministral", 0.15, 0.95, -1, 0.01, 1.0),
    **_like("deepseek-r1 deepseek-v3 kimi kimi-k2", 0.6, 0.95, -1, 0.01, 1.0),
    **_like("deepseek-v4", 1.0, 1.0, -1, 0.0, 1.0),
    **_like("deepseek-ocr", 0.0),
    **_like("glm-4 glm-5 grok", 1.0, 0.95, -1, 0.01, 1.0),
    **_like("nemotron", 1.0, 1.0, -1, 0.01, 1.0),
    **_like("minimax", 1.0, 0.95, 40, 0.01, 1.0),
    **_like("gpt-oss", 1.0, 1.0, 0, 0.01, 1.0),
    **_like("granite-4", 0.0, 1.0, 0, 0.01, 1.0),
    **_like("kimi-k3", 1.0, 0.95, -1, 0.0, 1.0),
    **_like("lfm2", 0.1, 0.1, 50, 0.15, 1.05),
}


@functools.lru_cache(maxsize=1024)
def sampling_for(*names: str) -> MappingProxyType[str, Any]:
    """Return the sampling of the family to which one of these names (a model's, its file's) belongs, or nothing."""
    for name in names:
        bare = name.lower().rpartition("/")[2].removesuffix(".gguf").replace("_", "-")
        found = [family for family in FAMILIES if _pattern(family).search(bare)]
        if found:
            return MappingProxyType(FAMILIES[max(found, key=len)])
    return MappingProxyType({})


@functools.cache
def _pattern(family: str) -> re.Pattern[str]:
    """Match a family's name as a whole word, so that "linseed" is no "seed" and "qwen25" no "qwen2"."""
    goes_on = r"(?!\d)" if family[-1].isdigit() else "(?![a-z])"
    return re.compile("(?<![a-z0-9])" + re.escape(family) + goes_on)
