"""What stops an installation leaves no half environment that counts, and nothing that the next one cannot mend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localai_flask.backends.environments.folder import Environments
from localai_flask.errors import InstallationFailed, InstallationInterrupted, Unavailable
from tests.environments.conftest import SET, install_here
from tests.support import processes
from tests.support.processes import wait_for

pytestmark = pytest.mark.usefixtures("only_wheels", "echo_kind")
INSTALLS = """
import pathlib, sys
from tests.environments.conftest import install_here
install_here(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).read_text())
"""


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A requirement for which pip waits for ever: its index is a pipe."""
    source = tmp_path / "endless"
    source.mkdir()
    (source / "setup.py").write_text("import time; time.sleep(600)")
    yield f"{SET}endless @ file://{source}\n"


@pytest.fixture
def installer(tmp_path: Path, endless: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that installs and does not come to its end; its pip is there."""
    (tmp_path / "set").write_text(endless)
    command = [sys.executable, "-c", INSTALLS, str(tmp_path), str(tmp_path / "set")]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    wait_for(lambda: tools_at(tmp_path), 60, "pip at work")
    yield process
    process.kill()
    process.wait()
    wait_for(lambda: not tools_at(tmp_path), 30, "the end of pip")


def tools_at(folder: Path) -> list[int]:
    """Find the pips that fill an environment in the folder."""
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    commands = {pid: processes.command(pid).split() for pid in found}
    return [
        pid for pid, words in commands.items() if "install" in words and str(folder / "backends") in " ".join(words)
    ]


def is_clean(folder: Path) -> bool:
    environments = Environments(folder / "backends")
    return not environments.remnants("parrot") and not environments.is_being_changed("parrot")


def test_ctrl_c_leaves_nothing(tmp_path: Path, installer: subprocess.Popen[bytes]) -> None:
    installer.send_signal(signal.SIGINT)
    installer.wait(30)
    assert is_clean(tmp_path) and Environments(tmp_path / "backends").find("parrot") is None
    assert not tools_at(tmp_path)


def test_the_next_installation_mends_what_a_kill_has_left(tmp_path: Path, installer: subprocess.Popen[bytes]) -> None:
    environments = Environments(tmp_path / "backends")
    with pytest.raises(Unavailable, match="Another process is installing"):
        install_here(tmp_path)
    with pytest.raises(Unavailable, match="Another process is installing"):
        environments.delete("parrot")
    installer.kill()
    installer.wait()
    wait_for(lambda: not environments.is_being_changed("parrot"), 10, "the end of pip, which has the lock too")
    assert environments.find("parrot") is None and environments.remnants("parrot"), "what it left does not count"
    made = install_here(tmp_path)
    assert is_clean(tmp_path) and not made.fault


def test_a_full_disk_and_an_index_out_of_reach_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InstallationFailed, match=r"takes about .* TB|takes about .* GB, and .* left"):
        install_here(tmp_path, SET.replace("30MB", "9000TB"))
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(InstallationInterrupted, match=r"cannot be reached.*PIP_INDEX_URL") as raised:
        install_here(tmp_path, SET + "absent\n")
    assert raised.value.info.status == 503 and raised.value.info.retry_after
    assert is_clean(tmp_path)


def test_an_interpreter_that_went_away_is_named_with_what_mends_it(tmp_path: Path) -> None:
    made = install_here(tmp_path)
    made.python.unlink()
    found = Environments(tmp_path / "backends").find("parrot")
    assert found is not None and "interpreter" in found.fault and "is gone" in found.fault
    assert found.name == "parrot" and Environments(tmp_path / "backends").delete("parrot")
