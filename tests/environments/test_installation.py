"""Environments are installed by the real pip into real virtual environments, from wheels that lie here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from localai_flask.backends.environments.folder import Environments, is_in_use
from localai_flask.diagnosis.environments import check_environments
from localai_flask.errors import InstallationFailed, Unavailable
from localai_flask.settings import Settings
from tests.environments.conftest import SET, install_here

pytestmark = pytest.mark.usefixtures("only_wheels", "echo_kind")


def asked(python: Path, code: str) -> str:
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_an_environment_is_installed_tried_listed_and_deleted(tmp_path: Path) -> None:
    made = install_here(tmp_path)
    assert made.record.version == "1.5" and made.record.platform == "cpu" and made.record.size > 1_000_000
    assert not made.fault and asked(made.python, "import parrot; print(parrot.VOICE)") == "loud"
    found = "import importlib.util; print(importlib.util.find_spec('harmful'))"
    assert asked(made.python, found) == "None", "what does harm is uninstalled"
    environments = Environments(tmp_path / "backends")
    assert environments.find("parrot") is not None and not environments.remnants("parrot")
    assert environments.delete("parrot") == made.record.size
    assert environments.find("parrot") is None and not (tmp_path / "backends" / "parrot").exists()
    assert environments.delete("parrot") is None


def test_what_others_keep_in_the_folder_stays(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "backends")
    theirs = tmp_path / "backends" / "parrot" / "lib"
    theirs.mkdir(parents=True)
    assert environments.delete("parrot") is None and environments.delete("../backends/parrot") is None
    install_here(tmp_path)
    assert environments.delete("parrot") and [*(tmp_path / "backends" / "parrot").iterdir()] == [theirs]


def test_one_that_does_not_generate_does_not_count_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(
        InstallationFailed, match=r"tiny model failed.*It said: ModuleNotFoundError: No module named 'msgspec' \("
    ):
        install_here(tmp_path, SET.replace("msgspec\n", ""))
    environments = Environments(tmp_path / "backends")
    assert environments.find("parrot") is None and not environments.remnants("parrot")


def test_a_requirement_that_is_not_there_leaves_the_former_environment(tmp_path: Path) -> None:
    before = install_here(tmp_path)
    with pytest.raises(InstallationFailed, match="No matching distribution found for absent"):
        install_here(tmp_path, SET + "absent\n")
    found = Environments(tmp_path / "backends").find("parrot")
    assert found is not None and found.path == before.path and not found.fault


def test_one_that_a_worker_runs_on_is_not_deleted(tmp_path: Path) -> None:
    made, environments = install_here(tmp_path), Environments(tmp_path / "backends")
    worker = subprocess.Popen(["sleep", "60"], pass_fds=[held := made.hold()])
    os.close(held)
    try:
        assert is_in_use(made.path)
        with pytest.raises(Unavailable, match="localai-flask stop MODEL"):
            environments.delete("parrot")
        assert environments.find("parrot") is not None
    finally:
        worker.kill()
        worker.wait()
    assert environments.delete("parrot")


def test_the_doctor_finds_what_is_wrong_with_environments(tmp_path: Path) -> None:
    folder = tmp_path / "backends"
    settings = Settings(backends_path=str(folder))
    assert [*check_environments(settings)] == []
    made = install_here(tmp_path)
    [found] = check_environments(settings)
    assert found.status == "warning" and "asks for another" in found.text, "this package ships no such set"
    assert found.advice == "localai-flask backends install parrot"
    (folder / "parrot" / "0123abcd").mkdir()
    assert ["has left" in each.text for each in check_environments(settings)] == [False, True]
    made.python.unlink()
    assert [each.status for each in check_environments(settings)] == ["problem", "warning"]
