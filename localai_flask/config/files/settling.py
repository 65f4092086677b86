"""Files that are still being copied: which have been quiet for long enough to be whole, and what is missing of others.

Nothing tells when a copy ends, so two things are asked. Has the file been quiet: by its times, of which `ctime` cannot
be set by who preserves the other, or by two looks where clocks differ? And does it hold what its header promises?
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

from localai_flask.config.files.gguf import CutOffFile, inspect
from localai_flask.config.files.listing import UNFINISHED
from localai_flask.config.files.safetensors import find_gap
from localai_flask.errors import ConfigError, ModelFileChanging

PART = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})\.gguf", re.IGNORECASE | re.DOTALL)
MOST_PARTS = 1000


class State(NamedTuple):
    """What changes whenever something is done to a file."""

    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int

    @property
    def changed_at(self) -> float:
        return max(self.mtime_ns, self.ctime_ns) / 1e9


class Settling:
    """What is known of the files of models from the looks at them so far."""

    quiet_s: ClassVar[float] = 2.0
    """How long a file must not have changed; copies over a network pause, and then the header tells that more comes."""
    patience_s: ClassVar[float] = 10.0
    """How long an incomplete file that does not grow counts as one that is being copied; then it is a faulty one."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time):
        self._monotonic, self._now = monotonic, now
        self._seen: dict[Path, tuple[State, float]] = {}
        self._settled: dict[tuple[Path, ...], str] = {}

    def stamp(self, paths: Iterable[Path]) -> str:
        """Return what changes when other files take the place of these; while they are copied, what it was before."""
        key = tuple(paths)
        files = [file for path in key for file in files_of(path)]
        quiet_s = min(map(self._quiet_s, files), default=self.patience_s)
        stamp = " ".join(f"{state.mtime_ns}-{state.size}-{state.inode}" for state in map(_state, files) if state)
        if quiet_s >= self.patience_s or (quiet_s >= self.quiet_s and not any(map(missing, key))):
            self._settled[key] = stamp
        return self._settled.get(key, stamp)

    def is_incomplete(self, path: Path) -> bool:
        """Return whether a file is new, and being copied to its place."""
        return (path,) not in self._settled and self.is_changing([path]) and missing(path) is not None

    def problem(self, name: str, paths: Iterable[Path]) -> ConfigError | ModelFileChanging | None:
        """Find why a model must not be loaded from these files as they are: for now, or until they are replaced."""
        paths = list(paths)
        files = [file for path in paths for file in (*files_of(path), *_unfinished_beside(path))]
        quiet_s = min(map(self._quiet_s, files), default=self.patience_s)
        lacks = next(filter(None, map(missing, paths)), None)
        if quiet_s >= self.patience_s:
            return lacks
        if quiet_s >= self.quiet_s and lacks is None:
            return None
        share = f" ({lacks.share:.0%} of it is there)" if isinstance(lacks, CutOffFile) else ""
        error = ModelFileChanging(
            f"The file of model {name} is still being copied{share}; try again in a moment.", retry_after=self.quiet_s
        )
        error.is_whole = lacks is None
        return error

    def is_changing(self, paths: Iterable[Path]) -> bool:
        """Return whether the next look may find something else without any name having changed."""
        return any(self._quiet_s(file) < self.patience_s for path in paths for file in files_of(path))

    def _quiet_s(self, file: Path) -> float:
        """Return for how long, at least, a file has not changed."""
        state, moment = _state(file), self._monotonic()
        if state is None:
            return self.patience_s
        before, since = self._seen.get(file, (None, moment))
        if before != state:
            since = moment
            self._seen[file] = state, since
        return max(moment - since, self._now() - state.changed_at)


def files_of(path: Path) -> list[Path]:
    """List the files that a model lies in: itself, all parts of it that are there, or what its folder holds."""
    if match := PART.fullmatch(path.name):
        return [part for part in _parts(path, match) if part.exists()]
    if not path.is_dir():
        return [path]
    try:
        return sorted(Path(item.path) for item in os.scandir(path) if item.is_file())
    except OSError:
        return []


def missing(path: Path) -> ConfigError | None:
    """Find what is missing of a model, as far as its files tell."""
    parts = all_parts(path)
    for part in parts:
        if len(parts) > 1 and not part.exists():
            return ConfigError(
                f"{part}, one of {len(parts)} parts of the model, is not there; put it beside the others."
            )
        if lacks := _missing_of(part):
            return lacks
    return None


def _missing_of(file: Path) -> ConfigError | None:
    if file.is_dir():
        unfinished = next((each for each in files_of(file) if _is_unfinished(each.name)), None)
    else:
        # aria2 gives a file its full length at the beginning, and removes its own file at the end.
        unfinished = control if (control := file.with_name(f"{file.name}.aria2")).exists() else None
    if unfinished is None and file.is_dir() and (gap := find_gap(files_of(file))):
        return ConfigError(gap)
    if unfinished is not None:
        return ConfigError(f"{unfinished} says that a download was not finished; go on with it, or remove that file.")
    cut_off = _find_cut(file, _state(file))
    return CutOffFile(*cut_off) if cut_off else None


@functools.lru_cache(maxsize=64)
def _find_cut(file: Path, _: State | None) -> tuple[str, float] | None:
    try:
        inspect(file)
    except CutOffFile as error:
        return str(error), error.share
    except ConfigError:  # it is something else; whoever loads it says what
        pass
    return None


def all_parts(path: Path) -> list[Path]:
    """List all files that a model should lie in: itself, or each part if its name is that of a part."""
    return _parts(path, match) if (match := PART.fullmatch(path.name)) else [path]


def _parts(path: Path, match: re.Match[str]) -> list[Path]:
    stem, number, count = match.groups()
    end = path.name[-len(".gguf") :]
    if int(count) > MOST_PARTS or not 1 <= int(number) <= int(count):
        return [path]
    return [path.with_name(f"{stem}-{index:05}-of-{count}{end}") for index in range(1, int(count) + 1)]


def _unfinished_beside(path: Path) -> Iterator[Path]:
    """Find what other programs call a file of the model as long as they write it."""
    match = PART.fullmatch(path.name)
    stem = match[1] if match else path.name
    try:
        items = [item.name for item in os.scandir(path.parent)]
    except OSError:
        return
    for name in items:
        if name.startswith((stem, f".{stem}")) and (name.startswith(".") or _is_unfinished(name)):
            yield path.with_name(name)


def _is_unfinished(name: str) -> bool:
    return Path(name).suffix.lower() in UNFINISHED


def _state(file: Path) -> State | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return State(found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
