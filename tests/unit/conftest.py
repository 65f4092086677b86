from collections.abc import Iterator
from pathlib import Path

import pytest

from localai_flask.store.opened import Store
from tests.support import postgres
from tests.support.stores import open_store


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL database, which each test leaves empty."""
    with postgres.running() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/responses.db"
    return str(request.getfixturevalue("server"))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A store on an empty database of either kind."""
    with open_store(url) as store:
        yield store
