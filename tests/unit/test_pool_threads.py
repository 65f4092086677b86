"""Threads that nobody watches: what nobody expects ends one look of theirs, and not the thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from localai_flask.pool.client import directory
from localai_flask.pool.client.directory import DirectoryThread
from localai_flask.pool.manager import required_models
from localai_flask.pool.manager.required_models import RequiredModels
from localai_flask.pool.runtime import Runtime
from localai_flask.settings import Settings


class Enough(BaseException):
    """Ends a thread's loop for the test."""


def test_required_models_are_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[None] = []

    class Table:
        def require_only(self, keys: frozenset[str]) -> None:
            looks.append(None)
            if len(looks) == 3:
                raise Enough
            raise RuntimeError("nobody expects this")

    monkeypatch.setattr(required_models, "LOOK_S", 0)
    table: Any = Table()
    with pytest.raises(Enough):
        RequiredModels(Settings(models_path=tmp_path), table).run()
    assert len(looks) == 3


def test_the_manager_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    ours, usual = Runtime(tmp_path), directory.proxy.connect

    def connect(runtime: Runtime) -> Any:
        if runtime is not ours:  # of a thread that another test has left
            return usual(runtime)
        asked.append(None)
        raise Enough if len(asked) == 3 else RuntimeError("nobody expects this")

    monkeypatch.setattr(directory.proxy, "connect", connect)
    monkeypatch.setattr(directory, "REFRESH_S", 0.01)
    with pytest.raises(Enough):
        DirectoryThread(ours).run()
    assert len(asked) == 3
