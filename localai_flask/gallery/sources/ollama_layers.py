"""What an image of Ollama's says beside its weights, in the words of a model's YAML.

Its template is left out: GGUF files have a chat template of their own, which Ollama's has been made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localai_flask.config.scalars import is_number
from localai_flask.gallery.sources.registry_client import Registry

PARAMETERS = {
    **dict.fromkeys(("temperature", "top_p", "min_p", "typical_p", "repeat_penalty"), float),
    **dict.fromkeys(("top_k", "repeat_last_n", "seed", "num_predict"), int),
    **dict.fromkeys(("frequency_penalty", "presence_penalty"), float),
}
"""Ollama's parameters that have a meaning here, and their types."""
RENAMED = {"num_predict": "max_tokens"}
MOST_CONTEXT = 1 << 20


def read_overrides(registry: Registry, digests: Mapping[str, str]) -> dict[str, object]:
    """Read the layers `params` and `system`, as far as they are there."""
    overrides: dict[str, object] = {}
    if "params" in digests:
        overrides |= _translate(registry.read_json(digests["params"]))
    if "system" in digests:
        overrides["system_prompt"] = registry.read_blob(digests["system"]).decode("utf-8", "replace")
    return overrides


def _translate(said: Mapping[str, Any]) -> dict[str, object]:
    translated: dict[str, object] = {}
    parameters = {
        RENAMED.get(name, name): kind(said[name])
        for name, kind in PARAMETERS.items()
        if is_number(said.get(name)) and not (name == "num_predict" and said[name] < 0)
    }
    if parameters:
        translated["parameters"] = parameters
    stops = said.get("stop")
    if isinstance(stops, str | list):
        translated["stopwords"] = [
            each for each in ([stops] if isinstance(stops, str) else stops) if isinstance(each, str)
        ]
    context = said.get("num_ctx")
    if isinstance(context, int) and 0 < context <= MOST_CONTEXT:
        translated["context_size"] = context
    return translated
