"""Which model a name means, over a models folder that may change at any time, and when that was looked at."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import ClassVar

from localai_flask.config.files.listing import Entry, look, look_at
from localai_flask.config.files.settling import Settling
from localai_flask.config.folder.catalog import Catalog, MayUse, build, loaded_from
from localai_flask.config.folder.look import NEVER, Look
from localai_flask.config.folder.naming import again, check_parent, find, fits, follow, list_some, not_found, target_of
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
        config = follow(catalog, found) if found.alias else found
        check_parent(catalog, config)
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
            found = find(self._current().only(may_use), name)
        except ApiError:
            found = None  # perhaps the look fell into the middle of somebody's writing
        found = found or find(self._current(0.0).only(may_use), name)  # its file may just have come
        if found is None:
            raise not_found(name, self._catalog.only(may_use))
        return found

    def target_of(self, config: ModelConfig) -> ModelConfig:
        """Return the model that answers requests for a listed one, of which an alias is only a second name.

        An alias that leads nowhere stands for itself.
        """
        return target_of(self._current(), config)

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
        fitting = next((each for each in candidates if fits(each, usecase)), None)
        if fitting is None and len(candidates) > 1:
            names = list_some([each.name for each in candidates])
            raise InvalidRequest(
                f"Name a model: none is known to fit this request ({usecase}) among {names}.", param="model"
            )
        return self.get((fitting or candidates[0]).name, may_use)

    def is_model(self, name: str, may_use: MayUse | None = None) -> bool:
        """Return whether `get` knows the name, be the model usable or not."""
        catalog = self._current().only(may_use)
        try:
            return find(catalog, name) is not None
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
            return again(problem)
        for error in catalog.incomplete.values():
            return ApiError.from_info(error)
        folder = self.settings.models_path.absolute()
        return ModelNotFound(
            f"There is no model to use in {folder}; put a .gguf file or a YAML file there.", param="model"
        )
