"""What surrounds the engine: Python, processor and memory, the models folder, and the server that may run."""

from __future__ import annotations

import http.client
import json
import platform
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localai_flask import __version__
from localai_flask.backends import BACKENDS, is_installed
from localai_flask.backends.environments.folder import Environments
from localai_flask.config import traits
from localai_flask.config.folder.registry import Registry
from localai_flask.config.model import ModelConfig
from localai_flask.diagnosis.findings import Finding
from localai_flask.errors import ApiError
from localai_flask.machine import available_memory, physical_cores
from localai_flask.settings import Settings

LEAST_PYTHON = (3, 11)
LITTLE_MEMORY = 1 << 30
PATIENCE_S = 5.0
SHOWN = 10
LARGEST_TRIED = 2 << 30
"""Bytes of a model's file up to which it is small enough to be loaded for a trial."""


def check_machine() -> Iterator[Finding]:
    """Look at Python, cores and memory."""
    version = f"Python {platform.python_version()}, localai-flask {__version__} in {sys.prefix}."
    if sys.version_info >= LEAST_PYTHON:
        yield Finding("ok", "Python", version)
    else:
        yield Finding("problem", "Python", version, "install Python 3.11 or newer, and localai-flask for it")
    memory = available_memory()
    text = f"{physical_cores()} cores and {memory / 2**30:.1f} GiB of free memory for models."
    advice = "end other programs, or choose small models" if memory < LITTLE_MEMORY else ""
    yield Finding("warning" if advice else "ok", "Machine", text, advice)


def check_models(settings: Settings) -> Iterator[Finding]:
    """Look at the models folder as the server would."""
    folder = settings.models_path.absolute()
    if not folder.is_dir():
        yield Finding(
            "problem", "Models", f"There is no folder {folder}.", "make it, or name another in LOCALAI_MODELS_PATH"
        )
        return
    registry = Registry(settings)
    usable = registry.models()
    if usable:
        yield Finding("ok", "Models", f"{folder} has {', '.join(list(usable)[:SHOWN])}{' …' * (len(usable) > SHOWN)}.")
    else:
        yield Finding("warning", "Models", f"{folder} has no model.", "put a .gguf file there")
    for name, problem in registry.problems().items():
        yield Finding("warning", "Models", f"{name} cannot be used: {problem}", "localai-flask models lists all")
    for config in usable.values():
        if obstacle := _obstacle(config, Environments(settings.backends_folder)):
            yield Finding("warning", "Models", f"{config.name} cannot be used: {obstacle[0]}.", obstacle[1])
    yield from _check_default(settings, registry)


def _check_default(settings: Settings, registry: Registry) -> Iterator[Finding]:
    try:
        if settings.default_model:
            registry.get(settings.default_model)
    except ApiError as error:
        yield Finding(
            "warning", "Models", f"The default model cannot be used: {error}", "correct LOCALAI_DEFAULT_MODEL"
        )


def _obstacle(config: ModelConfig, environments: Environments) -> tuple[str, str] | None:
    """Find what a model lacks that is looked for only when it is loaded, and what to do; None if it may work."""
    if config.alias or config.disabled:
        return None
    if config.backend not in BACKENDS:
        return f"there is no engine {config.backend} here", f"correct `backend` in {config.source}"
    if not is_installed(config.backend, environments):
        return f"the engine {config.backend} is not installed", BACKENDS[config.backend].remedy
    if (error := traits.find_file_fault(config)) is not None:
        fault, _, advice = str(error).removesuffix(".").rpartition("; ")
        return (fault, advice) if fault else (advice, "take another file")
    return None


def smallest_gguf(settings: Settings) -> Path | None:
    """Find a model that is small enough to try the engine with, and whose file is whole."""
    models = Registry(settings).models().values() if settings.models_path.is_dir() else ()
    paths = (_gguf_path(config) for config in models)
    sizes = {path: path.stat().st_size for path in paths if path is not None}
    path = min(sizes, key=lambda each: sizes[each], default=None)
    return path if path is not None and sizes[path] <= LARGEST_TRIED else None


def _gguf_path(config: ModelConfig) -> Path | None:
    if config.backend != "llama-cpp" or config.alias:
        return None
    try:
        return config.model_path if config.model_path.is_file() and not traits.find_file_fault(config) else None
    except ApiError:
        return None


def check_server(settings: Settings) -> Iterator[Finding]:
    """Ask the server at the settings' address, if one runs, what state its models are in."""
    try:
        connection = _connect(settings)
    except OSError as error:
        text = f"No server answers at {settings.address} ({error})."
        yield Finding("ok", "Server", text, "localai-flask serve starts one")
        return
    try:
        models = _ask(connection, settings, "/v1/models")["data"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        text = f"What listens at {settings.address} does not answer as this server does ({error})."
        advice = (
            "if it is this server, set LOCALAI_API_KEY to one of its keys, or see its log; else name another "
            "LOCALAI_ADDRESS"
        )
        yield Finding("warning", "Server", text, advice)
        return
    finally:
        connection.close()
    ready = [model["id"] for model in models if model.get("state") == "ready"]
    yield Finding("ok", "Server", f"One runs at {settings.address}; ready: {', '.join(ready) or 'no model yet'}.")
    for model in models:
        if model.get("given_up"):
            yield Finding("warning", "Server", f"{model['id']} runs without {model['given_up']}.")
        if model.get("state") == "failed":
            advice = "ask it something: the answer says why, as does the server's log"
            yield Finding("problem", "Server", f"{model['id']} could not be loaded.", advice)


def _connect(settings: Settings) -> http.client.HTTPConnection:
    """Reach whatever listens at the settings' address; raise `OSError` if nothing does."""
    address = settings.listening
    host = "127.0.0.1" if address.host in ("", "0.0.0.0") else address.host
    connection = http.client.HTTPConnection(host, address.port, timeout=PATIENCE_S)
    try:
        if address.path:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(PATIENCE_S)
            connection.sock.connect(address.path)
        else:
            connection.connect()
    except OSError:
        connection.close()
        raise
    return connection


def _ask(connection: http.client.HTTPConnection, settings: Settings, path: str) -> Any:
    """GET a path; raise `OSError` or another error of http.client if that fails."""
    headers = {"Authorization": f"Bearer {settings.api_key[0]}"} if settings.api_key else {}
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    if answer.status != http.client.OK:
        raise OSError(f"status {answer.status}")
    return json.load(answer)
