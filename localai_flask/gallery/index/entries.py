"""What a gallery says of models: the entries of its index, and the documents that entries refer to.

The format is LocalAI's. An entry that cannot be used is passed over with its reason, and does not harm its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import msgspec

from localai_flask.config.model_yaml import yamlfile
from localai_flask.config.references import is_sha256
from localai_flask.errors import InvalidRequest
from localai_flask.gallery.models.names import check_file_name, check_model_name, file_stem

MOST_INDEX_NODES = 2_000_000
"""Values that an index may have, with what its aliases repeat; LocalAI's has 90,000."""
MOST_REASON = 300
MOST_PARTS = 1000


class EntryFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file to fetch, relative to the models folder; without a `filename` it keeps the name that it has there.

    What LocalAI does not have: `parts` are addresses of what is joined to one file, and `unpack` makes a folder of a
    zip archive.
    """

    uri: str = ""
    filename: str = ""
    sha256: str = ""
    parts: tuple[str, ...] = ()
    unpack: bool = False


class PromptTemplate(msgspec.Struct, frozen=True):
    """A template to write as `<name>.tmpl`."""

    name: str
    content: str


class Variant(msgspec.Struct, frozen=True):
    """The name of an entry that is another build of the same model."""

    model: str


class BaseDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands at an entry's `url`: the part of a configuration that several entries share."""

    name: str = ""
    description: str = ""
    license: str = ""
    urls: tuple[str, ...] = ()
    config_file: dict[str, Any] = {}
    files: tuple[EntryFile, ...] = ()
    prompt_templates: tuple[PromptTemplate, ...] = ()


class GalleryEntry(BaseDocument, frozen=True, kw_only=True, omit_defaults=True):
    """One model of a gallery."""

    gallery: str = ""
    url: str = ""
    icon: str = ""
    tags: tuple[str, ...] = ()
    size: str = ""
    context_length: int | None = None
    overrides: dict[str, Any] = {}
    variants: tuple[Variant, ...] = ()

    @property
    def id(self) -> str:
        """The name by which any gallery's entry can be asked for."""
        return f"{self.gallery}@{self.name}"

    def has_words(self, words: Sequence[str]) -> bool:
        """Return whether every word occurs in the name, the description or the tags, whatever its case."""
        texts = [text.lower() for text in (self.name, self.description, *self.tags)]
        return all(any(word.lower() in text for text in texts) for word in words)

    def is_installed(self, names: Set[str]) -> bool:
        """Return whether the model is here; `names` are those of `records.installed_names`."""
        return self.id in names or file_stem(self.name) in names


class Skipped(msgspec.Struct, frozen=True):
    """An entry that cannot be used, and why."""

    name: str
    reason: str


class Index(msgspec.Struct, frozen=True):
    """The usable entries of one gallery, in its order, and the others."""

    entries: tuple[GalleryEntry, ...] = ()
    skipped: tuple[Skipped, ...] = ()


class _Read(NamedTuple):
    entry: GalleryEntry | None
    skipped: Skipped | None = None


def read_index(text: str, gallery: str) -> Index:
    """Read an index; raise `ValueError` if the text is none."""
    content = yamlfile.parse(text, MOST_INDEX_NODES)
    if not isinstance(content, list) or not content:
        raise ValueError("it is no list of models")
    read = [_read_entry(raw, gallery) for raw in content]
    index = Index(
        tuple(each.entry for each in read if each.entry is not None),
        tuple(each.skipped for each in read if each.skipped is not None),
    )
    if not index.entries:
        raise ValueError(f"none of its entries can be used: {index.skipped[0].reason}")
    return index


def read_base(text: str) -> BaseDocument:
    """Read the document at an entry's `url`, which may also be a model's YAML; raise `ValueError` if it is neither."""
    content = yamlfile.parse(text)
    if not isinstance(content, dict):
        raise ValueError("it holds no keys with values")
    if "parameters" in content or ("backend" in content and "config_file" not in content):
        return BaseDocument(name=str(content.get("name") or ""), config_file=content)
    if not {"config_file", "files", "prompt_templates", "name"} & content.keys():
        raise ValueError("it is neither a gallery's document nor a model's YAML")
    return check_base(_convert(content, BaseDocument))


def check_base(base: BaseDocument) -> BaseDocument:
    """Raise `ValueError` with what is wrong with a document's files and templates."""
    try:
        for file in base.files:
            check_file(file)
        for template in base.prompt_templates:
            check_file_name(f"{template.name}.tmpl")
    except InvalidRequest as error:
        raise ValueError(str(error)) from None
    return base


def _read_entry(raw: Any, gallery: str) -> _Read:
    name = str(raw.get("name") or "") if isinstance(raw, Mapping) else ""
    try:
        if not isinstance(raw, Mapping):
            raise ValueError("it holds no keys with values")
        entry = _convert({**raw, "gallery": gallery}, GalleryEntry)
        check_model_name(entry.name)
        check_base(entry)
        if not (entry.url or entry.config_file or entry.overrides or entry.files):
            raise ValueError("it has neither `url`, `config_file`, `overrides` nor `files`")
    except (ValueError, InvalidRequest) as error:
        return _Read(None, Skipped(name, str(error)[:MOST_REASON]))
    return _Read(entry)


def _convert(raw: Mapping[Any, Any], kind: type[Any]) -> Any:
    """Make a struct of what was read; nulls are absent, and numbers among the tags are text."""
    content = {key: value for key, value in raw.items() if value is not None}
    if isinstance(config := content.get("config_file"), str):
        try:
            content["config_file"] = yamlfile.parse(config) or {}
        except ValueError as error:
            raise ValueError(f"`config_file`: {error}") from None
    if isinstance(tags := content.get("tags"), list):
        content["tags"] = [str(tag) for tag in tags]
    content["files"] = [_without_nulls(file) for file in content.get("files", ())]
    return msgspec.convert(content, kind)


def _without_nulls(value: Any) -> Any:
    return {key: each for key, each in value.items() if each is not None} if isinstance(value, Mapping) else value


def check_file(file: EntryFile) -> None:
    """Raise `ValueError` or `InvalidRequest` with what is wrong with a listed file."""
    if file.filename:
        check_file_name(file.filename)
    if file.sha256 and not is_sha256(file.sha256):
        raise ValueError(f"the sha256 of {file.filename or file.uri} is not of 64 hexadecimal digits")
    if bool(file.uri) == bool(file.parts):
        raise ValueError(f"the file {file.filename} needs a `uri`, or `parts`")
    if (file.parts or file.unpack) and not file.filename:
        raise ValueError(f"what is made of {file.uri or file.parts[0]} needs a `filename`")
    if file.parts and file.unpack:
        raise ValueError(f"{file.filename} cannot both be joined of `parts` and unpacked")
    if len(file.parts) > MOST_PARTS:
        raise ValueError(f"{file.filename} has more than {MOST_PARTS} parts")
