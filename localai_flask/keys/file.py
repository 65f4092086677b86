"""The file of keys: YAML, with the keys' names at the top level, and a digest of each key in its secret's place."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml  # type: ignore[import-untyped]

from localai_flask.config.files.bounded import read_text
from localai_flask.config.model_yaml import yamlfile
from localai_flask.errors import ConfigError
from localai_flask.keys.key import Key
from localai_flask.keys.keyring import Keyring, digest

MOST_BYTES = yamlfile.MOST_BYTES
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,59}")
NAMES = "letters, digits, and . _ @ - within, 60 at most"
KEEPER = "key:"
"""Before a key's name it is who keeps what is stored with the key, also after the key was replaced."""
HEADER = "# API keys, made by `localai-flask keys add`: their names, digests, and what they may do.\n"


class Entry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One key as the file has it."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    models: tuple[str, ...] = ("*",)
    admin: bool = False
    max_requests: Annotated[int, msgspec.Meta(ge=0)] = 0
    priority: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)] = 0

    def key(self, name: str) -> Key:
        return Key(name, self.models, self.admin, self.max_requests, self.priority, KEEPER + name)


def read(file: Path) -> dict[str, Entry]:
    """Read the entries by name; raise `ConfigError` with the file, the line, and what is wrong there."""
    text = read_text(file, MOST_BYTES)
    if not text.strip():  # as a file is for a moment that is written anew
        raise ConfigError(f"{file} is empty; a file without keys has a line with a comment at least.")
    if _has_only_comments(text):
        return {}
    if file.suffix == ".json":
        return _read_list(file, text)
    found: dict[str, Entry] = {}
    owners: dict[str, str] = {}
    for document in yamlfile.read(file):
        for name, content in document.content.items():
            found[name] = entry = _entry(document, name, content)
            if (owner := owners.setdefault(entry.sha256, name)) != name:
                raise document.error((name, "sha256"), f"the key {name!r} is the same as {owner!r}; remove one", name)
    return found


def _read_list(file: Path, text: str) -> dict[str, Entry]:
    """Read LocalAI's file, a list of the keys themselves, each of which may do everything."""
    try:
        secrets = msgspec.json.decode(text, type=list[Annotated[str, msgspec.Meta(min_length=1)]])
    except msgspec.DecodeError as error:
        raise ConfigError(f'{file} is no list of keys, as in ["key"]: {error}.') from None
    return {f"{file.stem}-{number}": Entry(digest(secret), admin=True) for number, secret in enumerate(secrets, 1)}


def keyring(entries: Mapping[str, Entry]) -> Keyring:
    return Keyring({entry.sha256: entry.key(name) for name, entry in entries.items()})


def render(entries: Mapping[str, Entry]) -> str:
    """Write entries as a file's text."""
    return functools.reduce(lambda text, item: with_entry(text, *item), entries.items(), HEADER)


def _entry(document: yamlfile.Document, name: Any, content: Any) -> Entry:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise document.error((name,), f"{name!r} is no name for a key; use {NAMES}", str(name))
    try:
        return msgspec.convert(content, Entry)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at ")
        key = path.strip("`$").lstrip(".").partition("[")[0]
        said = f"the key {name!r} cannot be used{f', as to its `{key}`' if key else ''}: {what[:1].lower()}{what[1:]}"
        raise document.error((name, key) if key else (name,), f"{said}; `localai-flask keys add` makes keys") from error


def _has_only_comments(text: str) -> bool:
    return all(line.lstrip().startswith("#") or not line.strip() for line in text.splitlines())


def with_entry(text: str, name: str, entry: Entry) -> str:
    """Return a file's text with one more entry at its end."""
    text = text or HEADER
    added = yaml.safe_dump({name: msgspec.to_builtins(entry)}, sort_keys=False, allow_unicode=True)
    return f"{text}{added}" if text.endswith("\n") else f"{text}\n{added}"


def without_entry(text: str, name: str) -> str:
    """Return a file's text without an entry, everything else in it as it is, comments too."""
    root = yaml.compose(text, yaml.SafeLoader)
    lines = text.splitlines(keepends=True)
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == name:
            end = value.end_mark.line + (1 if value.end_mark.column else 0)
            del lines[key.start_mark.line : end]
            break
    return "".join(lines)
