"""The programs that fill an environment: uv if it is there, as it is faster and keeps one copy of a package, else pip.

Both ask the package indexes that pip is set to, unless uv is set to others.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from localai_flask.backends.environments.requirement_sets import OVERRIDES
from localai_flask.gallery.sources.pip_settings import PipSettings, read_settings

OWN_INDEXES = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_CONFIG_FILE", "UV_NO_INDEX")
"""Variables by which somebody has told uv where packages come from."""
ANOTHERS = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
Command = list[str]
_QUIET = ("--disable-pip-version-check", "--no-input")
_HAS_PIP = importlib.util.find_spec("pip") is not None


class PackageTool(ABC):
    """What makes, fills and thins out an environment: command lines, and the variables that they need."""

    name: str

    def __init__(self, extra_indexes: Sequence[str] = (), *, offline: bool = False):
        self.extra_indexes, self.offline = extra_indexes, offline

    def environment(self) -> dict[str, str]:
        """Return variables without those by which a Python would find other packages than an environment's."""
        found = {key: value for key, value in os.environ.items() if key not in ANOTHERS}
        return found | {"PYTHONUNBUFFERED": "1"}

    @abstractmethod
    def create(self, folder: Path) -> Command: ...

    @abstractmethod
    def install(self, folder: Path, requirements: Path) -> Command: ...

    @abstractmethod
    def resolve(self, requirements: Path) -> Command:
        """Return what finds out whether requirements can be had together, without downloading them."""

    @abstractmethod
    def uninstall(self, folder: Path, packages: Sequence[str]) -> Command: ...


class Pip(PackageTool):
    """This interpreter's pip if it has one, which works on others too, else one of the environment's own."""

    name = "pip"

    def create(self, folder: Path) -> Command:
        return [sys.executable, "-m", "venv", *(["--without-pip"] if _HAS_PIP else []), str(folder)]

    def install(self, folder: Path, requirements: Path) -> Command:
        return [*_pip(folder), "install", "-r", str(requirements), *self._sources()]

    def resolve(self, requirements: Path) -> Command:
        command = [sys.executable, "-m", "pip", *_QUIET, "install", "--dry-run", "--ignore-installed"]
        return [*command, "-r", str(requirements), *self._sources()]

    def uninstall(self, folder: Path, packages: Sequence[str]) -> Command:
        return [*_pip(folder), "uninstall", "--yes", *packages]

    def _sources(self) -> Command:
        return [*_each("--extra-index-url", self.extra_indexes), *(["--no-index"] if self.offline else [])]


class Uv(PackageTool):
    name = "uv"

    def __init__(self, program: str, pip: PipSettings, extra_indexes: Sequence[str] = (), *, offline: bool = False):
        super().__init__(extra_indexes, offline=offline)
        self._program, self._pip = program, pip

    def environment(self) -> dict[str, str]:
        made = super().environment()
        for name, value in (("SSL_CERT_FILE", self._pip.certificates), ("ALL_PROXY", self._pip.proxy)):
            if value and not made.get(name):
                made[name] = value
        return made

    def create(self, folder: Path) -> Command:
        return [self._program, "venv", "--python", sys.executable, "--no-project", str(folder)]

    def install(self, folder: Path, requirements: Path) -> Command:
        python = str(folder / "bin" / "python")
        command = [*self._call("install"), "--python", python, "-r", str(requirements)]
        return [*command, *_overrides(requirements), *self._sources()]

    def resolve(self, requirements: Path) -> Command:
        command = [*self._call("compile"), "--quiet", "--no-header", "--python", sys.executable]
        return [*command, str(requirements), *_overrides(requirements), *self._sources()]

    def uninstall(self, folder: Path, packages: Sequence[str]) -> Command:
        return [*self._call("uninstall"), "--python", str(folder / "bin" / "python"), *packages]

    def _call(self, verb: str) -> Command:
        return [self._program, "pip", verb, *(["--offline"] if self.offline else [])]

    def _sources(self) -> Command:
        """Return where to look: the newest that any index has is taken, as by pip."""
        said: Command = []
        if not any(os.environ.get(name) for name in OWN_INDEXES):
            said = _pip_sources(self._pip)
        said += _each("--extra-index-url", self.extra_indexes)
        return [*said, "--index-strategy", "unsafe-best-match"] if "--extra-index-url" in said else said


def _overrides(requirements: Path) -> Command:
    """Return what has uv take other versions than packages ask for, where pip is less strict."""
    return _each("--override", [str(file) for file in [requirements.with_suffix(OVERRIDES)] if file.exists()])


def _pip_sources(pip: PipSettings) -> Command:
    """Return pip's settings in uv's words."""
    said = ["--default-index", pip.indexes[0]] if pip.indexes else ["--no-index"]
    said += _each("--extra-index-url", pip.indexes[1:])
    said += _each("--find-links", pip.find_links)
    said += _each("--constraint", pip.constraints)
    return said + _each("--allow-insecure-host", sorted(pip.trusted))


def _pip(folder: Path) -> Command:
    python = str(folder / "bin" / "python")
    if _HAS_PIP:
        return [sys.executable, "-m", "pip", "--python", python, *_QUIET]
    return [python, "-m", "pip", *_QUIET]


def _each(option: str, values: Sequence[str]) -> Command:
    return [word for value in values for word in (option, value)]


def choose_tool(
    extra_indexes: Sequence[str] = (), *, offline: bool = False, environment: Mapping[str, str] = os.environ
) -> PackageTool:
    """Return uv if it is in PATH or beside this interpreter, else pip."""
    beside = Path(sys.executable).parent / "uv"
    program = shutil.which("uv") or (str(beside) if beside.exists() else "")
    if not program:
        return Pip(extra_indexes, offline=offline)
    return Uv(program, read_settings(environment, "install"), extra_indexes, offline=offline)
