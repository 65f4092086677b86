"""The engines. `create` is the one place that knows their names and modules."""

from __future__ import annotations

import importlib
import importlib.util
from typing import NamedTuple

from localai_flask.backends.base import Backend
from localai_flask.errors import ConfigError


class Entry(NamedTuple):
    """Where an engine lives, the library it needs, and which extra of this package brings that."""

    module: str
    cls: str
    library: str | None = None
    extra: str | None = None
    has_speedups: bool = False
    """Whether a model can be loaded without some of what makes it fast; see `Backend.is_cautious`."""


BACKENDS = {
    "echo": Entry("localai_flask.backends.echo", "EchoBackend", has_speedups=True),
    "llama-cpp": Entry(
        "localai_flask.backends.llama_cpp", "LlamaCppBackend", "llama_cpp", "llama-cpp", has_speedups=True
    ),
    "transformers": Entry("localai_flask.backends.transformers", "TransformersBackend", "transformers", "transformers"),
}


def create(name: str) -> Backend:
    """Import the engine's module and make an unloaded backend.

    Raises `ConfigError` if the name is unknown or the engine's libraries are not installed.
    """
    entry = BACKENDS.get(name)
    if entry is None:
        raise ConfigError(
            f"There is no backend {name!r}; choose one of: {', '.join(sorted(BACKENDS))}.", param="backend"
        )
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
    """Tell whether the engine's library is there, without importing it."""
    library = BACKENDS[name].library
    return library is None or importlib.util.find_spec(library) is not None
