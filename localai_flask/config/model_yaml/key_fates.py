"""What becomes of a key of LocalAI's YAML that this server knows by name and does not read, and of unusable values.

A key is refused only where ignoring it would change what is answered, or what is safe. A key moves from here to the
structs in model.py on the day that something honours it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from localai_flask.config.model_yaml.keypaths import KeyPath, general, values_at

ANSWERS, SAFETY = "it changes what is answered", "it is about what is safe"
"""The two reasons for which a key is refused."""


class Fate(NamedTuple):
    """What becomes of a key; `sentence` goes on from "`key` ".

    A value in `neutral` asks for nothing and is dropped. Something is refused `because` of one of the two reasons, and
    only beside one of the keys in `beside`, if there are any; without them it is a warning.
    """

    effect: Literal["quiet", "warned", "refused"]
    sentence: str
    neutral: tuple[Any, ...] = ()
    because: str = ""
    beside: tuple[str, ...] = ()


_ASKS_NOTHING: tuple[Any, ...] = (None, False, 0, "", [], {})


def _quiet(why: str, *keys: str, neutral: tuple[Any, ...] = ()) -> dict[str, Fate]:
    return {key: Fate("quiet", why, neutral) for key in keys}


def _warned(sentence: str, *keys: str, neutral: tuple[Any, ...] = ()) -> dict[str, Fate]:
    return {key: Fate("warned", sentence, neutral) for key in keys}


def _refused(
    because: str, sentence: str, *keys: str, neutral: tuple[Any, ...] = (), beside: tuple[str, ...] = ()
) -> dict[str, Fate]:
    return {key: Fate("refused", sentence, neutral, because, beside) for key in keys}


KEY_FATES: dict[str, Fate] = {
    **_quiet("describes the model to people", "usage", "icon", "license", "urls", "tags", "feature_flags"),
    **_quiet("describes the model to people", "known_input_modalities", "known_output_modalities"),
    **_quiet("is for images, sound and speech", "cuda", "step", "diffusers", "tts", "pipeline", "vad", "whisper"),
    **_quiet("is for images, sound and speech", "parameters.clip_skip"),
    **_quiet("is for images, sound and speech", "parameters.language", "parameters.translate"),
    **_quiet("is for LocalAI's own processes", "grpc", "debug"),
    **_quiet("is needless, as answers are kept with their prompts", "prompt_cache_all"),
    **_quiet("is needless, as llama.cpp adds adapters to the model as it is", "lora_base"),
    **_quiet("is how this server works anyway", "function.grammar.disable_parallel_new_lines"),
    **_quiet("is how this server works anyway", "function.automatic_tool_parsing_fallback"),
    **_quiet("is needless, as results of tools come with their names", "function.return_name_in_function_response"),
    **_quiet("has no effect in LocalAI either", "function.grammar.triggers[].at_start"),
    **_quiet("has no effect without `negative_prompt`", "cfg_scale", "parameters.negative_prompt_scale", neutral=(1,)),
    **_warned("is an older name; write `grammar: {disable: true}`", "function.no_grammar"),
    **_warned("has no effect in today's llama.cpp", "low_vram", "ngqa", "rms_norm_eps", "no_mulmatq"),
    **_warned("has no effect, as it is a matter of the request", "parameters.encoding_format", "parameters.logprobs",
              "parameters.top_logprobs"),
    **_warned("is not fetched yet; download the files into the models folder", "artifacts"),
    **_warned("has no effect; name the model in LOCALAI_LOAD_TO_MEMORY to load it at start", "preload"),
    **_warned("is not supported yet: this server calls no tools by itself", "mcp", "agent"),
    **_warned("is not supported yet: a conversation that has become too long is refused", "compression"),
    **_warned("is for models that find personal data, which are not supported yet", "pii_detection"),
    **_refused(ANSWERS, "is not supported yet; remove it", "parameters.negative_prompt",
               beside=("cfg_scale", "parameters.negative_prompt_scale")),
    **_refused(ANSWERS, "is not supported by llama.cpp any more; use `min_p`", "parameters.tfz", neutral=(1,)),
    **_refused(ANSWERS, "is not supported; use the option pooling_type", "parameters.pooling",
               "parameters.pooling_half_life_tokens", neutral=("backend",)),
    **_refused(ANSWERS, "is not supported; use `xml_format_preset` or `response_regex`", "function.xml_format"),
    **_refused(ANSWERS, "is not supported, so another model would answer; remove it", "router"),
    **_refused(SAFETY, "is not supported, so personal data would not be filtered; remove it", "pii", "mitm"),
}  # fmt: skip
"""Keys by their general path. A key below one of these shares its fate."""

RENAMED = {
    "stop": "stopwords",
    "parameters.stop": "stopwords",
    "ttl": "keep_alive",
    "parameters.model_base_name": "model_base_name",
}
"""Other words for keys that we read, with general paths; the right word wins."""

MOST = {"parameters.top_p": 1.0, "parameters.typical_p": 1.0}
"""Keys for which engines read all larger values as this one: it keeps every token."""
LEAST = {"parameters.max_tokens": 0}
"""Keys for which engines read all smaller values as this one: it sets no limit, as llama.cpp's -1."""

SPARED = frozenset(
    (
        *("threads", "batch", "gpu_layers", "f16", "mmap", "mmlock", "tensor_split", "main_gpu", "numa"),
        *("flash_attention", "no_kv_offloading", "cache_type_k", "cache_type_v", "n_draft", "replicas"),
        *("gpu_memory_utilization", "swap_space", "enforce_eager", "disable_log_stats"),
        *("prompt_cache_path", "prompt_cache_ro", "description", "known_usecases", "pinned", "keep_alive"),
    )
)
"""Keys of speed, memory and description: a value that cannot be used is passed over with a warning."""


def asks_nothing(value: Any, fate: Fate) -> bool:
    """Return whether a value is one that a key has when nobody uses it."""
    if isinstance(value, dict):
        return value.get("enabled") is False or all(each in _ASKS_NOTHING for each in value.values())
    return value in _ASKS_NOTHING or value in fate.neutral


def sift(content: Mapping[Any, Any]) -> tuple[dict[Any, Any], dict[KeyPath, Fate]]:
    """Part a mapping into what is ours to read and the keys in the table that ask for something, by their paths."""
    found: dict[KeyPath, Fate] = {}
    ours: dict[Any, Any] = _sifted(content, (), found)
    return ours, {path: _settled(fate, content) for path, fate in found.items()}


def _sifted(value: Any, path: KeyPath, found: dict[KeyPath, Fate]) -> Any:
    if isinstance(value, list):
        return [_sifted(item, (*path, index), found) for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    ours = {}
    for key, item in value.items():
        here = (*path, key)
        name = general(here)
        fate = KEY_FATES.get(name)
        if fate is None:
            ours[key] = _sifted(item, here, found) if name in _ABOVE else item
        elif not asks_nothing(item, fate):
            found[here] = fate
    return ours


_ABOVE = {
    part[:cut].removesuffix("[]")
    for part in KEY_FATES
    for cut in (*(index for index, char in enumerate(part) if char == "."),)
}
_ABOVE |= {f"{name}[]" for name in _ABOVE}
"""Blocks that hold keys of the table; what is in others is not looked at, however deep it is."""


def _settled(fate: Fate, content: Mapping[Any, Any]) -> Fate:
    if not fate.beside:
        return fate
    beside = [
        value for key in fate.beside for _, value in values_at(content, key) if not asks_nothing(value, KEY_FATES[key])
    ]
    return fate if beside else Fate("warned", "has no effect without a `cfg_scale` beside 1")
