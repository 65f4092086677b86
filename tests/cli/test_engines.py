"""`backends`, and engines of other packages."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from localai_flask import backends
from localai_flask.backends.environments.requirement_sets import find_sets
from localai_flask.cli.exit_codes import FAILED, NOT_FOUND
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError
from tests.cli.conftest import run


def test_backends_are_listed_with_their_versions() -> None:
    listed = {each["name"]: each for each in json.loads(run("backends", "list", "--json").stdout)}
    assert listed["llama-cpp"]["version"].count(".") == 2 and listed["llama-cpp"]["device"]
    assert [line.split("\t")[0] for line in run("backends").stdout.splitlines()] == list(listed)


def test_what_is_missing_is_listed_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "is_installed", lambda name, environments=None: name != "transformers")
    listed = {each["name"]: each for each in json.loads(run("backends", "list", "--json").stdout)}
    assert listed["transformers"]["install"] == "localai-flask backends install transformers"
    assert listed["transformers"]["is_installed"] is False and listed["transformers"]["version"] is None


def test_a_program_of_this_machine_is_listed_with_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "llama-server"
    monkeypatch.setenv("LOCALAI_LLAMA_SERVER", str(program))

    def listed() -> dict[str, Any]:
        found = json.loads(run("backends", "list", "--json").output)
        return next(engine for engine in found if engine["name"] == "llama-server")

    assert listed()["state"] == "broken" and not listed()["is_installed"]
    program.touch()
    assert (listed()["state"], listed()["path"]) == ("installed", str(program))
    assert f"the program {program}" in run("backends", "list").output


@pytest.mark.usefixtures("engine_package")
def test_a_package_brings_an_engine(tmp_path: Path) -> None:
    listed = {each["name"]: each for each in json.loads(run("backends", "list", "--json").stdout)}
    assert listed["parrot"]["version"] == "1.5"
    assert type(backends.create("parrot")).__name__ == "ParrotBackend"
    assert type(backends.create("echo")).__name__ == "EchoBackend", "ours cannot be replaced"
    assert backends.check(ModelConfig(name="m", backend="parrot", context_size=9)) == []
    (note,) = backends.check(ModelConfig(name="m", backend="parrot", rope_freq_base=1.0))
    assert note.is_fault and "`rope_freq_base` is not read by the parrot backend" in note.text
    (tmp_path / "m.yaml").write_text("backend: parrot\nparameters: {model: m.bin}\n")
    assert run("models", "check", tmp_path / "m.yaml").exit_code == 0


def test_an_engine_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(
        ConfigError, match=r"there is no backend 'parrot'; choose one of: .*echo, .*llama-cpp, .*transformers"
    ):
        backends.create("parrot")


def test_engines_of_ours_need_no_look_at_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_of_packages", lambda: pytest.fail("that costs a tenth of a second"))
    assert backends.BACKENDS["echo"].cls == "EchoBackend" and backends.is_installed("echo")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    assert "_LOCALAI_FLASK_COMPLETE" in run("completion", shell).stdout


def test_completion_of_the_shell_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert run("completion").stdout == run("completion", "fish").stdout
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert run("completion").exit_code == 2


def test_completion_knows_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other", "two"):
        (tmp_path / f"{name}.yaml").write_text("backend: echo\n")
    monkeypatch.setenv("LOCALAI_MODELS_PATH", str(tmp_path))
    monkeypatch.setenv("_LOCALAI_FLASK_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "localai-flask show o")
    monkeypatch.setenv("COMP_CWORD", "2")
    from click.testing import CliRunner

    from localai_flask.cli import main

    result = CliRunner().invoke(main, [], prog_name="localai-flask")
    assert result.stdout.splitlines() == ["plain,one", "plain,other"]


def put_environment(folder: Path, digest: str) -> Path:
    """Put what an installed environment looks like into a folder; return its interpreter."""
    home = folder / "rwkv" / "01234567"
    (home / "bin").mkdir(parents=True)
    (home / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (home / "in-use").touch()
    (folder / "rwkv" / "lock").touch()
    (home / "bin" / "python").symlink_to(sys.executable)
    record = {"folder": home.name, "platform": "cpu", "version": "9.1", "digest": digest, "python": "3.11"}
    (folder / "rwkv" / "environment.json").write_text(json.dumps({**record, "size": 5_000_000, "installed_at": 1.0}))
    return home / "bin" / "python"


def test_an_environment_is_listed_with_its_state_and_deleted(tmp_path: Path) -> None:
    def listed() -> dict[str, Any]:
        return {each["name"]: each for each in json.loads(run("backends", "list", *place, "--json").stdout)}["rwkv"]

    place = ("--backends-path", str(tmp_path))
    python = put_environment(tmp_path, find_sets("rwkv")["cpu"].digest)
    found = listed()
    assert (found["state"], found["version"], found["device"], found["size"]) == (
        "environment",
        "9.1",
        "cpu",
        5_000_000,
    )
    assert "installed in its own environment" in run("backends", *place).stdout
    put_record = tmp_path / "rwkv" / "environment.json"
    put_record.write_text(put_record.read_text().replace(find_sets("rwkv")["cpu"].digest, "another"))
    assert listed()["state"] == "outdated" and listed()["install"] == "localai-flask backends install rwkv"
    python.unlink()
    assert listed()["state"] == "broken" and "is gone" in listed()["problem"] and not listed()["is_installed"]
    assert run("backends", "delete", "rwkv", *place).stdout.startswith("rwkv is deleted, which frees 5")
    assert listed()["state"] == "missing" and [*tmp_path.iterdir()] == []
    assert run("backends", "delete", "rwkv", *place).exit_code == NOT_FOUND


def test_what_cannot_be_installed_is_said_before_anything_is_done(tmp_path: Path) -> None:
    done = run("backends", "install", "rwkw", "--backends-path", str(tmp_path))
    assert done.exit_code == FAILED and "perhaps rwkv is meant" in done.stderr
    done = run("backends", "install", "openvino", "--cuda", "--backends-path", str(tmp_path))
    assert done.exit_code == FAILED and "cannot be installed for cuda; there is --cpu" in done.stderr
    assert [*tmp_path.iterdir()] == []
