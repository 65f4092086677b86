"""What an engine says of a model's YAML before it loads the model: what has no effect, and what cannot be."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import NamedTuple

from localai_flask.config.model import EngineConfig
from localai_flask.config.model_yaml.keypaths import KeyPath
from localai_flask.errors import ConfigError

log = logging.getLogger(__name__)

NO_EFFECT = "it has no effect"

LLAMA_CPP_ANSWERS = (
    *("rope_scaling", "rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast"),
    *("yarn_beta_slow", "yarn_orig_ctx", "lora_adapter", "lora_scale", "lora_adapters", "lora_scales", "overrides"),
    "n_keep",
)
"""Keys of the YAML that only the llama-cpp backend honours, and that change what is answered."""
LLAMA_CPP_SPEED = (
    *("tensor_split", "main_gpu", "numa", "flash_attention", "no_kv_offloading", "cache_type_k", "cache_type_v"),
    *("draft_model", "n_draft"),
)
"""Keys of the YAML that only the llama-cpp backend honours, and that change no answer."""
ASKS_NOTHING = ("false", "auto", "none", "f16", 0)
"""Values of theirs, beside the defaults, that are fine with any engine."""


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


def llama_cpp_keys(config: EngineConfig, backend: str, but: Collection[str] = ()) -> Iterable[Note]:
    """Find keys that only the llama-cpp backend honours; for all other engines, `but` those that one honours too."""
    plain = EngineConfig(name=config.name)
    for key in (each for each in LLAMA_CPP_ANSWERS + LLAMA_CPP_SPEED if each not in but):
        value = getattr(config, key)
        if value != getattr(plain, key) and value not in ASKS_NOTHING:
            said = f"`{key}` is for the llama-cpp backend, and this model runs with {backend}"
            if key in LLAMA_CPP_ANSWERS:
                yield Note((key,), f"{said}; remove it or use a GGUF file", is_fault=True)
            else:
                yield Note((key,), f"{said}; {NO_EFFECT}")


def unknown_option(name: str, known: Iterable[str], backend: str) -> str:
    """Explain that an engine has no such option, and which one is meant perhaps."""
    near = get_close_matches(name.lstrip("-").replace("-", "_"), known, n=1)
    return f"the {backend} backend has no option {name!r}" + (f"; perhaps {near[0]!r} is meant" if near else "")
