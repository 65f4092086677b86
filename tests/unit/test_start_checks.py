"""What must not start says why in one sentence and ends; what works in part says what does not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localai_flask.address import Address
from localai_flask.engine_build import wheel
from localai_flask.engine_build.compilers import BuildError
from localai_flask.server.start_checks import find_doubts, find_faults
from localai_flask.settings import Settings

ROOT = Path(__file__).parents[2]
LOCAL = Address("127.0.0.1", 8080)
PUBLIC = Address("0.0.0.0", 8080)


def faults(address: Address = LOCAL, *, models: Path = ROOT / "models", **settings: Any) -> list[str]:
    return list(find_faults(Settings(models_path=models, **settings), [address]))


def test_a_server_that_can_start_has_no_faults(tmp_path: Path) -> None:
    assert faults() == []
    assert faults(Address("localhost", 0)) == []
    assert faults(Address(path=str(tmp_path / "x.sock"))) == []
    assert faults(PUBLIC, api_key=("secret",)) == faults(PUBLIC, allow_insecure_public_bind=True) == []
    assert faults(database_url=f"sqlite:///{tmp_path}/sub/x.db") == []
    assert faults(database_url="postgresql://user:password@no.such.host.invalid/name") == []


def test_it_runs_on_linux_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    (found,) = faults()
    assert found.startswith("localai-flask runs on Linux only")
    with pytest.raises(BuildError, match="on Linux only"):
        wheel.install([])


def test_no_models_folder(tmp_path: Path) -> None:
    (found,) = faults(models=tmp_path / "none")
    assert f"{tmp_path}/none does not exist: make it" in found and "--models-path" in found
    file = tmp_path / "file"
    file.touch()
    assert "is no folder" in faults(models=file)[0]


def test_an_address_that_another_program_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        doubts = list(find_doubts(Settings(models_path=ROOT / "models", address=f"127.0.0.1:{port}")))
        assert any(f"another program listens on 127.0.0.1:{port}: stop it, or" in doubt for doubt in doubts)
    doubts = list(find_doubts(Settings(models_path=ROOT / "models", address=f"127.0.0.1:{port}")))
    assert not any("another program" in doubt for doubt in doubts)


def test_a_public_address_without_a_key() -> None:
    (found,) = faults(PUBLIC)
    assert "refusing to listen on 0.0.0.0:8080 without an API key: set LOCALAI_API_KEY" in found


def test_a_file_of_keys_counts_as_keys_and_has_to_be_readable(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    (found,) = faults(PUBLIC, api_keys_file=str(file))
    assert f"LOCALAI_API_KEYS_FILE cannot be used: {file} does not exist" in found and "keys add" in found
    file.write_text("alice: {}\n")
    (found,) = faults(api_keys_file=str(file))
    assert f"{file}, line 1: the key 'alice' cannot be used" in found
    file.write_text("# none yet\n")
    assert faults(PUBLIC, api_keys_file=str(file)) == []


def test_localais_folder_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "runtime_settings.json").write_text("{}")
    (doubt,) = (each for each in find_doubts(Settings(config_dir=str(tmp_path))) if "runtime_settings" in each)
    assert "is not read" in doubt
    (tmp_path / "api_keys.json").write_text("{}")
    (found,) = faults(PUBLIC, config_dir=str(tmp_path))
    assert "api_keys.json is no list of keys" in found
    (tmp_path / "api_keys.json").write_text('["secret"]')
    assert faults(PUBLIC, config_dir=str(tmp_path)) == []
    assert any("no folder" in each for each in find_doubts(Settings(config_dir=str(tmp_path / "none"))))


def test_a_file_of_models_that_is_not_there(tmp_path: Path) -> None:
    (found,) = faults(models_config_file=str(tmp_path / "models.yaml"))
    assert "LOCALAI_MODELS_CONFIG_FILE" in found


def test_pages_of_all_origins_are_a_doubt_where_there_are_no_keys() -> None:
    for lax in ({"cors": True}, {"cors_allow_origins": ("*",)}):
        doubts = list(find_doubts(Settings(models_path=ROOT / "models", **lax)))
        assert any("every web page" in doubt for doubt in doubts)
    for strict in ({"cors": True, "api_key": ("k",)}, {"cors": True, "cors_allow_origins": ("https://a.b",)}):
        doubts = list(find_doubts(Settings(models_path=ROOT / "models", **strict)))
        assert not any("every web page" in doubt for doubt in doubts)


def test_what_is_no_origin_of_a_web_page_is_a_doubt() -> None:
    wrong = ("example.org", "https://a.b/", "https://A.b", "https://a.b/chat")
    right = ("https://a.b", "http://localhost:3000", "http://[::1]:3000", "null", "app://obsidian.md")
    settings = Settings(models_path=ROOT / "models", cors_allow_origins=(*wrong, *right))
    found = [doubt for doubt in find_doubts(settings) if "LOCALAI_CORS_ALLOW_ORIGINS names" in doubt]
    assert len(found) == len(wrong)
    assert all(repr(origin) in doubt for origin, doubt in zip(wrong, found, strict=True))


def test_addresses_that_cannot_be_listened_on(tmp_path: Path) -> None:
    found = faults(Address("no-such-host.invalid", 80), api_key=("secret",))
    assert len(found) == 1 and "no-such-host.invalid has no address here" in found[0]
    assert "there is no folder" in faults(Address(path=str(tmp_path / "none" / "x.sock")))[0]
    (tmp_path / "x.sock").touch()
    assert "something else has this name" in faults(Address(path=str(tmp_path / "x.sock")))[0]


def test_the_socket_of_another_server_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = Address(path=str(tmp_path / "x.sock"))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(address.path)
        assert faults(address) == []  # left behind: nobody listens there
        other.listen()
        (found,) = faults(address)
        assert f"the Unix socket {address.path}: another server listens there; stop it" in found
        with monkeypatch.context() as patch:
            patch.setenv("GUNICORN_FD", "5")
            assert faults(address) == []
    assert faults(address) == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nonsense", "Write it like postgresql://"),
        ("postgresql://user:hunter2@host:port/name", "its port is no number"),
        ("postgresql://user:hunter2@host:42hunter2/name", "its port is no number"),
        ("nosuchkind://user:hunter2@host/name", "nosuchkind"),
        ("sqlite:////dev/null/x.db", "/dev/null is no folder: name a file that can be written"),
        (f"sqlite:///{ROOT}", "cannot be written by this user: name a file"),
    ],
)
def test_an_unusable_database(url: str, why: str) -> None:
    (found,) = faults(database_url=url)
    assert why in found and "LOCALAI_DATABASE_URL" in found
    assert "hunter2" not in found


def test_responses_that_cannot_be_stored_are_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert list(find_doubts(Settings())) == []
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    (found,) = find_doubts(Settings())
    assert "/dev/null is no folder: set XDG_STATE_HOME" in found
    assert list(find_doubts(Settings(database_url="postgresql://host/name"))) == []


@pytest.mark.skipif(os.getuid() == 0, reason="root may write to every folder")
def test_folders_of_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be written by this user" in faults(database_url=f"sqlite:///{tmp_path}/x.db")[0]
    assert "cannot write to" in faults(Address(path=str(tmp_path / "x.sock")))[0]
    tmp_path.chmod(0o300)
    assert "cannot be read by this user" in faults(models=tmp_path)[0]
    tmp_path.chmod(0o700)


COMMANDS = {
    "command": ["-m", "localai_flask", "serve"],
    "gunicorn": ["-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")],
}


def start(command: list[str], scratch: Path, **environment: str) -> tuple[int, str]:
    """Start a server that must not start, and return its exit status and what it says."""
    given = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(scratch), **environment}
    command = [sys.executable, *command]
    done = subprocess.run(command, env=given, cwd=scratch, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_faults_end_the_server_however_it_is_started(command: list[str], tmp_path: Path) -> None:
    status, said = start(command, tmp_path, LOCALAI_DATABASE_URL="nonsense", LOCALAI_ADDRESS="127.0.0.1:0")
    assert status not in (0, None)
    assert f"the models folder {tmp_path}/models does not exist" in said, "the default folder"
    assert "LOCALAI_DATABASE_URL cannot be used" in said, "all faults are told at once"
    assert "Traceback" not in said and "Booting worker" not in said


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_gunicorns_own_settings_open_no_door(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    status, said = start(command, tmp_path, GUNICORN_CMD_ARGS="--bind 127.0.0.1:0 --bind 0.0.0.0:0")
    assert status not in (0, None)
    assert "refusing to listen on 0.0.0.0:0 without an API key" in said


def test_an_inherited_socket_is_looked_at_too(tmp_path: Path) -> None:
    from localai_flask.server.gunicorn_settings import _read_address

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        assert _read_address(listening.fileno()).host == "127.0.0.1"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "x.sock"))
        assert _read_address(listening.fileno()).path == str(tmp_path / "x.sock")


def test_a_variable_that_is_no_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAI_THREAD", "3")
    monkeypatch.setenv("LOCALAI_P2P", "true")
    monkeypatch.setenv("LOCALAI_THREADS", "3")
    doubts = [doubt for doubt in find_doubts(Settings(models_path=tmp_path)) if "no setting" in doubt]
    assert doubts == [
        "LOCALAI_P2P is no setting of this server and has no effect",
        "LOCALAI_THREAD is no setting of this server and has no effect; perhaps LOCALAI_THREADS is meant",
    ]


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "no-such-name.invalid"])
def test_an_address_of_another_machine_is_a_fault(tmp_path: Path, host: str) -> None:
    (fault,) = find_faults(Settings(models_path=tmp_path, api_key=("k",)), [Address(host=host, port=8080)])
    assert "cannot listen on" in fault and "has no address here" in fault


def test_limits_that_contradict_each_other(tmp_path: Path) -> None:
    def said(**settings: Any) -> str:
        return " ".join(find_doubts(Settings(models_path=ROOT / "models", address="127.0.0.1:0", **settings)))

    assert "LOCALAI_MAX_ACTIVE_BACKENDS=3 has no effect" in said(single_active_backend=True, max_active_backends=3)
    assert "LOCALAI_MAX_ACTIVE_BACKENDS" not in said(single_active_backend=True) + said(max_active_backends=3)
