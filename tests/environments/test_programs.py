"""Programs are built into the folder of environments, tried there, and found there; the build itself is made up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localai_flask import backends
from localai_flask.backends.environments import programs
from localai_flask.backends.environments.folder import Environment, Environments
from localai_flask.backends.environments.installation import install
from localai_flask.backends.environments.programs import Program
from localai_flask.backends.environments.recipes import choose_recipe, is_outdated
from localai_flask.backends.llama_server.programs import find_program
from localai_flask.errors import ConfigError, InstallationFailed
from localai_flask.gallery.progress import Progress
from localai_flask.settings import Settings

BUILD = """
import pathlib, sys
from tests.support.fake_llama_server import write_program
command, _, target, _, source, platform = sys.argv[1:]
print("Compiling llama.cpp: 50%, about 0:01 min left", flush=True)
if source == "/broken":
    sys.exit("Error: /broken has no sources of llama.cpp's server.")
write_program(pathlib.Path(target))
"""


@pytest.fixture(autouse=True)
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "made_up_build.py").write_text(BUILD)
    monkeypatch.setattr(programs, "BUILD", "made_up_build")
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (folder, root))))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


def build_here(folder: Path, source: str = "", seen: list[Progress] | None = None) -> Environment:
    recipe = Program("ik-llama-cpp", "cpu", source)
    return install(recipe, Environments(folder), report=(seen if seen is not None else []).append)


def test_a_program_is_built_tried_and_found(tmp_path: Path) -> None:
    settings, seen = Settings(backends_path=str(tmp_path)), list[Progress]()
    environments = Environments(tmp_path)
    assert find_program("ik-llama-cpp", settings) is None and not backends.is_installed("ik-llama-cpp", environments)
    made = build_here(tmp_path, seen=seen)
    assert made.program is not None and not made.fault and made.record.python == ""
    assert any(each.fraction == 0.5 and each.file.startswith("Compiling") for each in seen)
    assert find_program("ik-llama-cpp", settings) == made.program and not is_outdated(made)
    assert backends.is_installed("ik-llama-cpp", environments)
    made.program.unlink()
    with pytest.raises(ConfigError, match=r"its program .* is gone; mend it with: localai-flask backends install ik"):
        backends.find_environment("ik-llama-cpp", environments)


def test_a_build_that_fails_leaves_the_former_program(tmp_path: Path) -> None:
    before = build_here(tmp_path, "/elsewhere")
    assert not is_outdated(before) and before.record.digest == "", "nobody knows what other sources there are"
    with pytest.raises(InstallationFailed, match="Error: /broken has no sources"):
        build_here(tmp_path, "/broken")
    assert find_program("ik-llama-cpp", Settings(backends_path=str(tmp_path))) == before.program


def test_names_are_checked() -> None:
    with pytest.raises(ConfigError, match="no environment of a backend 'llama-serv'; perhaps llama-server is meant"):
        choose_recipe("llama-serv")
    with pytest.raises(ConfigError, match="installed from packages; leave `--source` out"):
        choose_recipe("transformers", source="/x")
