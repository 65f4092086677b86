"""One server for each engine, kept for all of its tests; engines that are not chosen are skipped by name."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.contract.engine import Engine
from tests.contract.engines import find_engines
from tests.contract.environments import CHOSEN, backends_folder, import_path, interpreter, is_chosen
from tests.contract.subject import Subject
from tests.support.server import Server

TIMEOUT_S = 600
"""For a test that comes first, and has an environment installed and a model loaded."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" in metafunc.fixturenames:
        engines = find_engines()
        metafunc.parametrize("engine", engines.values(), ids=engines, scope="session")


def pytest_itemcollected(item: pytest.Item) -> None:
    if not item.get_closest_marker("timeout"):
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session")
def subject(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    if not is_chosen(engine):
        pytest.skip(f"{engine.name} is tested by `make test-engines`, which sets {CHOSEN}")
    interpreter(engine.environment)
    models, packages = (tmp_path_factory.mktemp(f"{engine.name}-{what}") for what in ("models", "packages"))
    path = import_path()
    if engine.packages is not None:
        engine.packages(packages)
        path = os.pathsep.join((str(packages), path))
    settings = {"LOCALAI_BACKENDS_PATH": str(backends_folder()), "PYTHONPATH": path, **engine.settings}
    with Server(models, tmp_path_factory.mktemp(engine.name), **settings) as server:
        yield Subject(engine, server, models)
