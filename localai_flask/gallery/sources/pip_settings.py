"""Which package indexes to ask, and how: what pip is set to, by its files and its variables.

Whoever has got this server through a mirror has told pip about it, and need not tell it again.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import requests

from localai_flask.gallery.transport.remote import open_session

PYPI = "https://pypi.org/simple"
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class PipSettings:
    """What of pip's settings matters here."""

    indexes: tuple[str, ...] = (PYPI,)
    """Addresses of simple indexes, in the order in which they are asked."""
    certificates: str = ""
    proxy: str = ""
    trusted: frozenset[str] = frozenset()
    find_links: tuple[str, ...] = ()
    """Folders and pages with packages, beside the indexes."""
    constraints: tuple[str, ...] = ()
    """Files that say which versions may be installed."""


def read_settings(environment: Mapping[str, str] = os.environ, verb: str = "download") -> PipSettings:
    """Ask pip for its settings for one of its verbs; without pip in this environment its variables alone are read."""
    command = [sys.executable, "-m", "pip", "config", "list", "--disable-pip-version-check"]
    try:
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=_TIMEOUT_S)
        lines = done.stdout.splitlines() if done.returncode == 0 else _variables(environment)
    except (OSError, subprocess.TimeoutExpired):
        lines = _variables(environment)
    return parse_settings(lines, verb)


def _variables(environment: Mapping[str, str]) -> list[str]:
    found = ((key.removeprefix("PIP_"), value) for key, value in environment.items() if key.startswith("PIP_"))
    return [f":env:.{key.lower().replace('_', '-')}={value!r}" for key, value in found]


def parse_settings(lines: Iterable[str], verb: str = "download") -> PipSettings:
    """Read what `pip config list` prints, such as `global.index-url='https://example.org/simple'`."""
    sections: dict[str, dict[str, str]] = {}
    for line in lines:
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        sections.setdefault(section, {})[key] = str(ast.literal_eval(value))
    said: dict[str, str] = {}
    for section in ("global", verb, ":env:"):  # the later win
        said |= sections.get(section, {})
    alone = said.get("no-index", "").lower() in ("1", "true", "yes", "on")
    indexes = [] if alone else [said.get("index-url", PYPI), *said.get("extra-index-url", "").split()]
    return PipSettings(
        indexes=tuple(each.rstrip("/") for each in indexes),
        certificates=said.get("cert", ""),
        proxy=said.get("proxy", ""),
        trusted=frozenset(said.get("trusted-host", "").split()),
        find_links=tuple(said.get("find-links", "").split()),
        constraints=tuple(said.get("constraint", "").split()),
    )


def open_pip_session(pip: PipSettings) -> requests.Session:
    """Open a session that reaches what pip would reach."""
    return open_session(certificates=pip.certificates, proxy=pip.proxy, trusted=pip.trusted, private_addresses=True)
