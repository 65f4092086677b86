from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from localai_flask.app import create_app
from localai_flask.settings import Settings
from tests.api.fakes import FakePool

SHIPPED = '[{"name":"localai-flask","url":"builtin:"}]'
"""The gallery that needs no network."""
MODEL = "name: {name}\nbackend: echo\n"


@pytest.fixture
def pool() -> Iterator[FakePool]:
    pool = FakePool()
    yield pool
    assert pool.open == 0, "a generation was not closed"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(MODEL.format(name="tiny"))
    return tmp_path


@pytest.fixture
def settings(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the application is made with; a test may change it before it asks for the client."""
    database_url = f"sqlite:///{tmp_path_factory.mktemp('store')}/responses.db"
    return {"models_path": models, "database_url": database_url, "galleries": SHIPPED}


@pytest.fixture
def app(settings: dict[str, Any], pool: FakePool) -> Flask:
    return create_app(Settings(**settings), pool=pool)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
