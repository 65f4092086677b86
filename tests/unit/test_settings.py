"""What a setting means: flag beats variable beats default, and what cannot be used is refused in one sentence."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import CliRunner

from localai_flask.address import Address
from localai_flask.cli import main
from localai_flask.settings import Settings
from localai_flask.settings.fields import env_name

ROOT = Path(__file__).parents[2]
FIELDS = dataclasses.fields(Settings)

UNUSABLE = {
    "LOCALAI_THREADS": "many",
    "LOCALAI_WORKERS": "0",
    "LOCALAI_HTTP_THREADS": "-1",
    "LOCALAI_GRACEFUL_TIMEOUT": "-5",
    "LOCALAI_REQUEST_TIMEOUT": "nan",
    "LOCALAI_STREAM_INTERVAL": "10",
    "LOCALAI_LOAD_STALL_TIMEOUT": "inf",
    "LOCALAI_F16": "maybe",
    "LOCALAI_LOG_LEVEL": "loud",
    "LOCALAI_MEMORY_BUDGET": "much",
    "LOCALAI_MAX_ACTIVE_BACKENDS": "-1",
    "LOCALAI_ADDRESS": "localhost",
}


@pytest.mark.parametrize(("variable", "value"), UNUSABLE.items())
def test_what_cannot_be_used_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{variable}='{value}' .*\\.$"):
        Settings.from_environment({variable: value})


@pytest.mark.parametrize(("text", "seconds"), [("0.5", 0.5), ("500ms", 0.5), ("90s", 90.0), ("1h30m", 5400.0)])
def test_times_may_have_units(text: str, seconds: float) -> None:
    assert Settings.from_environment({"LOCALAI_REQUEST_TIMEOUT": text}).request_timeout == seconds


@pytest.mark.parametrize("address", [":8080", "0.0.0.0:80", "[::1]:0", "host-1.example:65535", "unix:/run/x.sock"])
def test_addresses(address: str) -> None:
    assert Settings.from_environment({"LOCALAI_ADDRESS": address}).address == address


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1:65536", "a port is a number from 0 to 65535"),
        ("127.0.0.1:" + "9" * 5000, "a port is a number from 0 to 65535"),
        ("127.0.0.1:http", "write it like 127.0.0.1:8080"),
        ("::1:8080", r"write it like .*\[::1\]:8080"),
        ("[1::2::3]:8080", "1::2::3 is no IPv6 address"),
        ("127.0.0.1,0.0.0.0:8080", "write it like"),
        ("unix:" + "/x" * 60, "at most 107 bytes"),
    ],
)
def test_unusable_addresses(address: str, why: str) -> None:
    with pytest.raises(ValueError, match=rf"^LOCALAI_ADDRESS='.*' cannot be used: .*{why}"):
        Settings.from_environment({"LOCALAI_ADDRESS": address})


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("127.0.0.1:80", False),
        ("127.8.9.10:80", False),
        ("localhost:80", False),
        ("LocalHost.:80", False),
        ("[::1]:80", False),
        ("[::ffff:127.0.0.1]:80", False),
        ("unix:/run/127/x.sock", False),
        ("unix:relative.sock", False),
        (":80", True),
        ("0.0.0.0:80", True),
        ("[::]:80", True),
        ("[::ffff:10.0.0.1]:80", True),
        ("127.evil.example:80", True),
        ("127.1:80", True),
        ("localhost.example:80", True),
        ("192.168.0.1:80", True),
    ],
)
def test_which_addresses_other_machines_reach(address: str, is_public: bool) -> None:
    assert Address.parse(address).is_public == is_public


def test_what_gunicorn_is_told() -> None:
    told = {text: Address.parse(text).bind for text in (":80", "[::1]:80", "unix:///run/x.sock", "localhost:0")}
    assert list(told.values()) == ["0.0.0.0:80", "[::1]:80", "unix:/run/x.sock", "localhost:0"]


def test_settings_survive_the_way_through_the_environment() -> None:
    given = Settings(threads=3, f16=True, load_to_memory=("a", "b"), request_timeout=1.5, log_level="debug")
    assert Settings.from_environment(given.to_environment()) == given


def test_secrets_are_not_shown() -> None:
    settings = Settings(api_key=("hunter2",), database_url="postgresql://me:hunter2@host/name", threads=3)
    assert repr(settings) == str(settings) == "Settings(threads=3, api_key=…, database_url=…)"


def other_than_default(field: dataclasses.Field[Any]) -> Any:
    """A value that the setting takes and that is not its default."""
    default: Any = field.default
    if isinstance(default, bool):
        return not default
    if isinstance(default, int | float):
        return min(default + 1, field.metadata["maximum"])
    if isinstance(default, tuple):
        return ("10.0.0.1", "10.0.0.2")  # texts like any other, but where only addresses count
    others = {
        "address": "127.0.0.1:9",
        "log_level": "debug",
        "settings_file": os.devnull,
        "access_log": "json",
        "autoload_models": "all",
        "memory_budget": "12GB",
        "prompt_cache_size": "12GB",
        "galleries": '[{"name":"other","url":"https://example.org"}]',
        "preload_models": '[{"id":"other"}]',
    }
    return type(default)(others.get(field.name, "other"))


def as_flag(field: dataclasses.Field[Any], value: Any) -> list[str]:
    flag = field.name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", ",".join(value) if isinstance(value, tuple) else str(value)]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command run up to gunicorn's start, with variables of the test's own."""
    monkeypatch.setattr("gunicorn.app.wsgiapp.run", lambda: None)
    monkeypatch.setattr("os.execv", lambda *_: None)
    monkeypatch.setattr(sys, "argv", sys.argv)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LOCALAI_", "LLAMACPP_"))}
    with mock.patch.dict(os.environ, clean, clear=True):
        yield


def serve(*arguments: str) -> None:
    done = CliRunner().invoke(main, ["serve", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_flag_beats_the_variable_which_beats_the_default(field: dataclasses.Field[Any]) -> None:
    other = other_than_default(field)
    rendered = Settings(**{field.name: other}).to_environment()[env_name(field)]
    for variable in (None, rendered):
        for flag in (None, field.default, other):
            os.environ.pop(env_name(field), None)
            if variable is not None:
                os.environ[env_name(field)] = variable
            serve(*(as_flag(field, flag) if flag is not None else []))
            expected = flag if flag is not None else other if variable is not None else field.default
            # What gunicorn's hooks, the manager, the background process and the web workers read.
            assert Settings.from_environment() == Settings(**{field.name: expected})


@pytest.mark.usefixtures("environment")
def test_an_empty_flag_is_the_default_and_an_empty_variable_counts_as_unset() -> None:
    for field in FIELDS:
        os.environ[env_name(field)] = Settings(**{field.name: other_than_default(field)}).to_environment()[
            env_name(field)
        ]
    names = [(field.name.replace("_", "-"), isinstance(field.default, bool)) for field in FIELDS]
    serve(*(f"--no-{name}" if is_flag else f"--{name}=" for name, is_flag in names))
    assert Settings.from_environment() == Settings()


COMMANDS = {
    "command": ["-m", "localai_flask", "serve"],
    "gunicorn": ["-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")],
}


@pytest.mark.parametrize("start", COMMANDS.values(), ids=list(COMMANDS))
def test_the_server_says_so_without_a_traceback(start: list[str], tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "LOCALAI_MODELS_PATH": str(tmp_path), "LOCALAI_WORKERS": "none"}
    done = subprocess.run(
        [sys.executable, *start], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode not in (0, None)
    assert "LOCALAI_WORKERS='none' is not a number" in done.stderr
    assert "Traceback" not in done.stderr


def test_localais_short_names_of_galleries_count_where_the_long_ones_are_not_set() -> None:
    one, two = '[{"name":"one","url":"https://x"}]', '[{"name":"two","url":"https://y"}]'
    assert Settings.from_environment({"GALLERIES": one, "MODELS": "a,b"}).models == ("a", "b")
    assert Settings.from_environment({"GALLERIES": one}).galleries == one
    assert Settings.from_environment({"GALLERIES": one, "LOCALAI_GALLERIES": two}).galleries == two
    with pytest.raises(ValueError, match="LOCALAI_GALLERIES='no' cannot be used: it is no JSON"):
        Settings.from_environment({"GALLERIES": "no"})
