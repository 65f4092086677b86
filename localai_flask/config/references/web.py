"""Plain web addresses, and those of the hub's pages and of files on GitHub, which mean what lies there."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from localai_flask.config.references import hub
from localai_flask.config.references.reference import Reference, find_fault

_GITHUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)/(?P<path>[^@]+)(@(?P<branch>[\w./-]+))?")


def parse(url: str) -> Reference:
    """Read a whole address."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"is no web address: {error}") from None
    if not host or "\\" in url or " " in url:
        raise ValueError("is no web address")
    if host in hub.HOSTS and (page := hub.parse_page(url)):
        return page
    name = unquote(parts.path).rpartition("/")[2]
    if not name:
        raise ValueError("does not end in the name of a file")
    if fault := find_fault(name):
        raise ValueError(f"ends in {name!r}, which {fault}")
    return Reference("https", path=name, url=url)


def parse_github(rest: str) -> Reference:
    """Read `owner/repo/path[@branch]`."""
    found = _GITHUB.fullmatch(rest)
    if found is None or find_fault(found["path"]):
        raise ValueError("is not of the form github:owner/repo/path, with @branch behind it if it is not master")
    return parse(f"https://raw.githubusercontent.com/{found['repo']}/{found['branch'] or 'master'}/{found['path']}")
