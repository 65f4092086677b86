"""The systemd unit gives every folder that the server writes to."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from localai_flask.settings import Settings
from localai_flask.store.place import default_path

UNIT = Path(__file__).parents[2] / "deploy" / "localai-flask.service"


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


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_can_read_it(tmp_path: Path) -> None:
    text = UNIT.read_text().replace("/opt/localai-flask/bin/localai-flask", "/bin/true")
    (tmp_path / UNIT.name).write_text(text.replace("User=localai", "User=root"))
    done = subprocess.run(["systemd-analyze", "verify", tmp_path / UNIT.name], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
