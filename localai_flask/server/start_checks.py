"""What is checked before the server forks its workers: a fault ends it, a doubt is said and it serves.

Each is one sentence that says what to do. Whatever may still come or come back while the server runs is no fault: a
model's file (pool/manager/required_models.py warns of it), and a database on another machine (store/).
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
import os
import re
import socket
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from localai_flask.address import Address
from localai_flask.diagnosis.gpus import describe_unused_gpus
from localai_flask.engine_build.compilers import LINUX_ONLY
from localai_flask.errors import ConfigError, ServerConfigError
from localai_flask.keys.file import read as read_keys
from localai_flask.keys.watched import are_required
from localai_flask.settings import Settings
from localai_flask.settings import file as settings_file
from localai_flask.settings.fields import PREFIX, URL, env_name
from localai_flask.store.place import default_path, describe_obstacle

STARTER = "`localai-flask serve --starter` fetches a small model to begin with"
INTERNAL = f"{PREFIX}FLASK_"
"""How the names of variables begin by which the server's own processes find each other."""
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/A-Z]+")


def find_faults(settings: Settings, addresses: Iterable[Address]) -> Iterator[str]:
    """Find why a server with these settings, which will listen on these addresses, must not start."""
    if sys.platform != "linux":
        yield LINUX_ONLY
    yield from _find_models_faults(settings.models_path)
    yield from find_settings_faults(settings, addresses)


def find_settings_faults(settings: Settings, addresses: Iterable[Address]) -> Iterator[str]:
    """Find which settings make it impossible to start on these addresses, whatever there is of models."""
    if settings.models_config_file and not os.access(settings.models_config_file, os.R_OK):
        yield (
            f"{settings.models_config_file}, which LOCALAI_MODELS_CONFIG_FILE names, is not there or cannot be read: "
            "make it, or name another"
        )
    addresses = list(addresses)
    for address in addresses:
        yield from _find_address_faults(address)
    yield from find_key_faults(settings, addresses)
    if settings.database_url:
        yield from _find_database_faults(settings)


def find_key_faults(settings: Settings, addresses: Iterable[Address]) -> Iterator[str]:
    """Find why a server must not go on these addresses with the keys of these settings, also while it runs."""
    for address in addresses:
        if address.is_public and not are_required(settings) and not settings.allow_insecure_public_bind:
            yield (
                f"refusing to listen on {address.bind} without an API key: set LOCALAI_API_KEY or "
                "LOCALAI_API_KEYS_FILE, listen on 127.0.0.1, or set LOCALAI_ALLOW_INSECURE_PUBLIC_BIND=true"
            )
    if settings.keys_file:
        yield from _find_file_faults(str(settings.keys_file))


def find_doubts(settings: Settings) -> Iterator[str]:
    """Find what will not work while everything else does."""
    if settings.models_path.is_dir() and _is_empty(settings.models_path):
        yield f"there is no model in {settings.models_path.absolute()} yet: {STARTER}"
    if not settings.database_url and (obstacle := describe_obstacle(default_path(settings))):
        yield (
            f"responses cannot be stored, as {obstacle}: set XDG_STATE_HOME to a folder that can be written, or "
            "LOCALAI_DATABASE_URL; until then /v1/responses answers only requests with `store: false`"
        )
    yield from find_settings_doubts(settings)
    for address in filter(_is_taken, settings.addresses):
        other = "LOCALAI_ADDRESS=127.0.0.1:8081" if address == settings.listening else "LOCALAI_OLLAMA=false"
        yield f"another program listens on {address.bind}: stop it, or leave the port to it, as in {other}"
    yield from describe_unused_gpus()


def find_settings_doubts(settings: Settings) -> Iterator[str]:
    """Find which settings have no effect, or one that may not be meant."""
    if settings.config_dir:
        yield from _find_unread_files(Path(settings.config_dir))
    if "*" in (settings.cors_allow_origins or "*" * settings.cors) and not are_required(settings):
        yield "every web page that a browser here opens may use this server: name origins in LOCALAI_CORS_ALLOW_ORIGINS"
    for origin in settings.cors_allow_origins:
        if not _ORIGIN.fullmatch(origin):
            yield (
                f"LOCALAI_CORS_ALLOW_ORIGINS names {origin!r}, from which no web page comes: write origins as browsers "
                "do, in small letters and without a path, as in https://chat.example.org"
            )
    if settings.single_active_backend and settings.max_active_backends > 1:
        yield (
            f"LOCALAI_MAX_ACTIVE_BACKENDS={settings.max_active_backends} has no effect, as "
            "LOCALAI_SINGLE_ACTIVE_BACKEND lets one model be loaded at a time: unset one of them"
        )
    yield from _find_unknown_variables(os.environ)
    yield from find_vain_settings(settings)


def _find_unread_files(folder: Path) -> Iterator[str]:
    """Find what LocalAI would read in its folder of configuration, and this server does not."""
    if not folder.is_dir():
        yield f"there is no folder {folder}, which LOCALAI_CONFIG_DIR names: make it, or leave the setting out"
    advice = {
        "runtime_settings.json": "set its values by the variables in docs/configuration.md",
        "external_backends.json": "this server starts no engines of that kind",
    }
    for name in advice:
        if (folder / name).exists():
            yield f"{folder / name} is not read: {advice[name]}"


def _find_unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Find variables that look like settings and are none, such as LocalAI's of what is not here yet."""
    known = {URL: None, **{env_name(field): None for field in dataclasses.fields(Settings)}}
    for name in sorted(environment):
        if name.startswith(PREFIX) and not name.startswith(INTERNAL) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            hint = f"; perhaps {near[0]} is meant" if near else ""
            yield f"{name} is no setting of this server and has no effect{hint}"


def find_vain_settings(settings: Settings) -> Iterator[str]:
    """Find what stands in the settings file without effect on these settings."""
    if not settings.settings_file:
        return
    file, values = settings_file.path_of(settings.settings_file), settings_file.read(settings.settings_file)
    said = Settings.from_environment({name: values[name] for name in settings_file.NAMES.values() if name in values})
    for attribute, name in settings_file.NAMES.items():
        if values.get(name) and getattr(said, attribute) != getattr(settings, attribute):
            yield f"{file}: {name} has no effect, as a flag or a variable of the environment sets it"
    for name in sorted(values.keys() - set(settings_file.NAMES.values())):
        near = difflib.get_close_matches(name, settings_file.NAMES.values(), n=1, cutoff=0.8)
        hint = f"; perhaps {near[0]} is meant" if near else ""
        yield f"{file}: {name} is no setting of this server and has no effect{hint}"


def _find_models_faults(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        yield (
            f"the models folder {folder.absolute()} {what}: make it and put a .gguf file or a YAML file there, or name "
            f"another with --models-path or LOCALAI_MODELS_PATH; {STARTER}"
        )
    elif not os.access(folder, os.R_OK | os.X_OK):
        yield f"the models folder {folder.absolute()} cannot be read by this user: change its mode or its owner"


def _is_empty(folder: Path) -> bool:
    """Return whether nothing is there that could be a model."""
    try:
        return all(name.startswith(".") for name in os.listdir(folder))
    except OSError:  # not readable, which is a fault of its own
        return False


def _is_taken(address: Address) -> bool:
    """Return whether somebody else has the address."""
    if address.path or _is_inherited():
        return False
    with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _is_inherited() -> bool:
    """Return whether gunicorn gets its sockets from its predecessor or systemd, who may still listen on them."""
    return "GUNICORN_FD" in os.environ or "LISTEN_FDS" in os.environ


def _find_address_faults(address: Address) -> Iterator[str]:
    if address.path:
        yield from _find_socket_faults(Path(address.path))
    elif address.host:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        try:
            with socket.socket(family) as probe:
                probe.bind((address.host, 0))
        except OSError as error:
            yield (
                f"cannot listen on {address.bind}, as {address.host} has no address here ({error.strerror}): set "
                "LOCALAI_ADDRESS to an address of this machine, like 127.0.0.1:8080"
            )


def _find_socket_faults(path: Path) -> Iterator[str]:
    how = "name another with LOCALAI_ADDRESS=unix:/path"
    if not path.parent.is_dir():
        yield f"cannot listen on the Unix socket {path}: there is no folder {path.parent}; make it, or {how}"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        yield f"cannot listen on the Unix socket {path}: this user cannot write to {path.parent}; {how}"
    elif path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        yield f"cannot listen on the Unix socket {path}: something else has this name; remove it, or {how}"
    elif path.exists() and not _is_inherited() and _is_listened_on(path):
        yield f"cannot listen on the Unix socket {path}: another server listens there; stop it, or {how}"


def _is_listened_on(path: Path) -> bool:
    """Return whether a socket has an owner, from whom gunicorn would take the name without a word."""
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):  # left behind, or removed since
            return False
        except OSError:  # busy, or not to be asked by this user
            pass
    return True


def _find_file_faults(name: str) -> Iterator[str]:
    try:
        read_keys(Path(name))
    except ConfigError as error:
        yield f"LOCALAI_API_KEYS_FILE cannot be used: {error} `localai-flask keys add NAME` makes it"


def _find_database_faults(settings: Settings) -> Iterator[str]:
    from localai_flask.store.database import sqlite_path  # loads SQLAlchemy, which most servers' arbiters need not

    try:
        path = sqlite_path(settings)
    except ServerConfigError as error:
        yield str(error)
        return
    if path is not None and (obstacle := describe_obstacle(path)):
        yield f"responses cannot be stored in LOCALAI_DATABASE_URL, as {obstacle}: name a file that can be written"
