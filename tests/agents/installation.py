"""Each program in a folder of its own: packages of npm, or a virtual environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.agents.programs import Program


def install(program: Program, programs: Path) -> None:
    """Install a program, unless its folder is there."""
    folder = programs / program.name
    if (folder / "installed").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if program.is_npm:
        # With no tag npm takes the newest that names this version of Node.js, which may be old.
        newest = [f"{package}@latest" for package in program.packages]
        _run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *newest)
    else:
        _run(sys.executable, "-m", "venv", str(folder))
        _run(f"{folder}/bin/pip", "install", "--quiet", *program.packages)
    if program.setup:
        _run(*program.setup, cwd=folder)
    (folder / "installed").touch()


def version(program: Program, programs: Path) -> str:
    """Return the version of a program's first package."""
    folder, package = programs / program.name, program.packages[0].partition("[")[0]
    if program.is_npm:
        return str(json.loads((folder / "node_modules" / package / "package.json").read_text())["version"])
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    return subprocess.run([f"{folder}/bin/python", "-c", code], capture_output=True, text=True).stdout.strip()


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
