"""What an engine says of a model's YAML before it loads the model: what has no effect, and what cannot be."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from localai_flask.config.model import EngineConfig
from localai_flask.config.model_yaml.keypaths import KeyPath
from localai_flask.errors import ConfigError

log = logging.getLogger(__name__)

NO_EFFECT = "it has no effect"

OF_THE_POOL = frozenset(("name", "backend", "parameters", "options", "type", "replicas", "download_files"))
"""Keys that belong to every engine: the pool reads them, or each engine has words of its own about them."""
PASSED_OVER = frozenset(("prompt_cache_path", "prompt_cache_ro"))
"""Keys that engines may pass over without a word, as LocalAI's do: prompts are cached in memory all the same."""
FILLED_IN = frozenset(("models_path", "file_stamp"))
OF_ANSWERS = frozenset(
    (
        *("rope_scaling", "rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast"),
        *("yarn_beta_slow", "yarn_orig_ctx", "lora_adapter", "lora_scale", "lora_adapters", "lora_scales", "overrides"),
        *("n_keep", "reranking", "embeddings", "context_size", "deterministic"),
    )
)
"""Keys that change what is answered, which an engine refuses if it does not read them; the others cost a note."""
ASKS_NOTHING = ("false", "auto", "none", "f16", 0)
"""Values of keys, beside the defaults, that are fine with any engine."""


class Note(NamedTuple):
    """A sentence about what stands at a path of the YAML; only a fault keeps the model from being loaded."""

    path: KeyPath
    text: str
    is_fault: bool = False


def heed(notes: Iterable[Note], config: EngineConfig) -> None:
    """Log what has no effect; raise `ConfigError` for the first fault."""
    for note in notes:
        if note.is_fault:
            raise ConfigError(f"Model {config.name}: {note.text}.", param=str(note.path[0]))
        log.warning("model %s: %s", config.name, note.text)


def unread_keys(config: EngineConfig, backend: str, reads: Collection[str]) -> Iterator[Note]:
    """Find the keys that a config sets and an engine does not read; `reads` are those that it declares to read."""
    plain = EngineConfig(name=config.name)
    if config.parameters.tokenizer and "tokenizer" not in reads:
        yield Note(("parameters", "tokenizer"), f"the {backend} backend uses the model's own tokenizer; {NO_EFFECT}")
    for key in EngineConfig.__struct_fields__:
        value = getattr(config, key)
        if key in reads or key in OF_THE_POOL or key in FILLED_IN or key in PASSED_OVER or value == getattr(plain, key):
            continue
        if value in ASKS_NOTHING and not isinstance(value, bool):
            continue
        said = f"`{key}` is not read by the {backend} backend, with which this model runs"
        if key in OF_ANSWERS:
            yield Note((key,), f"{said}; remove it, or choose an engine that reads it", is_fault=True)
        else:
            yield Note((key,), f"{said}; {NO_EFFECT}")


def unknown_option(name: str, known: Iterable[str], backend: str) -> str:
    """Explain that an engine has no such option, and which one may be meant."""
    near = get_close_matches(name.lstrip("-").replace("-", "_"), known, n=1)
    return f"the {backend} backend has no option {name!r}" + (f"; perhaps {near[0]!r} is meant" if near else "")


def check_options(
    config: EngineConfig, backend: str, known: Collection[str], numbers: Mapping[str, int]
) -> Iterator[Note]:
    """Find options that an engine does not have, and those of `numbers` that are no whole number from that one on."""
    for index, entry in enumerate(config.options):
        name, _, value = (part.strip() for part in entry.partition(":"))
        if name not in known:
            yield Note(("options", index), unknown_option(name, known, backend))
        elif name in numbers and not (value.isdecimal() and int(value) >= numbers[name]):
            said = f"the option {name} is a whole number from {numbers[name]} on, not {value!r}"
            yield Note(("options", index), said, is_fault=True)


def whole_option(config: EngineConfig, default: int, *names: str) -> int:
    """Return an option that `check_options` has found to be a whole number."""
    value = config.option(*names)
    return default if value is None else int(value)
