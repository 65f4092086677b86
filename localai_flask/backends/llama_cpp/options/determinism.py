"""`deterministic: true`: the same answer whatever else is asked for, at the price of one request at a time.

llama.cpp adds up in another order for a batch of more tokens, and for tokens that lie elsewhere in the cache; so each
request is computed as one that is alone, and what would change its bits all the same is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localai_flask.errors import ConfigError
from localai_flask.machine import physical_cores

WINDOW_STEP = 64
"""Of which a sliding window is a multiple, or its cells begin where sums are grouped in another way."""


def one_at_a_time(name: str, given: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of options with one slot; raise `ConfigError` for what was given and cannot be beside it."""
    speculation = fields["speculation"]
    reasons = {
        "the option parallel": given.get("parallel", 1) != 1,
        "`draft_model` and the option spec_type": bool(speculation.draft_model or speculation.spec_type),
        "the option cache_reuse": bool(given.get("cache_reuse")),
        "`cache_ram: 0` and `cache_idle_slots: false`": fields["cache_ram_bytes"] == 0
        or not fields["cache_idle_slots"],
        "the option rpc_servers": bool(fields["rpc_servers"]),
    }
    for what, is_given in reasons.items():
        if is_given:
            raise ConfigError(
                f"Model {name}: `deterministic: true` computes each request as if there were no other; remove {what}.",
                param="deterministic",
            )
    # Measured at load, which attention is faster could be another one each time, with other bits.
    attention = "on" if fields["flash_attention"] == "auto" else fields["flash_attention"]
    fixed = {"parallel": 1, "cache_reuse": 0, "deterministic": True, "flash_attention": attention}
    # Flash attention splits the sums of a single token between the threads, whose number is else measured too.
    return {**fields, **fixed, "threads": fields["threads"] or physical_cores()}


def check_repeatable(name: str, window: int, *, generates: bool, has_grain: bool) -> None:
    """Raise `ConfigError` for a loaded model whose lone requests do not have the same bits each time."""
    why = ""
    if not generates:
        why = "is for models that write text"
    elif not has_grain:
        why = "needs the processor alone (`gpu_layers: 0`) and an `ubatch` of 32, or 128 with flash attention"
    elif window % WINDOW_STEP:
        why = f"is not possible with a sliding window of {window} tokens, which is no multiple of {WINDOW_STEP}"
    if why:
        raise ConfigError(f"Model {name}: `deterministic: true` {why}.", param="deterministic")
