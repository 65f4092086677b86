"""Prompt templates that a model's YAML names, or that lie beside its model file, put into its config as text.

Knows files, and whether a template is one; what it means is the prompt's business.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from localai_flask import gotemplate
from localai_flask.config.files.bounded import read_text
from localai_flask.config.model import ModelConfig
from localai_flask.config.model_yaml.paths import leads_out
from localai_flask.errors import ConfigError

NAMED = ("chat", "chat_message", "completion", "edit", "function", "multimodal")
"""The keys of `template:` that hold a template or name one; `reply_prefix` is plain text."""
BESIDE_MODEL = ("chat", "completion", "edit")
"""Those for which `<model>.tmpl` stands in."""
OF_CHATS = ("chat", "chat_message", "function")
"""Those that are not used with `use_tokenizer_template`."""
MAX_BYTES = 1024 * 1024


class Stamp(NamedTuple):
    """What tells whether a file has changed; for one that is not there it is zeros."""

    mtime_ns: int = 0
    size: int = 0
    inode: int = 0


Seen = dict[Path, Stamp]
"""The files that were looked for, whether they were there or not."""


def stamp(file: Path) -> Stamp:
    try:
        found = os.stat(file)
    except (OSError, ValueError):  # also a name that no file can have
        return Stamp()
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else Stamp()


def has_changed(seen: Seen) -> bool:
    return any(stamp(file) != before for file, before in seen.items())


def filled_in(config: ModelConfig, folder: Path, seen: Seen) -> ModelConfig:
    """Return a config with the texts of its template files, noting in `seen` where they were looked for.

    Raises `ConfigError` naming a key whose file is not there, cannot be read, or is outside of the folder.
    """
    found: dict[str, str] = {}
    for key in NAMED:
        value = getattr(config.template, key)
        if value and not _is_inline(value):
            found[key] = _read_named(value, f"{config.source}: `template.{key}`", folder, seen)
            _check_file(config, key, found[key], f"`template.{key}`, read from {value.strip()},")
    model = config.parameters.model
    missing = [key for key in BESIDE_MODEL if not getattr(config.template, key)]
    if model and missing:
        file = folder / f"{model}.tmpl"
        seen[file] = stamp(file)
        if seen[file] != Stamp():
            found |= dict.fromkeys(missing, _read(file, f"{config.source}: the model's own template"))
            _check_file(config, missing[0], found[missing[0]], f"the template {file}")
    return structs.replace(config, template=structs.replace(config.template, **found)) if found else config


def inline(config: ModelConfig) -> dict[str, str]:
    """Find the templates that stand in the YAML itself."""
    given = {key: getattr(config.template, key) for key in NAMED}
    return {key: value for key, value in given.items() if _is_inline(value) and _is_used(config, key)}


def syntax_problem(key: str, text: str) -> str:
    """Return what is wrong with a template, as the rest of a sentence; "" if it is one."""
    try:
        gotemplate.parse(text, key)
    except gotemplate.TemplateError as error:
        return f"is no Go template: {error.reason}, in its line {error.line}; correct it"
    return ""


def _is_used(config: ModelConfig, key: str) -> bool:
    return key != "multimodal" and not (config.template.use_tokenizer_template and key in OF_CHATS)


def _check_file(config: ModelConfig, key: str, text: str, what: str) -> None:
    if _is_used(config, key) and (problem := syntax_problem(key, text)):
        raise ConfigError(f"{config.source}: {what} {problem}.", param=f"template.{key}")


def _is_inline(value: str) -> bool:
    """Return whether a value is a template, not a name: without an action it would say the same in any conversation."""
    return "{{" in value or "\n" in value.strip()


def _read_named(value: str, what: str, folder: Path, seen: Seen) -> str:
    name = value.strip()
    if leads_out(name):
        raise ConfigError(f"{what} leads out of the models folder ({name}); move the template file into it.")
    for file in (folder / f"{name}.tmpl", *([folder / name] if name.endswith(".tmpl") else [])):
        seen[file] = stamp(file)
        if seen[file] != Stamp():
            return _read(file, what)
    raise ConfigError(
        f"{what} is no template, as it has no {{{{…}}}}, and there is no file {name.removesuffix('.tmpl')}.tmpl in "
        "the models folder; write the template itself, or put the file there."
    )


def _read(file: Path, what: str) -> str:
    try:
        return read_text(file, MAX_BYTES)
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from error
