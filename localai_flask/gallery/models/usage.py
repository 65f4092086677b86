"""Which files of the models folder a model uses, by its YAML and by what is remembered of its installation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from localai_flask.config.files.bounded import read_text
from localai_flask.config.files.listing import is_yaml
from localai_flask.config.files.settling import all_parts
from localai_flask.config.folder.registry import Registry
from localai_flask.config.model import ModelConfig
from localai_flask.config.model_yaml import yamlfile
from localai_flask.config.model_yaml.keypaths import values_at
from localai_flask.config.model_yaml.paths import PATH_KEYS, leads_out
from localai_flask.errors import ConfigError
from localai_flask.gallery.models import records

TEMPLATES = ("chat", "chat_message", "completion", "edit", "function", "multimodal")
LONGEST_TEMPLATE_NAME = 200
"""Characters; what is longer is a template itself."""


class Usage(NamedTuple):
    """The files that models use; of YAML that cannot be read only its text is known."""

    files: frozenset[str]
    unreadable: tuple[str, ...] = ()

    def has(self, path: str) -> bool:
        """Return whether a file is used, or may be: any mention in what cannot be read counts."""
        return path in self.files or any(PurePosixPath(path).name in text for text in self.unreadable)


def used_by(name: str, registry: Registry, folder: Path) -> list[str]:
    """List the files that belong to a model: what came with it, or, of one that was not installed, what its YAML names.

    Of what a server installs all files are remembered, but for LocalAI's; what else the YAML of a gallery names is not
    its own. YAML and what is hidden belongs to no other model.
    """
    record = records.read(folder, name)
    found = list(_recorded(record))
    config = registry.models().get(name)
    if config is not None and not (record is not None and record.likeness):
        found += _configured(config)
        found += (path for each, content in _documents(Path(config.source)) if each == name for path in _named(content))
    parts = dict.fromkeys(part for path in found for part in _parts(path))
    return [part for part in parts if not _is_ours(PurePosixPath(part))]


def used_by_others(name: str, registry: Registry, folder: Path) -> Usage:
    """Find the files that any model uses but this one and its variants."""
    own = registry.models().get(name)
    found: set[str] = set()
    unreadable: list[str] = []
    for record in records.read_all(folder):
        if record.name != name and (folder / f"{record.name}.yaml").exists():
            found.update(_recorded(record))
    for config in registry.models().values():
        if own is not None and config.source == own.source:
            continue
        if _is_model_yaml(Path(config.source)):  # a bare file may have come with this model
            found.update(_configured(config))
    for file in (file for file in sorted(folder.glob("*")) if _is_model_yaml(file) and file.stem != name):
        try:
            found.update(path for each, content in _documents(file) if each != name for path in _named(content))
        except ConfigError:
            unreadable.append(_text_of(file))
    return Usage(frozenset(part for path in found for part in _parts(path)), tuple(unreadable))


def _is_ours(path: PurePosixPath) -> bool:
    """Return whether a path is one by which the server knows models, and no file of one."""
    return path.name.startswith(".") or (len(path.parts) == 1 and is_yaml(path))


def entries_of(file: Path) -> list[str]:
    """List the models that stand in a YAML file, without their variants; none of a file that cannot be read."""
    try:
        return [name for name, _ in _documents(file)]
    except ConfigError:
        return []


def _documents(file: Path) -> list[tuple[str, dict[Any, Any]]]:
    """Return the mappings of a YAML file with their names; none of a file that is no YAML."""
    if not _is_model_yaml(file):
        return []
    return [(str(each.content.get("name") or file.stem), each.content) for each in yamlfile.read(file)]


def _is_model_yaml(file: Path) -> bool:
    return is_yaml(file) and not file.name.startswith(".")


def _named(content: dict[Any, Any]) -> Iterator[str]:
    """Yield the files that a mapping names, whether this server reads the key or not, as it does not `mmproj`."""
    for pattern in PATH_KEYS:
        yield from (value for _, value in values_at(content, pattern) if isinstance(value, str))
    for key in TEMPLATES:
        for _, value in values_at(content, f"template.{key}"):
            if isinstance(value, str) and len(value) < LONGEST_TEMPLATE_NAME and not set("{}\n") & set(value):
                yield f"{value}.tmpl"


def _configured(config: ModelConfig) -> Iterator[str]:
    """Yield the files that a configuration means, also where its YAML has an address."""
    if config.parent:
        yield from (file for file, _ in config.adapted_by or ())
    elif not config.alias:
        yield from (config.parameters.model, config.draft_model, config.lora_adapter, *config.lora_adapters)
        yield from (file.filename for file in config.download_files)


def _recorded(record: records.Record | None) -> tuple[str, ...]:
    return record.paths if record is not None else ()


def _parts(path: str) -> Iterator[str]:
    """Yield a path as it is compared; of a model in several files each of them; nothing outside of the folder."""
    if not path or leads_out(path):
        return
    yield from map(str, all_parts(Path(path)))


def _text_of(file: Path) -> str:
    try:
        return read_text(file, yamlfile.MOST_BYTES)
    except ConfigError:
        return ""
