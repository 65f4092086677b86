"""The engines. `create` is the one place that knows their names and modules."""

from __future__ import annotations

import importlib
import importlib.util
from typing import NamedTuple

from localai_flask.backends.base import Backend
from localai_flask.backends.notes import Note
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError


class Entry(NamedTuple):
    """Where an engine lives, the library it needs, and which extra of this package brings that.

    `checks` is the module that knows, without the library, what the engine makes of a model's YAML.
    """

    module: str
    cls: str
    library: str | None = None
    extra: str | None = None
    checks: str = ""
    has_speedups: bool = False
    """Whether a model can be loaded without some of what makes it fast; see `Backend.is_cautious`."""


BACKENDS = {
    "echo": Entry("localai_flask.backends.echo", "EchoBackend", has_speedups=True),
    "llama-cpp": Entry(
        "localai_flask.backends.llama_cpp.engine",
        "LlamaCppBackend",
        "llama_cpp",
        "llama-cpp",
        "localai_flask.backends.llama_cpp.options.key_checks",
        has_speedups=True,
    ),
    "transformers": Entry(
        "localai_flask.backends.transformers.engine",
        "TransformersBackend",
        "transformers",
        "transformers",
        "localai_flask.backends.transformers.key_checks",
    ),
}
OF_LOCALAI = frozenset(
    (
        *("vllm", "vllm-cpp", "vllm-omni", "sglang", "mlx", "mlx-vlm", "openvino", "autogptq", "exllama", "exllama2"),
        *("turboquant", "rerankers", "ds4", "bonsai", "bert-embeddings", "cloud-proxy", "local-store"),
    )
)
"""LocalAI's other engines of text, none of which is installed."""


def create(name: str) -> Backend:
    """Import the engine's module and make an unloaded backend.

    Raises `ConfigError` if the name is unknown or the engine's libraries are not installed.
    """
    entry = BACKENDS.get(name)
    if entry is None:
        raise ConfigError(f"{_missing(name)}.", param="backend")
    try:
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The {name} backend needs the package {error.name!r}; "
            f"install it with: pip install 'localai-flask[{entry.extra}]'.",
            param="backend",
        ) from error
    backend: Backend = getattr(module, entry.cls)()
    return backend


def is_installed(name: str) -> bool:
    """Return whether the engine's library is there, without importing it."""
    library = BACKENDS[name].library
    return library is None or importlib.util.find_spec(library) is not None


def check(config: EngineConfig) -> list[Note]:
    """Find what its engine would say of a model's YAML, without loading the engine or the model."""
    entry = BACKENDS.get(config.backend)
    if entry is None:
        return [Note(("backend",), _missing(config.backend), is_fault=True)]
    return [*importlib.import_module(entry.checks).check(config)] if entry.checks else []


def _missing(name: str) -> str:
    here = ", ".join(sorted(BACKENDS))
    if name in OF_LOCALAI:
        return f"the engine of `backend: {name}` is not installed, nor part of this version; the engines are: {here}"
    return f"there is no backend {name!r}; choose one of: {here}"
