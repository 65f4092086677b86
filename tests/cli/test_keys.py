"""`localai-flask keys`, as an administrator uses it."""

import importlib
import json
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from localai_flask.cli import main
from localai_flask.keys.key import Key
from localai_flask.keys.watched import WatchedKeys
from localai_flask.settings import Settings

keys = importlib.import_module("localai_flask.cli.keys")  # by its path, as the command has the module's name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def run(file: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["keys", *words], env={"LOCALAI_API_KEYS_FILE": str(file)})


def test_a_key_is_printed_once_and_its_file_has_only_a_digest(file: Path) -> None:
    made = run(file, "add", "alice", "--admin", "--models", "qwen*, small", "--max-requests", "3", "--priority", "-1")
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    assert secret.startswith("sk-") and secret not in file.read_text() and file.stat().st_mode & 0o777 == 0o600
    found = WatchedKeys(Settings(api_keys_file=str(file))).find(secret)
    assert found == Key("alice", ("qwen*", "small"), True, 3, -1, "key:alice")
    assert run(file, "list").stdout == "alice\tmodels qwen*, small; administrator; 3 requests at once; priority -1\n"
    [listed] = json.loads(run(file, "list", "--json").stdout)
    rights = {"models": ["qwen*", "small"], "admin": True, "max_requests": 3, "priority": -1}
    assert listed == {"name": "alice", **rights}


def test_a_key_is_replaced_with_its_rights(file: Path) -> None:
    first = run(file, "add", "alice", "--models", "small").stdout.strip()
    run(file, "add", "bob")
    assert run(file, "add", "alice").exit_code == 2
    assert run(file, "add", "carol", "--replace").exit_code == 2
    second = run(file, "add", "alice", "--replace", "--admin").stdout.strip()
    keys = WatchedKeys(Settings(api_keys_file=str(file)))
    assert keys.find(first) is None
    assert keys.find(second) == Key("alice", ("small",), True, keeper="key:alice")
    assert run(file, "list").stdout == "bob\tmodels *\nalice\tmodels small; administrator\n"


def test_a_key_is_removed(file: Path) -> None:
    secret = run(file, "add", "alice").stdout.strip()
    keys = WatchedKeys(Settings(api_keys_file=str(file)))
    assert keys.find(secret)
    assert run(file, "remove", "alice").exit_code == 0
    assert keys.find(secret) is None
    gone = run(file, "remove", "alice")
    assert gone.exit_code == 4 and "has no key 'alice'" in gone.output


def test_an_empty_file_is_filled(file: Path) -> None:
    file.touch(mode=0o640)
    assert run(file, "add", "alice").exit_code == 0
    assert run(file, "list").stdout == "alice\tmodels *\n" and file.stat().st_mode & 0o777 == 0o640


def test_mistakes_change_nothing(file: Path) -> None:
    assert run(file, "add", "a/b").exit_code == 2 and not file.exists()
    file.write_text("alice: [\n")
    broken = run(file, "add", "bob")
    assert broken.exit_code == 1 and "line 2" in broken.output and file.read_text() == "alice: [\n"
    assert CliRunner().invoke(main, ["keys", "list"], env={"LOCALAI_API_KEYS_FILE": ""}).exit_code == 2


def test_keys_that_are_added_at_once_are_all_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = keys._write

    def write_late(file: Path, text: str) -> None:
        time.sleep(0.05)
        write(file, text)

    monkeypatch.setattr(keys, "_write", write_late)
    threads = [threading.Thread(target=keys.add.callback, args=(f"key-{n}", False, file)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(line.partition("\t")[0] for line in run(file, "list").stdout.splitlines()) == [
        f"key-{n}" for n in range(4)
    ]
