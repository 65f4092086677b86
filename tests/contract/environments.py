"""The interpreters of the engines' environments, which are installed as users install them, once, into a cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from localai_flask.backends.environments.folder import Environments
from localai_flask.backends.environments.recipes import is_outdated
from tests.contract.engine import Engine
from tests.support.real_models import cache_folder

CHOSEN = "TESTS_ENGINES"
"""The environment variable that names the engines to test: "quick", also where it is not set, "others" or "all"."""
INSTALL_S = 1800
"""How long an installation may take, downloads included."""
ROOT = Path(__file__).resolve().parents[2]


def is_chosen(engine: Engine) -> bool:
    chosen = os.environ.get(CHOSEN, "").split() or ["quick"]
    return not {engine.name, "all", "quick" if engine.is_quick else "others"}.isdisjoint(chosen)


def backends_folder() -> Path:
    """Return where the environments lie; whoever has them elsewhere says so as for the server."""
    return Path(os.environ.get("LOCALAI_BACKENDS_PATH") or cache_folder() / "backends")


@cache
def interpreter(environment: str) -> str:
    """Return the Python of an environment, which is installed if it is not there."""
    if not environment:
        return sys.executable
    found = Environments(backends_folder()).find(environment)
    if found is None or found.fault or is_outdated(found):
        command = [sys.executable, "-m", "localai_flask", "backends", "install", environment, "--cpu"]
        settings = os.environ | {"LOCALAI_BACKENDS_PATH": str(backends_folder()), "PYTHONPATH": import_path()}
        subprocess.run(command, env=settings, check=True, stdin=subprocess.DEVNULL, timeout=INSTALL_S)
        found = Environments(backends_folder()).find(environment)
    assert found is not None
    return str(found.python)


def import_path(*folders: Path) -> str:
    """Return what processes of the tests import from: these folders, this repository, and what was set before."""
    return os.pathsep.join(filter(None, (*map(str, folders), str(ROOT), os.environ.get("PYTHONPATH", ""))))


def ask_library(engine: Engine, imports: str, module: str, verb: str, **arguments: Any) -> Any:
    """Call a function of `tests.contract.own_answers` in the engine's environment, where `imports` is PYTHONPATH."""
    python = interpreter(engine.environment)
    path = os.pathsep.join((str(Path(python).parent), os.environ["PATH"]))
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        done = subprocess.run(
            [python, "-m", "tests.contract.own_answers", module, verb, str(answer)],
            env=os.environ
            | {"PYTHONPATH": imports, "HF_HUB_OFFLINE": "1", "PATH": path, "OMP_WAIT_POLICY": "passive"}
            | dict(engine.settings),
            input=json.dumps(arguments),
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            cwd=folder,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout
        return json.loads(answer.read_text())
