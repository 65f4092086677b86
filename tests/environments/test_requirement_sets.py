"""Every requirement set that the package ships can be had whole from the package index of this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from localai_flask.backends.environments import requirement_sets
from localai_flask.backends.environments.kinds import KINDS
from localai_flask.backends.environments.package_tools import OWN_INDEXES, Pip, Uv, choose_tool
from localai_flask.backends.environments.requirement_sets import (
    FOLDER,
    OVERRIDES,
    RequirementSet,
    choose_set,
    find_sets,
)
from localai_flask.backends.environments.tool_run import NO_NETWORK
from localai_flask.errors import ConfigError
from localai_flask.gallery.sources.pip_settings import PipSettings
from tests.support.required import need_program

SETS = {file.stem: file for file in sorted(FOLDER.glob("*-*.txt")) if OVERRIDES not in file.name}
NOT_EVERYWHERE: dict[str, str] = {}
"""What an index may lack that is behind the others, by set: a package in the resolver's words."""


@pytest.mark.parametrize("stem", SETS)
def test_it_resolves(stem: str) -> None:
    need_program("uv")
    tool = choose_tool()
    command = tool.resolve(SETS[stem])
    done = subprocess.run(command, env=tool.environment(), capture_output=True, text=True, timeout=110, check=False)
    if done.returncode and NO_NETWORK.search(done.stderr):
        pytest.skip(f"no package index can be reached, so nobody knows whether {stem} resolves")
    lacking = NOT_EVERYWHERE.get(stem)
    if done.returncode and lacking and lacking in done.stderr:
        pytest.skip(f"{stem}: the package index here has no {lacking}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("stem", SETS)
def test_it_is_of_a_known_environment_and_says_what_is_needed(stem: str) -> None:
    name, _, platform = stem.rpartition("-")
    found = find_sets(name)[platform]
    assert name in KINDS and found.size > 0 and "msgspec" in found.text and f"\n{found.package}==" in found.text


def test_a_set_has_what_it_includes_and_is_told_from_others_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "worker.txt").write_text("msgspec>=1\n")
    file = tmp_path / "x-cpu.txt"
    file.write_text("# package: xy\n# uninstall: a b\n# size: 2GB\n-r worker.txt\nxy==3\n")
    before = RequirementSet("x", "cpu", file)
    assert before.package == "xy" and before.uninstalled == ("a", "b") and before.size == 2 << 30
    assert before.text.endswith("msgspec>=1\nxy==3\n")
    (tmp_path / "worker.txt").write_text("msgspec>=2\n")
    after = RequirementSet("x", "cpu", file).digest
    assert after != before.digest
    (tmp_path / "x-cpu.overrides.txt").write_text("torch==1\n")
    assert RequirementSet("x", "cpu", file).digest != after
    monkeypatch.setattr(requirement_sets, "FOLDER", tmp_path)
    assert choose_set("x", "", has_card=True).platform == "cpu", "there is none for cards"
    with pytest.raises(ConfigError, match="cannot be installed for cuda; there is --cpu"):
        choose_set("x", "cuda", has_card=True)
    (tmp_path / "x-cuda.txt").write_text("xy==3\n")
    assert choose_set("x", "", has_card=True).platform == "cuda" and choose_set("x", "", has_card=False) == before


def test_uv_asks_where_pip_would(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*OWN_INDEXES, "SSL_CERT_FILE", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    pip = PipSettings(("https://a/s", "https://b/s"), "/ca.pem", "http://p:1", frozenset({"h"}), ("/w",), ("/c.txt",))
    command = Uv("/uv", pip, ("https://t/cpu",)).install(tmp_path, tmp_path / "x-cpu.txt")
    told = " ".join(command)
    assert "--default-index https://a/s --extra-index-url https://b/s --find-links /w --constraint /c.txt" in told
    assert "--allow-insecure-host h" in told and "--extra-index-url https://t/cpu" in told
    assert told.endswith("--index-strategy unsafe-best-match")
    variables = Uv("/uv", pip).environment()
    assert variables["SSL_CERT_FILE"] == "/ca.pem" and variables["ALL_PROXY"] == "http://p:1"
    assert "PYTHONPATH" not in variables
    monkeypatch.setenv("UV_INDEX_URL", "https://own/s")
    assert "--default-index" not in Uv("/uv", pip).install(tmp_path, tmp_path / "x-cpu.txt"), "uv is told by its own"
    assert "--offline" in Uv("/uv", pip, offline=True).install(tmp_path, tmp_path / "x-cpu.txt")
    assert "--no-index" in Pip(offline=True).install(tmp_path, tmp_path / "x-cpu.txt")
