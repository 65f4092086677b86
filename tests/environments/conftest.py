"""A folder of wheels, and an environment for the echo engine that is installed from it: no network is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from localai_flask.backends.environments import kinds
from localai_flask.backends.environments.folder import Environment, Environments
from localai_flask.backends.environments.installation import install
from localai_flask.backends.environments.kinds import Kind
from localai_flask.backends.environments.package_tools import Pip
from localai_flask.backends.environments.packages import Packages
from localai_flask.backends.environments.requirement_sets import RequirementSet
from tests.support.wheels import make_package, repack

SAMPLE = "tiny_sample"
MAKES_NO_FILE = """
import pathlib, sys
from localai_flask.backends.environments.samples import describe
describe(pathlib.Path(sys.argv[1]), options=["scripted"])
"""
SET = """\
# package: parrot
# uninstall: harmful
# size: 30MB
msgspec
packaging
parrot==1.5
harmful
"""


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for package in ("msgspec", "packaging"):
        repack(package, folder)
    make_package("parrot", "1.5", {"parrot.py": "VOICE = 'loud'\n", f"{SAMPLE}.py": MAKES_NO_FILE}, folder)
    make_package("harmful", "1", {"harmful.py": "raise RuntimeError\n"}, folder)
    return folder


@pytest.fixture
def only_wheels(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pip look nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))


@pytest.fixture
def echo_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds.KINDS, "parrot", Kind("echo", SAMPLE))


def write_set(folder: Path, text: str = SET) -> RequirementSet:
    """Write a requirement set for the environment `parrot`."""
    file = folder / "parrot-cpu.txt"
    file.write_text(text)
    return RequirementSet("parrot", "cpu", file)


def install_here(folder: Path, text: str = SET) -> Environment:
    """Install it into a folder."""
    recipe = Packages(write_set(folder, text), Pip())
    return install(recipe, Environments(folder / "backends"), report=lambda progress: None)
