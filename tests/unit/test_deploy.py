"""What `deploy` has for systemd: read by systemd's own tools, and with every folder that the server writes to."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from localai_flask.settings import Settings
from localai_flask.store.place import default_path
from tests.support.required import need_program

SYSTEMD = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = SYSTEMD / "localai-flask.service"


def lines(key: str) -> list[str]:
    return [line.removeprefix(f"{key}=") for line in UNIT.read_text().splitlines() if line.startswith(f"{key}=")]


def test_what_the_server_writes_lies_in_folders_that_systemd_makes() -> None:
    environment = dict(line.split("=", 1) for line in lines("Environment"))
    states = [f"/var/lib/{name}" for name in lines("StateDirectory")[0].split()]
    settings = Settings.from_environment(environment)
    assert str(settings.models_path) in states
    with mock.patch.dict("os.environ", environment, clear=True):
        assert str(default_path(settings).parent) in states
        assert str(Path.home()) in states
    assert [environment["XDG_RUNTIME_DIR"]] == [f"/run/{name}" for name in lines("RuntimeDirectory")]
    assert [environment["XDG_CACHE_HOME"]] == [f"/var/cache/{name}" for name in lines("CacheDirectory")]


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units where their program and their users are there."""
    text = UNIT.read_text().replace("/opt/localai-flask/bin/localai-flask", "/bin/true")
    (tmp_path / UNIT.name).write_text(re.sub(r"^(User|Group)=localai$", r"\1=root", text, flags=re.MULTILINE))
    (tmp_path / "localai-flask.socket").write_text((SYSTEMD / "localai-flask.socket").read_text())
    (tmp_path / f"{UNIT.name}.d").mkdir()
    (tmp_path / f"{UNIT.name}.d" / "gpu.conf").write_text((SYSTEMD / "gpu.conf").read_text())
    return tmp_path


def analyze(*arguments: object) -> tuple[int, str]:
    command = [need_program("systemd-analyze"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_systemd_can_read_the_units(units: Path) -> None:
    assert analyze("verify", units / UNIT.name, units / "localai-flask.socket") == (0, "")


def test_systemd_finds_the_service_hardened(units: Path) -> None:
    # systemd-analyze counts exposure in tenths, from 0 to 100; the service is at 21 without a GPU.
    status, said = analyze("security", "--offline=true", "--threshold=30", units / UNIT.name)
    assert status == 0, said
