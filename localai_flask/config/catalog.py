"""What a look at the models folder means: which models it holds, under which names, and which YAML cannot be used.

Reads YAML files, and what folders say about their models; never opens a model's weights, and does not know who asks for
which model (registry.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from msgspec import structs

from localai_flask.config import references
from localai_flask.config.files.listing import Entry
from localai_flask.config.files.settling import Settling
from localai_flask.config.files.snapshot import Snapshot, read_snapshot
from localai_flask.config.model import ModelConfig, Parameters
from localai_flask.config.model_yaml import downloads, model_reader, templates, variants, yamlfile
from localai_flask.config.model_yaml.findings import Finding, Refused, fault
from localai_flask.config.model_yaml.model_reader import Loaded
from localai_flask.config.model_yaml.yamlfile import Document
from localai_flask.errors import ConfigError, ErrorInfo
from localai_flask.settings import Settings

BACKEND_ALIASES = {
    "llama": ("llama-cpp", ""),
    "go-llama": ("llama-cpp", ""),
    "llama.cpp": ("llama-cpp", ""),
    "llama-grpc": ("llama-cpp", ""),
    "llama-cpp-grpc": ("llama-cpp", ""),
    "llama-cpp-fallback": ("llama-cpp", ""),
    "ik-llama": ("llama-cpp", ""),
    "ik_llama": ("llama-cpp", ""),
    "ik-llama-cpp": ("llama-cpp", ""),
    "rwkv": ("llama-cpp", ""),
    "huggingface-embeddings": ("transformers", "SentenceTransformer"),
    "sentencetransformers": ("transformers", "SentenceTransformer"),
    "mamba": ("transformers", "Mamba"),
}
"""Older names of backends: the name that is meant, and the `type` that comes with it."""

GGUF_ONLY = frozenset({"rwkv"})
"""Older names of backends that had files of their own, of which only GGUF is left."""
GALLERY_KEYS = frozenset({"config_file", "overrides", "files"})
"""What stands in the entries of LocalAI's galleries, and not in the YAML of a model."""
NEEDS_NO_MODEL = frozenset({"echo"})
# The later parts of a split model are loaded through its first, and a projector serves the model beside it.
_NOT_A_MODEL = re.compile(r"-(?!0*1-)\d+-of-\d+\.gguf$|mmproj[^/]*$", re.IGNORECASE)


class Broken(NamedTuple):
    """A mapping, or a whole file, that makes no model; `model` is the file that it would have used."""

    name: str
    model: str
    error: ConfigError


MayUse = Callable[[str], bool]
"""Whether somebody may use the model, or alias, of a name."""


@dataclass(frozen=True)
class Catalog:
    """What one look found; `nicknames` lead from file names and stems to names in `models`.

    `findings` are all faults and warnings, in the order of the files; `templates` are the template files that went
    into the models, or would have.
    """

    models: dict[str, ModelConfig] = field(default_factory=dict)
    problems: dict[str, ConfigError] = field(default_factory=dict)
    nicknames: dict[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    templates: templates.Seen = field(default_factory=dict)
    incomplete: dict[str, ErrorInfo] = field(default_factory=dict)
    """Why files without YAML are no models yet, by their names and stems."""
    is_changing: bool = False
    """Whether files of models change, or have done so a moment ago."""

    def only(self, may_use: MayUse | None) -> Catalog:
        """Return what somebody sees who may use some models, whatever their names lead to; None: all."""
        if may_use is None:
            return self
        models = {name: config for name, config in self.models.items() if may_use(name)}
        problems = {name: problem for name, problem in self.problems.items() if may_use(name)}
        nicknames = {nickname: name for nickname, name in self.nicknames.items() if name in models}
        incomplete = {name: error for name, error in self.incomplete.items() if may_use(name)}
        return Catalog(models, problems, nicknames, incomplete=incomplete)


def read(file: Path, text: str | None = None) -> list[Loaded | Broken]:
    """Read every mapping of a YAML file, or of a text that is to be in it.

    What cannot be used becomes `Broken`, without harm to its neighbours.
    """
    try:
        documents = yamlfile.read(file) if text is None else yamlfile.read_documents(text, file)
    except ConfigError as error:
        return [Broken(file.stem, "", error)]
    return [item for document in documents for item in _read_all(document, only=len(documents) == 1)]


def _read_all(document: Document, only: bool) -> Iterator[Loaded | Broken]:
    """Yield a model and its variants."""
    model = _read_one(variants.without_variants(document), only)
    yield model
    if isinstance(model, Broken):
        return
    try:
        for name, varied in variants.documents_of(document, model.config.name):
            yield _read_variant(name, varied, model)
    except ConfigError as error:
        yield Broken(f"{model.config.name}:", "", error)


def _read_variant(name: str, document: Document, model: Loaded) -> Loaded | Broken:
    variant = _read_one(document, only=True)
    if isinstance(variant, Broken):
        return variant
    try:
        variants.check_needs_no_load(variant.config, model.config, document)
    except ConfigError as error:
        return Broken(name, "", error)
    return variant._replace(findings=variants.own_findings(variant.findings, model.findings))


def check_text(text: str, file: Path) -> ModelConfig:
    """Read what is to become the YAML file of one model; raise `ConfigError` if it cannot be used."""
    documents = yamlfile.read_documents(text, file)
    if len(documents) != 1:
        raise ConfigError(f"{file} is to hold one model, not {len(documents)}.")
    found = _read_one(documents[0], only=True)
    if isinstance(found, Broken):
        raise found.error
    return found.config


def _read_one(document: Document, only: bool) -> Loaded | Broken:
    content = document.content
    name = str(content.get("name") or (document.file.stem if only else ""))
    parameters = content.get("parameters")
    model = parameters.get("model") if isinstance(parameters, dict) else None
    try:
        if not name:
            raise document.error((), "a model of the list has no `name`; give it one", "name")
        loaded = model_reader.load(document._replace(content={**content, "name": content.get("name") or name}))
        loaded = loaded._replace(config=downloads.name_files(loaded.config, document.file))
        _check(loaded.config, document)
    except ConfigError as error:
        return Broken(name or document.file.stem, model if isinstance(model, str) else "", error)
    return loaded


def _check(config: ModelConfig, document: Document) -> None:
    """Refuse what no folder could make right."""
    model = config.parameters.model
    if config.alias:
        if config.alias == config.name:
            raise document.error(("alias",), "`alias` names the model itself; name another, or remove it")
        if config.backend or model:
            raise document.error(
                ("alias",), "`alias` only names another model; remove `backend` and `parameters.model`"
            )
        return
    if not model and config.backend not in NEEDS_NO_MODEL:
        said = "`parameters.model` is missing; name the model's file or folder"
        if not GALLERY_KEYS.isdisjoint(document.content):
            said = (
                "`parameters.model` is missing, since this is a gallery's entry and no model's YAML; make what stands "
                "under its `config_file` a file of its own, with its `overrides` laid over"
            )
        raise document.error(("parameters",), said, "parameters.model")
    if references.is_address(model):
        said = (
            "`parameters.model` is an address of no kind that the server fetches; put the file into the models folder"
        )
        raise document.error(("parameters", "model"), said)
    for key, text in templates.inline(config).items():
        if problem := templates.syntax_problem(key, text):
            raise document.error(("template", key), f"`template.{key}` {problem}")


def build(
    entries: tuple[Entry, ...],
    items: dict[str, list[Loaded | Broken]],
    settings: Settings,
    settling: Settling | None = None,
) -> Catalog:
    """Put together what `look` and `read` found; `items` holds each YAML file's content by its name."""
    builder = _Builder(settings, settling or Settling())
    for entry in entries:
        for item in items.get(entry.name, ()):
            builder.add_item(item, entry)
    used = {PurePosixPath(each) for each in _used_files(items)}
    for entry in entries:
        is_free = entry.kind != "yaml" and not _is_used(entry, used) and entry.name not in builder.models
        if is_free and not _NOT_A_MODEL.search(entry.name):
            builder.add_bare(entry)
    return builder.finish(entries)


class _Builder:
    """A catalog as it comes together."""

    def __init__(self, settings: Settings, settling: Settling):
        self.models: dict[str, ModelConfig] = {}
        self._settings, self._settling = settings, settling
        self._folder = settings.models_path.absolute()
        self._problems: dict[str, ConfigError] = {}
        self._findings: list[Finding] = []
        self._seen: templates.Seen = {}
        self._incomplete: dict[str, ErrorInfo] = {}

    def add_item(self, item: Loaded | Broken, entry: Entry) -> None:
        """Add a mapping of a YAML file."""
        source = self._folder / entry.name
        if isinstance(item, Broken):
            self._report(item.name, source, item.error)
        elif item.config.name in self.models:
            error = _duplicate(item.config.name, source, self.models[item.config.name].source)
            self._report(entry.stem, source, error)
        else:
            self._add(item, source)

    def add_bare(self, entry: Entry) -> None:
        """Add a file or folder without YAML, if it is whole."""
        file = self._folder / entry.name
        if self._settling.is_incomplete(file) and (problem := self._settling.problem(entry.name, [file])):
            self._incomplete |= {entry.name: problem.info, entry.stem: problem.info}
        else:
            self._add(Loaded(ModelConfig(name=entry.name, parameters=Parameters(model=entry.name))), file)

    def finish(self, entries: tuple[Entry, ...]) -> Catalog:
        models = _with_variants(dict(sorted(self.models.items())))
        is_changing = any(self._settling.is_changing(loaded_from(each)) for each in models.values())
        return Catalog(
            models=models,
            problems=self._problems,
            nicknames=_nicknames(self.models, entries, self._folder),
            findings=tuple(self._findings),
            templates=self._seen,
            incomplete=self._incomplete,
            is_changing=is_changing or bool(self._incomplete),
        )

    def _add(self, loaded: Loaded, source: Path) -> None:
        self._findings.extend(loaded.findings)
        try:
            config = _finished(loaded.config, source, self._settings, self._settling)
            self.models[config.name] = templates.filled_in(config, self._folder, self._seen)
        except ConfigError as error:
            self._report(loaded.config.name, source, error)

    def _report(self, name: str, source: Path, error: ConfigError) -> None:
        self._problems.setdefault(name, error)
        self._findings.append(fault(source, name, error))
        self._findings.extend(error.others if isinstance(error, Refused) else ())


def _duplicate(name: str, file: Path, first: str) -> ConfigError:
    where = "twice in this file" if str(file) == first else f"also in {first}, which is used"
    return ConfigError(f"{file}: the model name {name!r} is {where}; rename one of the two.", param="name")


def _used_files(items: dict[str, list[Loaded | Broken]]) -> Iterator[str]:
    """Yield the files and folders in the models folder that some YAML speaks for, be it usable or not."""
    for item in (item for content in items.values() for item in content):
        model = item.model if isinstance(item, Broken) else item.config.parameters.model
        if model:
            yield model


def _is_used(entry: Entry, used: set[PurePosixPath]) -> bool:
    """Return whether some YAML names a file or folder, or one that it lies in, or one in it if it is one model."""
    path = PurePosixPath(entry.name)
    within = entry.kind == "snapshot" and any(path in file.parents for file in used)
    return within or not used.isdisjoint((path, *path.parents[:-1]))


def _finished(config: ModelConfig, source: Path, settings: Settings, settling: Settling) -> ModelConfig:
    """Fill in where a config comes from, the backend that fits its files, and the server's defaults."""
    folder = settings.models_path.absolute()
    if config.backend in GGUF_ONLY and not config.parameters.model.lower().endswith(".gguf"):
        raise ConfigError(
            f"{source}: `backend: {config.backend}` runs GGUF files, and {config.parameters.model} is none; convert it "
            "with llama.cpp's convert_hf_to_gguf.py, or download a .gguf file of the model.",
            param="backend",
        )
    backend, kind = BACKEND_ALIASES.get(config.backend, (config.backend, ""))
    if not backend and not config.alias:
        is_snapshot = (folder / config.parameters.model / "config.json").exists()
        backend = "transformers" if is_snapshot else "llama-cpp"
    if backend == "transformers":
        kind = config.type or kind or _kind_of(read_snapshot(folder / config.parameters.model))
    return structs.replace(
        config,
        models_path=str(folder),
        source=str(source),
        file_stamp=settling.stamp(loaded_from(structs.replace(config, models_path=str(folder)))),
        backend=backend,
        type=config.type or kind,
        threads=config.threads or settings.threads or None,
        context_size=config.context_size or settings.context_size or None,
        f16=config.f16 if config.f16 is not None else settings.f16 or None,
    )


def loaded_from(config: ModelConfig) -> list[Path]:
    """List the files and folders that a model is loaded from.

    None where files are fetched: they come after the model was asked for, and their sums are what they are.
    """
    names = [config.parameters.model, config.lora_adapter, *config.lora_adapters, config.draft_model]
    if config.alias or config.download_files:
        return []
    return [Path(config.models_path) / name for name in names if name]


def _kind_of(snapshot: Snapshot) -> str:
    """Return the `type` of a folder that makes vectors, or ranks documents; "" for one that writes."""
    if snapshot.ranks_documents:
        return "CrossEncoder"
    if not snapshot.makes_vectors:
        return ""
    return "SentenceTransformer" if snapshot.is_sentence_transformer else "AutoModel"


def _with_variants(models: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
    """Note which models need no worker of their own: those whose engine is that of one before them in the alphabet."""
    firsts: dict[str, str] = {}
    noted = dict(models)
    for name, config in sorted(models.items()):
        if not (config.alias or config.disabled) and (first := firsts.setdefault(config.key, name)) != name:
            noted[name] = structs.replace(config, variant_of=first)
    return noted


def _nicknames(models: dict[str, ModelConfig], entries: tuple[Entry, ...], folder: Path) -> dict[str, str]:
    """Let a bare file also answer to its stem, and a configured model to its YAML file's stem and its model file."""
    nicknames: dict[str, str] = {}
    sources = {Path(config.source): name for name, config in reversed(models.items())}
    for entry in entries:
        if folder / entry.name in sources and not Path(entry.name).is_absolute():
            nicknames.setdefault(entry.stem, sources[folder / entry.name])
    for name, config in sorted(models.items()):
        if config.parameters.model:
            nicknames.setdefault(config.parameters.model, name)
    return nicknames
