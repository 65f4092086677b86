"""The programs that this engine can be, where each of them is found, and what it says of itself."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from localai_flask.backends.environments.folder import Environments
from localai_flask.errors import ConfigError
from localai_flask.machine import cpu_flags
from localai_flask.settings import Settings

ANSWER_S = 20.0
"""How long a program may take to describe itself."""
FILE = "llama-server"
BEGINS_FLAG = re.compile(r" {0,12}--?[A-Za-z]")
FLAG = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")


class Program(NamedTuple):
    """A build of llama.cpp's server: the setting that names it, what it is called on PATH, and what it needs."""

    backend: str
    setting: str
    names: tuple[str, ...]
    needs_cpu: tuple[str, ...] = ()


PROGRAMS = {
    "llama-server": Program("llama-server", "llama_server", (FILE,)),
    "ik-llama-cpp": Program(
        "ik-llama-cpp", "ik_llama_server", ("ik-llama-server", "ik_llama-server", "llama-server-ik"), ("avx2",)
    ),
    "turboquant": Program("turboquant", "turboquant_server", ("turboquant-server", "llama-server-turboquant")),
}
"""A fork is not taken under the name that all of them have, which is llama.cpp's own on most machines."""


def find_program(backend: str, settings: Settings) -> Path | None:
    """Return where a backend's program is: where its setting says, in its folder of backends, or on PATH."""
    program = PROGRAMS[backend]
    if named := getattr(settings, program.setting):
        return Path(named).expanduser()
    installed = Environments(settings.backends_folder).find(backend)
    if installed is not None and installed.program is not None:
        return installed.program
    found = next(filter(None, map(shutil.which, program.names)), None)
    return Path(found) if found else None


def require_program(backend: str, settings: Settings) -> Path:
    """Return where a backend's program is; raise `ConfigError` if it is not there, or cannot run here."""
    program, path = PROGRAMS[backend], find_program(backend, settings)
    setting = f"LOCALAI_{program.setting.upper()}"
    if path is None:
        raise ConfigError(
            f"The {backend} backend needs its program `{FILE}`, which is not there; build it with "
            f"`localai-flask backends install {backend}`, or name it in {setting}.",
            param="backend",
        )
    if not path.is_file():
        raise ConfigError(f"{setting} names {path}, which is no file; correct it.", param="backend")
    if lacking := [flag for flag in program.needs_cpu if not cpu_flags() >= {flag}]:
        raise ConfigError(
            f"The {backend} backend needs a processor with {', '.join(lacking).upper()}, which this one has not; use "
            "`backend: llama-cpp`.",
            param="backend",
        )
    return path


class Abilities(NamedTuple):
    """What a program's help says: its flags, and the words that some of them take."""

    flags: frozenset[str]
    choices: Mapping[str, frozenset[str]]
    joins_scales: bool = False
    """Whether an adapter's scale stands behind a colon, and not as another argument."""


def describe(path: Path) -> Abilities:
    """Return what a program can do, by its own words; raise `ConfigError` if it cannot be run."""
    return _describe(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _describe(path: Path, _mtime_ns: int) -> Abilities:
    return read_help(run(path, "--help"))


def run(path: Path, argument: str) -> str:
    """Return what a program prints for one argument; raise `ConfigError` if it cannot be run."""
    try:
        ran = subprocess.run(
            [path, argument], stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        said = error.strerror if isinstance(error, OSError) else f"it takes more than {ANSWER_S:.0f} s"
        raise ConfigError(f"{path} cannot be run: {said}.", param="backend") from error
    said = (ran.stdout + ran.stderr).decode(errors="replace")
    if ran.returncode < 0 or not said:
        raise ConfigError(f"{path} ends at once (exit status {ran.returncode}); build it anew.", param="backend")
    return said


def read_help(text: str) -> Abilities:
    """Read the flags from a help page, on whose lines they stand first; explanations are indented further."""
    flags: set[str] = set()
    choices: dict[str, set[str]] = {}
    latest: list[str] = []
    for line in text.splitlines():
        if BEGINS_FLAG.match(line):
            latest = FLAG.findall(_head(line))
            flags.update(latest)
        if words := re.search(r"allowed values: *(.+)", line):
            for flag in latest:
                choices[flag] = set(re.findall(r"[\w.]+", words[1]))
    joins_scales = "FNAME:SCALE" in text
    return Abilities(frozenset(flags), {flag: frozenset(words) for flag, words in choices.items()}, joins_scales)


def _head(line: str) -> str:
    """Return the part of a line that has its flags, in front of the explanation behind two blanks and more."""
    parts = re.split(r"(?<=[^,\s|]) {2,}", line.strip(), maxsplit=1)
    return parts[0]
