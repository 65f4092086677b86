"""`localai-flask models check`: what is wrong with the YAML; and which folder is meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from localai_flask.cli import main

FINE = "backend: echo"
ODD = "name: odd\nbackend: llama-cpp\nmmproj: p.gguf\nqqqqq: 1\nmodel: m.gguf\noptions:\n- warmup:true\n- paralel:4\n"
BROKEN = "backend: echo\ncontext_size: many"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"fine": FINE, "odd": ODD, "broken": BROKEN}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["models", *map(str, arguments)])


@pytest.mark.parametrize("before", [True, False])
def test_models_are_listed_with_and_without_the_word(folder: Path, before: bool) -> None:
    where = ["--models-path", folder]
    result = run(*where) if before else run("list", *where)
    assert result.exit_code == 0
    assert [line.split("\t")[:2] for line in result.stdout.splitlines()] == [["fine", "echo"], ["odd", "llama-cpp"]]
    assert result.stderr.startswith("broken cannot be used: ")


@pytest.mark.parametrize("before", [True, False])
def test_a_folder_is_checked_with_lines(folder: Path, before: bool) -> None:
    where = ["--models-path", folder]
    result = run(*where, "check") if before else run("check", *where)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{folder}/broken.yaml, line 2: error: `context_size` must be a whole number, not 'many'.",
        f"{folder}/odd.yaml, line 4: warning: `qqqqq` is unknown.",
        f"{folder}/odd.yaml, line 8: warning: the llama-cpp backend has no option 'paralel'; perhaps 'parallel' is "
        "meant.",
    ]


@pytest.mark.parametrize(
    ("names", "lenient", "strict"),
    [(["fine"], 0, 0), (["odd"], 0, 1), (["broken"], 1, 1), (["fine", "odd"], 0, 1), (["fine", "broken"], 1, 1)],
)
def test_the_exit_code_says_whether_files_are_usable(folder: Path, names: list[str], lenient: int, strict: int) -> None:
    files = [folder / f"{name}.yaml" for name in names]
    assert run("check", *files).exit_code == lenient
    assert run("check", "--strict", *files).exit_code == strict


def test_adapters_beside_and_below_their_parents_are_fine(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("parameters: {model: base.gguf}\nadapters: {short: a.gguf}\n")
    (tmp_path / "late.yaml").write_text("parent: base\nlora_adapter: b.gguf\n")
    for what in (tmp_path, tmp_path / "late.yaml"):
        result = run("check", "--models-path", tmp_path, *([] if what is tmp_path else [what]))
        assert (result.exit_code, "error" in result.stdout) == (0, False), result.stdout


def test_findings_as_json(folder: Path) -> None:
    found = json.loads(run("check", "--json", folder / "odd.yaml").stdout)
    assert [(each["model"], each["line"], each["key"], each["is_fault"]) for each in found] == [
        ("odd", 4, "qqqqq", False),
        ("odd", 8, "options[1]", False),
    ]
    assert json.loads(run("check", "--json", folder / "fine.yaml").stdout) == []


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    result = run("check", "--models-path", tmp_path / "none")
    assert result.exit_code == 2
    assert "There is no folder" in result.output


def test_without_a_folder_here_it_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "localai-flask/models"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(FINE)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("LOCALAI_MODELS_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    assert run().stdout.startswith("mine\techo\t")
    monkeypatch.setenv("LOCALAI_MODELS_PATH", "models")
    assert run().stdout == "", "what is named is taken as it is"
    monkeypatch.delenv("LOCALAI_MODELS_PATH")
    (tmp_path / "models").mkdir()
    assert run().stdout == "", "a folder here comes first"


def test_an_engine_that_is_not_here_makes_a_model_unusable(tmp_path: Path) -> None:
    (tmp_path / "far.yaml").write_text("backend: sglang\nparameters: {model: a/b}\n")
    result = run("check", tmp_path / "far.yaml")
    assert result.exit_code == 1
    assert "line 1: error: `backend: sglang` is not part of this version; `backend: vllm` runs" in result.stdout
