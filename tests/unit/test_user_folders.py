"""Where this user's files lie, with a home and without."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from localai_flask.user_folders import data_folder, state_file, state_folder


def test_the_variables_of_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert state_folder() == tmp_path / "state" / "localai-flask"
    assert data_folder() == tmp_path / "data" / "localai-flask"
    assert state_file("log") == state_folder() / "log" and state_folder().stat().st_mode & 0o777 == 0o700


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> None:
        raise KeyError

    for name in ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert os.path.expanduser("~") == "~"
    assert state_folder() == Path("/.local/state/localai-flask")
    assert data_folder() == Path("/.local/share/localai-flask")
