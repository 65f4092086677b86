"""Where the server is that a command talks to, and the key for it: from options, variables and settings."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import click

from localai_flask.address import Address
from localai_flask.settings import Settings
from localai_flask.settings.fields import URL

KEY = "LOCALAI_API_KEY"
SOCKET_URL = "http://localhost"
"""How a server at a Unix socket is addressed over it."""


@dataclass(frozen=True)
class Target:
    """A server's address without `/v1` at its end, and the key to send, if any."""

    url: str
    api_key: str = ""
    socket: str = ""
    """The path of the Unix socket at which it listens, if it does."""
    is_given: bool = False
    """Whether the user has named this server; else it is where one would be started."""
    default_model: str = ""
    """The model that it has by default, as far as the settings here say."""

    @property
    def shown(self) -> str:
        """The address for people."""
        return f"unix:{self.socket}" if self.socket else self.url


def with_server(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which server is meant; the command gets them as `target`."""

    @click.option("--url", metavar="URL", help=f"Address of the server [env: {URL}; default: that of the settings].")
    @click.option("--api-key", metavar="KEY", help=f"Key to send [env: {KEY}].")
    @functools.wraps(command)
    def wrapped(*arguments: Any, url: str | None, api_key: str | None, **options: Any) -> Any:
        return command(*arguments, target=find_target(url, api_key), **options)

    return wrapped


def find_target(url: str | None = None, api_key: str | None = None) -> Target:
    """Decide which server is meant.

    In this order: the option, `LOCALAI_URL`, the server's own setting if that is given, `OPENAI_BASE_URL` with
    `OPENAI_API_KEY`, and the setting's default.
    """
    environment = _environment()
    key = api_key or environment.get(KEY, "").partition(",")[0].strip()
    if named := url or environment.get(URL):
        return _given(named, key)
    theirs = environment.get("OPENAI_BASE_URL")
    if theirs and not environment.get("LOCALAI_ADDRESS"):
        return _given(theirs, key or environment.get("OPENAI_API_KEY", ""))
    settings = _settings(environment)
    return dataclasses.replace(target_at(settings.listening, key), default_model=settings.default_model)


def target_at(address: Address, api_key: str = "", *, is_given: bool = False) -> Target:
    """Return the server that listens at an address, as it is reached from this machine."""
    if address.path:
        return Target(SOCKET_URL, api_key, address.path, is_given)
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    url = f"http://[{host}]:{address.port}" if ":" in host else f"http://{host}:{address.port}"
    return Target(url, api_key, is_given=is_given)


def _environment() -> Mapping[str, str]:
    from localai_flask.cli.options import read_environment

    return read_environment({}) if os.environ.get("LOCALAI_SETTINGS_FILE") else os.environ


def _settings(environment: Mapping[str, str]) -> Settings:
    try:
        return Settings.from_environment(environment)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _given(text: str, key: str) -> Target:
    """Read an address as people write it: `host:8080`, with `/v1` or without, `unix:/path`."""
    if text.startswith("unix:"):
        try:
            return target_at(Address.parse(text), key, is_given=True)
        except ValueError as error:
            raise click.UsageError(f"{text!r} is no address of a server: {error}.") from error
    url = text if "://" in text else f"http://{text}"
    if not _is_url(url):
        raise click.UsageError(f"{text!r} is no address of a server; write it like http://127.0.0.1:8080.")
    return Target(url.rstrip("/").removesuffix("/v1").rstrip("/"), key, is_given=True)


def _is_url(text: str) -> bool:
    """Return whether a text names a server over HTTP: a host, and a port that can be one."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
