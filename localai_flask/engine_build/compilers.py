"""The compilers of this machine, and whether what they make of AMX works."""

from __future__ import annotations

import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PROBE = Path(__file__).with_name("amx_probe.c")
USUAL = {"CC": ("cc", "gcc", "clang"), "CXX": ("c++", "g++", "clang++")}
LANGUAGES = {"CC": "c", "CXX": "c++"}
LINUX_ONLY = "localai-flask runs on Linux only; docs/install.md says how to run it on macOS and Windows"


class BuildError(Exception):
    """What stands in the way of a build, and what to do about it."""


def find_compilers(environment: Mapping[str, str], own: tuple[str, str] | None = None) -> dict[str, list[str]]:
    """Find the commands that compile C and C++, by their variables: those the user names, else `own`, else the usual.

    Raises `BuildError` if one is not there.
    """
    found = {}
    for index, (variable, usual) in enumerate(USUAL.items()):
        names = usual if own is None else (own[index],)
        there = [[name] for name in names if shutil.which(name)]
        command = shlex.split(environment.get(variable, "")) or (there or [[names[0]]])[0]
        if not shutil.which(command[0]):
            raise BuildError(
                f"There is no compiler {command[0]!r}, and llama.cpp is compiled on this machine: install one (Debian, "
                f"Ubuntu: apt install build-essential; Fedora: dnf install gcc-c++), or name yours in {variable}."
            )
        found[variable] = command
    return found


def gets_amx_wrong(compilers: Mapping[str, Sequence[str]]) -> bool:
    """Compile and run the probe with each compiler; one that knows no AMX makes no mistake with it."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        return False
    with tempfile.TemporaryDirectory() as folder:
        for variable, command in compilers.items():
            program = str(Path(folder) / variable)
            options = ["-x", LANGUAGES[variable], "-O2", "-mamx-tile", "-o", program, str(PROBE)]
            compiled = subprocess.run([*command, *options], capture_output=True, check=False)
            if compiled.returncode == 0 and subprocess.run([program], check=False).returncode != 0:
                return True
    return False


def describe_compilers(compilers: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what tells the compilers' versions apart."""
    commands = ([*command, "--version"] for command in compilers.values())
    return [subprocess.run(each, capture_output=True, text=True, check=False).stdout for each in commands]
