"""`launch`: what clients are told of the server, and that they are started with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from localai_flask.cli.launch.clients import CLIENTS
from tests.cli.conftest import FakeServer, run

REPORTER = """\
#!/bin/sh
env > "$REPORT.env"
printf '%s\\n' "$0" "$@" > "$REPORT.args"
test -z "$OPENCODE_CONFIG" || cp "$OPENCODE_CONFIG" "$REPORT.file"
"""
PROGRAMS = {"claude": "claude", "codex": "codex", "opencode": "opencode", "aider": "aider", "continue": "cn"}


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have every client installed as a program that writes down how it was called."""
    for name in PROGRAMS.values():
        (tmp_path / name).write_text(REPORTER)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("REPORT", str(tmp_path / "report"))
    return tmp_path / "report"


def launch(fake: FakeServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Launch in a process of its own, as the client takes its place."""
    return subprocess.run(
        [sys.executable, "-m", "localai_flask", "launch", "--url", fake.url, "--api-key", "secret", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_client_is_started_with_its_own_arguments(fake: FakeServer, report: Path) -> None:
    done = launch(fake, "claude", "-m", "small", "--", "--continue", "-p", "Hello")
    assert done.returncode == 0, done.stderr
    program, *arguments = report.with_suffix(".args").read_text().splitlines()
    assert Path(program).name == "claude"
    assert arguments == ["--model", "small", "--continue", "-p", "Hello"]
    environment = dict(line.partition("=")[::2] for line in report.with_suffix(".env").read_text().splitlines())
    assert environment["ANTHROPIC_BASE_URL"] == fake.url and environment["ANTHROPIC_API_KEY"] == "secret"
    assert environment["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "small"
    assert environment["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "2048"
    assert "small takes 2048 tokens, little for agents" in done.stderr


def test_a_file_of_settings_is_for_this_user_alone(fake: FakeServer, report: Path, tmp_path: Path) -> None:
    assert launch(fake, "opencode", "-m", "small").returncode == 0
    settings = json.loads(report.with_suffix(".file").read_text())
    provider = settings["provider"]["local"]
    assert provider["options"] == {"baseURL": f"{fake.url}/v1", "apiKey": "secret"}
    assert settings["model"] == "local/small" and provider["models"]["small"]["limit"]["context"] == 2048
    [file] = (tmp_path / "state").rglob("opencode.json")
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_printed_can_be_run(client: str, fake: FakeServer, report: Path) -> None:
    printed = run("launch", client, "--model", "small", "--print", "--", "it's")
    assert printed.exit_code == 0, printed.output
    assert not report.with_suffix(".args").exists(), "nothing was started"
    done = subprocess.run(["sh", "-euc", printed.stdout], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    program, *arguments = report.with_suffix(".args").read_text().splitlines()
    assert Path(program).name == PROGRAMS[client] and arguments[-1] == "it's"


def test_a_client_that_is_not_there_is_named_with_what_installs_it(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("launch", "codex")
    assert result.exit_code == 1
    assert "`npm install -g @openai/codex`" in result.stderr


def test_a_model_that_is_not_there_is_not_found(fake: FakeServer) -> None:
    assert run("launch", "codex", "-m", "none", "--print").exit_code == 4


def test_clients_do_not_reach_unix_sockets(unix_fake: FakeServer) -> None:
    assert run("launch", "codex", "--url", unix_fake.url).exit_code == 2
