"""How much memory a model will take, as far as its files and its YAML let expect before it is loaded.

Of contexts that nobody has counted, an engine takes as many as there is room for, so that there are two estimates.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from localai_flask.config import traits
from localai_flask.config.engines.facts import ENGINES, facts
from localai_flask.config.files.settling import files_of
from localai_flask.config.memory import cache_bytes
from localai_flask.config.model import EngineConfig
from localai_flask.machine import has_gpu_device

USUAL_CONTEXTS = 4
"""How many contexts the llama.cpp engine has in its cache where nobody says it, if there is room for twice as many."""
WEIGHT_FILES = ("*.safetensors", "*.bin", "*.gguf", "*.pth")


def estimate_need(config: EngineConfig) -> int:
    """Return how many bytes one worker of a model will take at least; 0 if nothing is known."""
    engine = facts(config.backend)
    base = engine.process_bytes
    if not config.parameters.model:
        return base if config.backend in ENGINES else 0
    if config.backend != "echo" and has_gpu_device() and config.gpu_layers != 0:
        return base  # how much of it lies on the GPU is seen when it is loaded
    files = [config.parameters.model, config.mmproj, config.draft_model, config.lora_adapter, *config.lora_adapters]
    weights = sum(_weight_bytes(Path(config.models_path) / name) for name in files if name)
    return base + weights + _cache_bytes(config)


def estimate_wish(config: EngineConfig) -> int:
    """Return how many bytes it takes if it finds them: a context for each request that usually runs at once."""
    need = estimate_need(config)
    knows_cache = bool(config.parameters.model) and not (has_gpu_device() and config.gpu_layers != 0)
    return need + (2 * USUAL_CONTEXTS - 1) * _cache_bytes(config) if knows_cache else need


def _weight_bytes(path: Path) -> int:
    try:
        return sum(each.stat().st_size for each in _weight_files(path))
    except OSError:  # the load will say what is wrong
        return 0


def _weight_files(path: Path) -> Iterator[Path]:
    """Yield a model's files: one, the parts that it has been split into, or those of a folder."""
    if path.is_dir():
        first = next((kind for kind in WEIGHT_FILES if any(path.glob(kind))), "")
        yield from path.glob(first) if first else ()
    else:
        yield from files_of(path)


def _cache_bytes(config: EngineConfig) -> int:
    """Return what one request's context takes in the cache."""
    if facts(config.backend).files != "gguf" or (header := traits.read_header(config.model_path)) is None:
        return 0
    return cache_bytes(config, traits.context_length(config) or 0, header.cached_bytes)
