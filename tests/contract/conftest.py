"""One server for each engine, kept for all of its tests; engines that are not chosen are skipped by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.engine import Engine
from tests.contract.engines import find_engines
from tests.contract.environments import CHOSEN, backends_folder, import_path, interpreter, is_chosen
from tests.contract.subject import Subject
from tests.support.server import Server

TIMEOUT_S = 600
"""For a test that loads a model on a busy machine; installing an environment has a limit of its own."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" in metafunc.fixturenames:
        engines = find_engines()
        metafunc.parametrize("engine", engines.values(), ids=engines, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of an engine together: pytest does so only as far as they have no parameters of their own."""
    places = [at for at, item in enumerate(items) if _engine_of(item)]
    grouped = sorted((items[at] for at in places), key=_engine_of)
    for at, item in zip(places, grouped, strict=True):
        items[at] = item
        item.add_marker(pytest.mark.timeout(TIMEOUT_S, func_only=True))


def _engine_of(item: pytest.Item) -> str:
    """Return the name of the engine that a test of this folder is about; "" for all other tests."""
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    engine = params.get("engine")
    return engine.name if isinstance(engine, Engine) else ""


@pytest.fixture(scope="session")
def subject(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    if not is_chosen(engine):
        pytest.skip(f"{engine.name} is tested by `make test-engines`, which sets {CHOSEN}")
    if engine.need is not None:
        engine.need()
    interpreter(engine.environment)
    models, packages = (tmp_path_factory.mktemp(f"{engine.name}-{what}") for what in ("models", "packages"))
    if engine.packages is not None:
        engine.packages(packages)
    imports = import_path(packages) if engine.packages is not None else import_path()
    environments = backends_folder() if engine.environment else packages / "none"
    settings = {"LOCALAI_BACKENDS_PATH": str(environments), "PYTHONPATH": imports, **engine.settings}
    with Server(models, tmp_path_factory.mktemp(engine.name), **settings) as server:
        yield Subject(engine, server, models)
