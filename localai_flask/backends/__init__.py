"""The engines by their names: where each lives, what it needs, and what installs it.

Another package adds one with an entry point of the group `localai_flask.engines`, which names a subclass of `Backend`;
one of the same name in `localai_flask.engine_checks` names the module with its `check`, as ours have it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import NamedTuple

from localai_flask.backends.base import Backend
from localai_flask.backends.environments.folder import Environment, Environments
from localai_flask.backends.llama_server.programs import find_program
from localai_flask.backends.notes import Note
from localai_flask.config.engines.names import ELSEWHERE
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError
from localai_flask.settings import Settings


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
    package: str | None = None
    """The package that brings it, if it is another than this."""
    environment: str | None = None
    """The environment of its own in which it may be installed (environments/kinds.py)."""
    is_program: bool = False
    """Whether it is a program, which may also lie elsewhere, instead of a library."""

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        if self.environment is not None:
            return f"localai-flask backends install {self.environment}"
        wanted = self.package if self.package is not None else f"localai-flask[{self.extra}]"
        return f"pip install '{wanted}'"


ENTRY_POINTS, CHECKS = "localai_flask.engines", "localai_flask.engine_checks"
_OURS = {
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
        environment="transformers",
    ),
    "vllm": Entry(
        "localai_flask.backends.vllm.engine",
        "VllmBackend",
        "vllm",
        "vllm",
        "localai_flask.backends.vllm.key_checks",
        environment="vllm",
    ),
    "gptq": Entry(
        "localai_flask.backends.gptq.engine",
        "GptqBackend",
        "gptqmodel",
        checks="localai_flask.backends.gptq.key_checks",
        environment="gptq",
    ),
    "openvino": Entry(
        "localai_flask.backends.openvino.engine",
        "OpenVinoBackend",
        "openvino_genai",
        checks="localai_flask.backends.openvino.key_checks",
        environment="openvino",
    ),
    "rwkv": Entry(
        "localai_flask.backends.rwkv.engine",
        "RwkvBackend",
        "rwkv",
        checks="localai_flask.backends.rwkv.key_checks",
        environment="rwkv",
    ),
    "cloud-proxy": Entry(
        "localai_flask.backends.cloud_proxy.engine",
        "CloudProxyBackend",
        checks="localai_flask.backends.cloud_proxy.key_checks",
    ),
    **{
        f"exllama{number}": Entry(
            "localai_flask.backends.exllama.engine",
            "ExllamaBackend",
            f"exllamav{number}",
            checks="localai_flask.backends.exllama.key_checks",
            environment=f"exllama{number}",
        )
        for number in (2, 3)
    },
    **{
        name: Entry(
            "localai_flask.backends.llama_server.engine",
            "LlamaServerBackend",
            checks="localai_flask.backends.llama_server.key_checks",
            environment=name,
            is_program=True,
        )
        for name in ("llama-server", "ik-llama-cpp", "turboquant")
    },
}


class _Engines(Mapping[str, Entry]):
    """Ours, and those of other packages, which are looked for once, when they are asked for; ours come first."""

    def __getitem__(self, name: str) -> Entry:
        return _OURS[name] if name in _OURS else _of_packages()[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**_OURS, **_of_packages()})

    def __len__(self) -> int:
        return len({**_OURS, **_of_packages()})


@functools.cache
def _of_packages() -> dict[str, Entry]:
    checks = {point.name: point.module for point in entry_points(group=CHECKS)}
    return {
        point.name: Entry(
            point.module,
            point.attr,
            checks=checks.get(point.name, ""),
            package=point.dist.name if point.dist else None,
        )
        for point in entry_points(group=ENTRY_POINTS)
    }


BACKENDS = _Engines()


def create(name: str) -> Backend:
    """Import the engine's module and make an unloaded backend.

    Raises `ConfigError` if the name is unknown or the engine's libraries are not installed.
    """
    entry = BACKENDS.get(name)
    if entry is None:
        raise ConfigError(f"{_missing(name)}.", param="backend")
    try:
        if entry.library is not None and importlib.util.find_spec(entry.library) is None:
            raise ModuleNotFoundError(name=entry.library)
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The {name} backend needs the package {error.name!r}; install it with: {entry.remedy}.", param="backend"
        ) from error
    backend: Backend = getattr(module, entry.cls)()
    return backend


def is_installed(name: str, environments: Environments | None = None) -> bool:
    """Return whether the engine is there, in one of those environments or in this one, without importing it."""
    entry = BACKENDS[name]
    if environments is not None and entry.environment is not None:
        found = environments.find(entry.environment)
        if found is not None:
            return not found.fault
    if entry.is_program:
        return find_program(name, Settings.from_environment()) is not None
    return entry.library is None or importlib.util.find_spec(entry.library) is not None


def find_environment(name: str, environments: Environments) -> Environment | None:
    """Return the environment on which workers of an engine run; None for this one, which serves where there is none.

    Raises `ConfigError` if no worker could run on it.
    """
    entry = BACKENDS.get(name)
    found = environments.find(entry.environment) if entry is not None and entry.environment is not None else None
    if entry is not None and found is not None and found.fault:
        raise ConfigError(
            f"The {name} backend cannot run, as {found.fault}; mend it with: {entry.remedy}.", param="backend"
        )
    return found


def check(config: EngineConfig) -> list[Note]:
    """Find what its engine would say of a model's YAML, without loading the engine or the model."""
    entry = BACKENDS.get(config.backend)
    if entry is None:
        return [Note(("backend",), _missing(config.backend), is_fault=True)]
    return [*importlib.import_module(entry.checks).check(config)] if entry.checks else []


def _missing(name: str) -> str:
    here = ", ".join(sorted(BACKENDS))
    if name in ELSEWHERE:
        return f"`backend: {name}` {ELSEWHERE[name]}"
    return f"there is no backend {name!r}; choose one of: {here}"
