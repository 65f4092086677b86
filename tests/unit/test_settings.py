"""A setting that cannot be used is refused in one sentence that names its variable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from localai_flask.settings import Settings

ROOT = Path(__file__).parents[2]

UNUSABLE = {
    "LOCALAI_THREADS": "many",
    "LOCALAI_WORKERS": "0",
    "LOCALAI_HTTP_THREADS": "-1",
    "LOCALAI_GRACEFUL_TIMEOUT": "-5",
    "LOCALAI_REQUEST_TIMEOUT": "nan",
    "LOCALAI_LOAD_STALL_TIMEOUT": "inf",
    "LOCALAI_F16": "maybe",
    "LOCALAI_LOG_LEVEL": "loud",
    "LOCALAI_ADDRESS": "localhost",
}


@pytest.mark.parametrize(("variable", "value"), UNUSABLE.items())
def test_what_cannot_be_used_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{variable}='{value}' .*\\.$"):
        Settings.from_environment({variable: value})


@pytest.mark.parametrize("address", [":8080", "0.0.0.0:80", "[::1]:8080", "host-1.example:8080", "unix:/run/x.sock"])
def test_addresses(address: str) -> None:
    assert Settings.from_environment({"LOCALAI_ADDRESS": address}).address == address


def test_settings_survive_the_way_through_the_environment() -> None:
    given = Settings(threads=3, f16=True, load_to_memory=("a", "b"), request_timeout=1.5, log_level="debug")
    assert Settings.from_environment(given.to_environment()) == given


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
