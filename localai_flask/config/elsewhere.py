"""Keys of LocalAI's YAML that this server knows by name and does not read.

Each is either without effect here, and said so once in the log, or refused with a sentence that says what to do. A key
moves from here to the structs in model.py on the day that something honours it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Fate(NamedTuple):
    """What becomes of a key: `sentence` goes on from "`key` "; a value in `neutral` asks for nothing and is dropped."""

    refused: bool
    sentence: str
    neutral: tuple[Any, ...] = ()


_ASKS_NOTHING: tuple[Any, ...] = (False, 0, "", [], {})


def _ignored(why: str, *keys: str) -> dict[str, Fate]:
    return {key: Fate(False, why) for key in keys}


def _refused(sentence: str, *keys: str, neutral: tuple[Any, ...] = ()) -> dict[str, Fate]:
    return {key: Fate(True, sentence, _ASKS_NOTHING + neutral) for key in keys}


KNOWN_ELSEWHERE: dict[str, Fate] = {
    **_ignored("describes the model to people", "usage", "icon", "license", "urls", "tags"),
    **_ignored("describes the model to people", "known_input_modalities", "known_output_modalities"),
    **_ignored("is for images, sound and speech", "cuda", "step", "diffusers", "tts", "pipeline"),
    **_ignored("is for images, sound and speech", "parameters.clip_skip", "parameters.language"),
    **_ignored("is for LocalAI's own processes", "grpc", "debug", "feature_flags", "disable_log_stats"),
    **_ignored("has no effect in today's llama.cpp", "low_vram", "ngqa", "rms_norm_eps", "no_mulmatq"),
    **_ignored("has no effect in today's llama.cpp, which adds adapters to the model as it is", "lora_base"),
    **_ignored("is needless, as no model is ever unloaded to make room", "pinned"),
    **_ignored(
        "is needless, as prompts are cached in memory", "prompt_cache_path", "prompt_cache_ro", "prompt_cache_all"
    ),
    **_ignored("is how this server works anyway", "function.grammar.disable_parallel_new_lines"),
    **_refused(
        "is not supported, as calls are looked for only where tools were given; remove it",
        "function.automatic_tool_parsing_fallback",
    ),
    **_refused("is not supported; use `xml_format_preset` or `response_regex`", "function.xml_format"),
    **_refused("is not supported yet, as models read text only; remove it", "mmproj", "limit_mm_per_prompt"),
    **_refused("is not supported yet; remove it", "cfg_scale", "parameters.negative_prompt", neutral=(1,)),
    **_refused("is not supported yet; remove it", "parameters.negative_prompt_scale", neutral=(1,)),
    **_refused("is not supported by llama.cpp any more; use `min_p`", "parameters.tfz", neutral=(1,)),
    **_refused("is not supported yet; remove it", "parameters.pooling", "parameters.pooling_half_life_tokens"),
    **_refused("is not supported yet; remove it", "parameters.tokenizer", "concurrency_groups"),
    **_refused("is a matter of the request; remove it", "parameters.encoding_format", "parameters.logprobs"),
    **_refused("is a matter of the request; remove it", "parameters.top_logprobs"),
    **_refused("is not read here; list the strings in `stopwords`", "parameters.stop", "stop"),
    **_refused("is not supported yet; download the files into the models folder and remove it", "artifacts"),
    **_refused("is not supported yet; remove it", "mcp", "agent", "compression", "router", "proxy", "mitm"),
    **_refused("is not supported, so personal data would not be filtered; remove it", "pii", "pii_detection"),
    **_refused("is not supported yet; use `context_size`", "max_model_len"),
    **_refused(
        "is not supported by the engines of this version; remove it", "engine_args", "quantization", "load_format"
    ),
    **_refused("is not supported by the engines of this version; remove it", "gpu_memory_utilization", "swap_space"),
    **_refused("is not supported by the engines of this version; remove it", "enforce_eager", "trust_remote_code"),
    **_refused("is not supported by the engines of this version; remove it", "tensor_parallel_size", neutral=(1,)),
}


def sift(raw: Mapping[Any, Any], prefix: str = "", above: Fate | None = None) -> tuple[dict[Any, Any], dict[str, Fate]]:
    """Part a mapping into what is ours to read and the keys found in the table, by their dotted path.

    A key below a listed one shares its fate unless it is listed itself.
    """
    ours: dict[Any, Any] = {}
    elsewhere: dict[str, Fate] = {}
    for key, value in raw.items():
        path = f"{prefix}{key}"
        fate = KNOWN_ELSEWHERE.get(path, above)
        if isinstance(value, dict) and value:
            kept, found = sift(value, f"{path}.", fate)
            elsewhere |= found
            if fate is None:
                ours[key] = kept
        elif fate is None:
            ours[key] = value
        elif value is not None and value not in fate.neutral:
            elsewhere[path] = fate
    return ours, elsewhere
