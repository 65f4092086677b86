"""Keys of a model's YAML that these engines cannot honour, found without their libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from localai_flask.backends.notes import Note, unknown_option, unread_keys
from localai_flask.config.model import EngineConfig

KEYS = frozenset(
    ("context_size", "batch", "main_gpu", "cache_type_k", "cache_type_v", "draft_model", "n_draft", "trust_pickles")
)
"""The keys that both engines read."""
ROPE = frozenset(("rope_freq_base", "rope_freq_scale"))
"""Those that exllama2 reads alone."""
OPTIONS = ("parallel", "n_parallel", "cache_size", "gpu_split", "rope_alpha")
COUNTS = ("parallel", "n_parallel", "cache_size")
BITS = {"": 16, "f16": 16, "fp16": 16, "q4": 4, "q4_0": 4, "q6": 6, "q8": 8, "q8_0": 8}
"""The cache's types as YAML may write them, and the bits of a number; exllama3 has all from q2 to q8."""
GIGABYTES = re.compile(r"\d+(\.\d+)?([,/]\d+(\.\d+)?)*")


def check(config: EngineConfig) -> Iterator[Note]:
    """Find all that can be said of a model's YAML before it is loaded."""
    is_third = config.backend == "exllama3"
    yield from unread_keys(config, config.backend, KEYS if is_third else KEYS | ROPE)
    for key in ("cache_type_k", "cache_type_v"):
        if cache_bits(getattr(config, key), is_third) is None:
            known = "f16 and q2 to q8" if is_third else "f16, q4, q6 and q8"
            said = f"the {config.backend} backend has the cache types {known}, not {getattr(config, key)!r}"
            yield Note((key,), said, is_fault=True)
    if not is_third and BITS.get(config.cache_type_k.lower()) != BITS.get(config.cache_type_v.lower()):
        said = "exllama2 keeps keys and values in one type; give `cache_type_k` and `cache_type_v` the same"
        yield Note(("cache_type_v",), said, is_fault=True)
    for index, entry in enumerate(config.options):
        name, _, value = (part.strip() for part in entry.partition(":"))
        path = ("options", index)
        if name not in OPTIONS or (is_third and name == "rope_alpha"):
            there = OPTIONS[:-1] if is_third else OPTIONS
            yield Note(path, unknown_option(name, there, config.backend))
        elif name in COUNTS and not (value.isdecimal() and int(value)):
            yield Note(path, f"the option {name} is a whole number from 1 on, not {value!r}", is_fault=True)
        elif name == "gpu_split" and not GIGABYTES.fullmatch(value):
            said = f"the option gpu_split has gigabytes for each card, as in `gpu_split:20,24`, not {value!r}"
            yield Note(path, said, is_fault=True)
        elif name == "rope_alpha" and not re.fullmatch(r"\d+(\.\d+)?", value):
            yield Note(path, f"the option rope_alpha is a number, as in `rope_alpha:2.5`, not {value!r}", is_fault=True)


def cache_bits(kind: str, is_third: bool) -> int | None:
    """Return the bits of a type of cache; None if the engine has none of that name."""
    name = kind.lower()
    if is_third and (found := re.fullmatch(r"q([2-8])(_0)?", name)):
        return int(found[1])
    return BITS.get(name)
