"""Which model a name means, over a models folder that may change at any time.

Owns the rules of naming: exact name, alias, file stem, `:latest`, and which model serves a request that names none.
Names are compared as they are: never as patterns, and never with the order of a hash table.
"""

from __future__ import annotations

import difflib
import logging
import threading
import time
from pathlib import Path
from typing import ClassVar

from localai_flask.config import references, traits
from localai_flask.config.catalog import Catalog, MayUse, build, loaded_from
from localai_flask.config.engines.facts import facts
from localai_flask.config.files.listing import Entry, look, look_at
from localai_flask.config.files.settling import Settling
from localai_flask.config.look import NEVER, Look
from localai_flask.config.model import ModelConfig
from localai_flask.config.model_yaml import file_reader
from localai_flask.config.model_yaml.downloads import check_files
from localai_flask.config.model_yaml.file_reader import Broken
from localai_flask.config.model_yaml.findings import Finding
from localai_flask.config.model_yaml.model_reader import Loaded
from localai_flask.config.model_yaml.templates import has_changed
from localai_flask.errors import ApiError, ConfigError, InvalidRequest, ModelDisabled, ModelNotFound
from localai_flask.settings import Settings

log = logging.getLogger("gunicorn.error")

TEXT_USES = frozenset({"chat", "completion", "edit"})
NEEDED = {"embeddings": "embed", "rerank": "score"}
"""What a model can do that was made for a use other than text."""
SHOWN_NAMES = 5
LATEST = ":latest"
"""The tag of a model that is named without one, in Ollama's names."""
LONGEST_NAME = 200
"""Characters of an unknown name that are looked at and repeated in the error."""


class Registry:
    """The models of one folder; any thread may ask."""

    recheck_s: ClassVar[float] = 1.0
    """Seconds for which a look at the folder is good."""
    writing_s: ClassVar[float] = 1.0
    """Seconds for which a YAML file that is suddenly empty counts as one that is being written."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self._lock = threading.Lock()
        self._checked = float("-inf")
        self._entries: tuple[Entry, ...] | None = None
        self._read: dict[Entry, list[Loaded | Broken]] = {}
        self._is_writing = False
        """Whether some file is being written, and stands for what it had before."""
        self._settling = Settling()
        self._said: dict[str, str] = {}
        """What was last found of each model's files when it was to be loaded."""
        self._catalog = Catalog()
        self._seen: tuple[Catalog, Look] = self._catalog, NEVER

    def models(self) -> dict[str, ModelConfig]:
        """List all usable models by name, in the order of their names; disabled ones and aliases too."""
        return dict(self._current().models)

    def problems(self) -> dict[str, ConfigError]:
        """List what is wrong in the folder's YAML, by model name, or by file stem where there is no usable name."""
        return dict(self._current().problems)

    def findings(self) -> tuple[Finding, ...]:
        """List all faults and warnings about the folder's YAML."""
        return self._current().findings

    def get(self, name: str, may_use: MayUse | None = None) -> ModelConfig:
        """Find the model that a name means, through at most one alias; others than those that `may_use` takes are none.

        Raises `ModelNotFound`, `ModelDisabled`, or `ConfigError` if its YAML is broken or lists a missing file.
        """
        found = self.look_up(name, may_use)
        catalog = self._catalog
        config = _follow(catalog, found) if found.alias else found
        _check_parent(catalog, config)
        if found.disabled or config.disabled:
            raise ModelDisabled(
                f"The model {name!r} is disabled; remove `disabled: true` from its YAML to use it.", param="model"
            )
        check_files(config)
        return config

    def look_up(self, name: str, may_use: MayUse | None = None) -> ModelConfig:
        """Find the model or alias of a name, be it disabled or not.

        Raises `ModelNotFound`, or `ConfigError` if its YAML is broken.
        """
        try:
            found = _find(self._current().only(may_use), name)
        except ApiError:
            found = None  # perhaps the look fell into the middle of somebody's writing
        found = found or _find(self._current(0.0).only(may_use), name)  # its file may just have come
        if found is None:
            raise _not_found(name, self._catalog.only(may_use))
        return found

    def resolve(self, name: str | None, usecase: str = "chat", may_use: MayUse | None = None) -> ModelConfig:
        """Find the model for a request, which may name none: the default, the only one, or the first that fits.

        Raises what `get` raises, and `InvalidRequest` if the request must name a model.
        """
        default = self.settings.default_model
        if name or (default and (may_use is None or self.is_model(default, may_use))):
            return self.get(name or default, may_use)
        catalog = self._current().only(may_use)
        candidates = [each for each in catalog.models.values() if not (each.alias or each.parent or each.disabled)]
        if not candidates:
            raise self._nothing_here(catalog)
        fitting = next((each for each in candidates if _fits(each, usecase)), None)
        if fitting is None and len(candidates) > 1:
            names = _listed([each.name for each in candidates])
            raise InvalidRequest(
                f"Name a model: none is known to fit this request ({usecase}) among {names}.", param="model"
            )
        return self.get((fitting or candidates[0]).name, may_use)

    def is_model(self, name: str, may_use: MayUse | None = None) -> bool:
        """Return whether `get` knows the name, be the model usable or not."""
        catalog = self._current().only(may_use)
        try:
            return _find(catalog, name) is not None
        except ApiError:
            return True

    def refresh(self) -> None:
        """Look at the folder now, whenever the last look was."""
        self._current(0.0)

    def last_look(self, config: ModelConfig) -> Look:
        """Look at the folder, and return when it showed this model as it is here; `NEVER` if it has changed."""
        self.refresh()
        catalog, look = self._seen
        return look if catalog.models.get(config.name) == config else NEVER

    def look_to_load(self, config: ModelConfig) -> Look:
        """Do what `last_look` does, for who is about to load the model.

        Raises `ModelFileChanging` if its files are still being copied, `ConfigError` if something is missing of them.
        """
        look = self.last_look(config)
        with self._lock:
            problem = self._settling.problem(config.name, loaded_from(config))
            is_news = isinstance(problem, ConfigError) and self._said.get(config.name) != str(problem)
            self._said[config.name] = str(problem)
        if is_news:
            log.error("cannot load model %s: %s", config.name, problem)
        if problem is not None:
            raise problem
        return look

    def refresh_names(self) -> tuple[frozenset[str], Look]:
        """Look at the folder, and return all names that stand for something in it which is not switched off.

        Faulty ones are among them, as who edits a file may not be done.
        """
        self.refresh()
        catalog, look = self._seen
        enabled = {name for name, config in catalog.models.items() if not config.disabled}
        return frozenset(enabled | catalog.problems.keys() | catalog.incomplete.keys()), look

    def _current(self, max_age_s: float | None = None) -> Catalog:
        """Return the folder's state, at most `recheck_s` old; while one thread reads, the others get the state before.

        With `max_age_s` they wait instead, so that nobody is denied a file that is there.
        """
        if time.monotonic() - self._checked < (self.recheck_s if max_age_s is None else max_age_s):
            return self._catalog
        if self._lock.acquire(blocking=self._entries is None or max_age_s is not None):
            try:
                self._refresh()
            finally:
                self._lock.release()
        return self._catalog

    def _refresh(self) -> None:
        begun = time.monotonic()
        entries = look(self.settings.models_path)
        if self.settings.models_config_file:
            entries += look_at(Path(self.settings.models_config_file))
        is_changing = self._is_writing or self._catalog.is_changing
        if entries != self._entries or has_changed(self._catalog.templates) or is_changing:
            self._is_writing = False
            self._read = {entry: self._read_yaml(entry) for entry in entries if entry.kind == "yaml"}
            items = {entry.name: items for entry, items in self._read.items()}
            self._catalog = build(entries, items, self.settings, self._settling)
            self._entries = entries
        self._checked = time.monotonic()
        self._seen = self._catalog, Look(begun, self._checked)

    def _read_yaml(self, entry: Entry) -> list[Loaded | Broken]:
        """Read a file if it has changed; one emptied a moment ago, as by a shell's `>`, is as it was."""
        path = self.settings.models_path.absolute() / entry.name
        if entry.size:
            return self._read.get(entry) or file_reader.read(path)
        before = next((items for known, items in self._read.items() if known.name == entry.name), None)
        if before is None or time.time() - entry.mtime_ns / 1e9 > self.writing_s:
            return file_reader.read(path)
        self._is_writing = True
        return before

    def _nothing_here(self, catalog: Catalog) -> ApiError:
        for problem in catalog.problems.values():
            return _again(problem)
        for error in catalog.incomplete.values():
            return ApiError.from_info(error)
        folder = self.settings.models_path.absolute()
        return ModelNotFound(
            f"There is no model to use in {folder}; put a .gguf file or a YAML file there.", param="model"
        )


def _find(catalog: Catalog, name: str) -> ModelConfig | None:
    """Look a name up as it is, as a nickname, without `:latest`, as what is kept of that address, and with `:latest`.

    Raises why it cannot be used.
    """
    stored = references.stored_name(name) if "/" in name or references.is_address(name) else name
    for spelling in dict.fromkeys((name, name.removesuffix(LATEST), stored, name + LATEST)):
        if spelling in catalog.models:
            return catalog.models[spelling]
        if spelling in catalog.problems:
            raise _again(catalog.problems[spelling])
        if spelling in catalog.nicknames:
            return catalog.models[catalog.nicknames[spelling]]
        if spelling in catalog.incomplete:
            raise ApiError.from_info(catalog.incomplete[spelling])
    return None


def _again(problem: ConfigError) -> ConfigError:
    """Copy a kept error, because one that is raised again and again collects tracebacks."""
    return ConfigError(str(problem), param=problem.info.param)


def _follow(catalog: Catalog, alias: ModelConfig) -> ModelConfig:
    target = _find(catalog, alias.alias)
    if target is None:
        names = _listed(_nearest(alias.alias, catalog))
        raise ConfigError(f"{alias.source}: `alias` names {alias.alias!r}, which is no model; the models are: {names}.")
    if target.alias:
        said = (
            f"{alias.source}: `alias` names {alias.alias!r}, itself an alias; name its target {target.alias!r} instead."
        )
        raise ConfigError(said, param="alias")
    return target


def _check_parent(catalog: Catalog, config: ModelConfig) -> None:
    """Raise `ConfigError` for an adapter whose parent is not there, is none, or is run by an engine that takes none."""
    if config.adapted_by is not None and not facts(config.backend).adapts:
        raise ConfigError(
            f"The parent {config.parent!r} of {config.name!r} runs with the {config.backend} backend, which takes no "
            "adapters of requests; choose llama-cpp or vllm, or make it a model of its own with `lora_adapter`.",
            param="parent",
        )
    if not config.parent or config.adapted_by is not None:
        return
    parent = catalog.models.get(config.parent)
    if parent is None:
        names = _listed(_nearest(config.parent, catalog))
        problem = f"which is no model; the models are: {names}"
    else:
        problem = f"itself an alias or an adapter; name {parent.alias or parent.parent!r} instead"
    raise ConfigError(f"{config.source}: `parent` names {config.parent!r}, {problem}.", param="parent")


def _fits(config: ModelConfig, usecase: str) -> bool:
    declared = {use.lower().removeprefix("flag_") for use in config.known_usecases}
    if "llm" in declared:
        declared |= TEXT_USES
    if usecase in declared:
        return True
    if usecase in TEXT_USES:
        is_for_text = not declared or bool(declared & TEXT_USES)
        return is_for_text and not config.embeddings and "generate" in traits.capabilities(config)
    if {"embeddings": config.embeddings, "rerank": config.reranking, "tokenize": True}.get(usecase):
        return True
    able = traits.capabilities(config)
    return NEEDED.get(usecase) in able and "generate" not in able


def _not_found(name: str, catalog: Catalog) -> ModelNotFound:
    known = _listed(_nearest(name, catalog))
    advice = f"the models: {known}" if known else "the models, and there are none yet"
    shown = name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "…"
    return ModelNotFound(f"There is no model {shown!r}. GET /v1/models lists {advice}.", param="model")


def _nearest(name: str, catalog: Catalog) -> list[str]:
    return difflib.get_close_matches(name[:LONGEST_NAME], catalog.models, n=SHOWN_NAMES + 1, cutoff=0.0)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN_NAMES]) + (", …" if len(names) > SHOWN_NAMES else "")
