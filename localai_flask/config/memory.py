"""What models take in memory beside their weights, as far as their headers and YAML tell."""

from __future__ import annotations

from localai_flask.config.model import EngineConfig

CACHE_SHARES = {"f32": 2.0, "q8_0": 34 / 64, "q5_1": 24 / 64, "q5_0": 22 / 64, "q4_1": 20 / 64, "q4_0": 18 / 64}
"""What a number of the cache takes, beside one of 16 bits."""


def cache_bytes(config: EngineConfig, context: int, per_token: int) -> int:
    """Return what one request's context takes in the cache; `per_token` counts a cache of 16-bit numbers."""
    share = sum(CACHE_SHARES.get(kind, 1.0) for kind in (config.cache_type_k, config.cache_type_v)) / 2
    return int(context * per_token * share)
