"""Which samplers run, and in which order: the lists that clients of other servers send.

A list in llama.cpp's own order says no more than which of them are off, and every engine has that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localai_flask.sampling_params import SAMPLERS

OFF: Mapping[str, Mapping[str, Any]] = {
    "penalties": {"repeat_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0},
    "dry": {"dry_multiplier": 0.0},
    "top_n_sigma": {"top_n_sigma": -1.0},
    "top_k": {"top_k": 0},
    "typ_p": {"typical_p": 1.0},
    "top_p": {"top_p": 1.0},
    "min_p": {"min_p": 0.0},
    "xtc": {"xtc_probability": 0.0},
    "temperature": {"temperature": 1.0, "dynatemp_range": 0.0},
}
"""What a list leaves out, and the values by which it is off. Mirostat and adaptive-p take the place of others."""
OTHER_NAMES = {
    **dict.fromkeys(("repetition_penalty", "presence_penalty", "frequency_penalty", "rep_pen"), "penalties"),
    **dict.fromkeys(("typical_p", "typical", "typ-p"), "typ_p"),
    **dict.fromkeys(("temp", "dynamic_temperature"), "temperature"),
    "nsigma": "top_n_sigma",
    "top-k": "top_k",
    "top-p": "top_p",
    "min-p": "min_p",
    "adaptive-p": "adaptive_p",
}
WITHOUT_EFFECT = frozenset(
    (
        *("infill", "tfs", "tfs_z", "top_a", "quadratic_sampling", "epsilon_cutoff", "eta_cutoff"),
        *("encoder_repetition_penalty", "no_repeat_ngram", "skew"),
    )
)
"""Samplers that are off, as what would switch them on is refused, or that have no place in the order."""


def read_samplers(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return llama.cpp's names; raise `ValueError` with the rest of a sentence for a list that cannot be kept to."""
    known = tuple(dict.fromkeys(OTHER_NAMES.get(name, name) for name in names if name not in WITHOUT_EFFECT))
    for name in known:
        if name not in SAMPLERS:
            raise ValueError(f"has no sampler {name!r} here; there are {', '.join(SAMPLERS)}")
    early = [name for name in known if name in ("penalties", "dry")]
    if known[: len(early)] != tuple(early):
        raise ValueError("must begin with penalties and dry where it has them, as they always come first here")
    return known


def with_samplers(values: dict[str, Any]) -> dict[str, Any]:
    """Switch off the samplers that a list leaves out; keep the list if its order is not llama.cpp's own."""
    listed = values.get("samplers", ())
    if not listed:
        return values
    off = {key: value for name, keys in OFF.items() if name not in listed for key, value in keys.items()}
    own = [name for name in SAMPLERS if name in listed]
    return {**values, **off, "samplers": () if own == list(listed) else tuple(listed)}
