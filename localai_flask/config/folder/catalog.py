"""What a look at the models folder means: which models it holds, under which names, and which YAML cannot be used.

Takes what YAML files say (model_yaml/file_reader.py), and reads what folders say about their models; never opens a
model's weights, and does not know who asks for which model (registry.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from msgspec import structs

from localai_flask.config.blocks import Parameters
from localai_flask.config.engines.choice import choose_engine
from localai_flask.config.engines.facts import facts
from localai_flask.config.engines.names import OF_GGUF, meant_by
from localai_flask.config.files.listing import Entry
from localai_flask.config.files.settling import Settling
from localai_flask.config.files.snapshot import Snapshot, read_snapshot
from localai_flask.config.folder.projectors import IS_LATER_PART, IS_PROJECTOR, find_projector
from localai_flask.config.model import ModelConfig
from localai_flask.config.model_yaml import adapters, templates
from localai_flask.config.model_yaml.file_reader import Broken
from localai_flask.config.model_yaml.findings import Finding, Refused, fault
from localai_flask.config.model_yaml.model_reader import Loaded
from localai_flask.errors import ConfigError, ErrorInfo
from localai_flask.settings import Settings

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


def build(
    entries: tuple[Entry, ...],
    items: dict[str, list[Loaded | Broken]],
    settings: Settings,
    settling: Settling | None = None,
) -> Catalog:
    """Put together what `look` and `file_reader.read` found; `items` holds each YAML file's content by its name."""
    builder = _Builder(settings, settling or Settling(), [entry.name for entry in entries if entry.kind == "gguf"])
    for entry in entries:
        for item in items.get(entry.name, ()):
            builder.add_item(item, entry)
    used = {PurePosixPath(each) for each in _used_files(items)}
    for entry in entries:
        is_model = entry.kind not in ("yaml", "adapter")
        is_free = is_model and not _is_used(entry, used) and entry.name not in builder.models
        if is_free and not _serves_another(entry.name):
            builder.add_bare(entry)
    return builder.finish(entries)


class _Builder:
    """A catalog as it comes together."""

    def __init__(self, settings: Settings, settling: Settling, files: list[str]):
        self.models: dict[str, ModelConfig] = {}
        self._settings, self._settling, self._files = settings, settling, files
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
        models = _with_known_files(_with_variants(_with_adapters(dict(sorted(self.models.items())))))
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
            config = _finished(loaded.config, source, self._settings, self._settling, self._files)
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


def _serves_another(name: str) -> bool:
    """Return whether a file is loaded with another: a later part of a split model, or a projector."""
    return bool(IS_LATER_PART.search(name) or IS_PROJECTOR.search(name))


def _finished(
    config: ModelConfig, source: Path, settings: Settings, settling: Settling, files: list[str]
) -> ModelConfig:
    """Fill in where a config comes from, the backend that fits its files, and the server's defaults."""
    folder = settings.models_path.absolute()
    backend, kind, _ = meant_by(config.backend, config.parameters.model, config.type)
    if not backend and not (config.alias or config.parent):
        backend = choose_engine(folder / config.parameters.model)
    if facts(backend).files == "folder":
        kind = config.type or kind or _kind_of(read_snapshot(folder / config.parameters.model))
    if kind in OF_GGUF.values():
        config, kind = structs.replace(config, **{kind: True}), ""
    if facts(backend).files == "gguf" and facts(backend).sees and not config.mmproj and not config.alias:
        config = structs.replace(config, mmproj=find_projector(config.parameters.model, files))
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
    if facts(config.backend).files == "elsewhere":
        return []
    names = [config.parameters.model, config.mmproj, config.lora_adapter, *config.lora_adapters, config.draft_model]
    if config.alias or config.download_files:
        return []
    names += [file for file, _ in config.adapted_by or ()]
    return [Path(config.models_path) / name for name in names if name]


def _kind_of(snapshot: Snapshot) -> str:
    """Return the `type` of a folder that makes vectors, or ranks documents; "" for one that writes."""
    if snapshot.ranks_documents:
        return "CrossEncoder"
    if not snapshot.makes_vectors:
        return ""
    return "SentenceTransformer" if snapshot.is_sentence_transformer else "AutoModel"


def _with_adapters(models: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
    """Lay adapters over their parents; one whose parent is no model of its own weights stays as it is."""
    made = dict(models)
    for name, config in models.items():
        parent = models.get(config.parent)
        if parent is not None and not (parent.parent or parent.alias):
            made[name] = adapters.adapted(config, parent)
    return made


def _with_variants(models: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
    """Note which models need no worker of their own: those whose engine is that of one before them in the alphabet."""
    firsts: dict[str, str] = {}
    noted = dict(models)
    for name, config in sorted(models.items()):
        if (
            not (config.alias or config.parent or config.disabled)
            and (first := firsts.setdefault(config.key, name)) != name
        ):
            noted[name] = structs.replace(config, variant_of=first)
    return noted


def _with_known_files(models: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
    """Note for each model which adapters its worker has: those of the YAML, then those with names, in their order."""
    files: dict[str, dict[str, None]] = {}
    for config in sorted(models.values(), key=lambda each: (bool(each.parent), each.name)):
        used = adapters.files_of(config) if config.adapted_by is None else config.adapted_by
        files.setdefault(config.key, {}).update((file, None) for file, _ in used)
    known = {name: tuple(files[config.key]) for name, config in models.items()}
    return {
        name: structs.replace(config, known_adapters=known[name]) if known[name] else config
        for name, config in models.items()
    }


def _nicknames(models: dict[str, ModelConfig], entries: tuple[Entry, ...], folder: Path) -> dict[str, str]:
    """Let a bare file also answer to its stem, and a configured model to its YAML file's stem and its model file."""
    nicknames: dict[str, str] = {}
    sources = {Path(config.source): name for name, config in reversed(models.items())}
    for entry in entries:
        if folder / entry.name in sources and not Path(entry.name).is_absolute():
            nicknames.setdefault(entry.stem, sources[folder / entry.name])
    for name, config in sorted(models.items()):
        if config.parameters.model and not config.parent:
            nicknames.setdefault(config.parameters.model, name)
    return nicknames
