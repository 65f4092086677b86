from collections.abc import Iterator

import pytest

from localai_flask.gallery import transfer
from localai_flask.gallery.sources import pip_settings
from localai_flask.gallery.sources.pip_settings import PipSettings
from tests.support.package_index import Index


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An empty package index, which is the one that pip is set to; tries follow one another at once."""
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.0)
    with Index() as index:
        monkeypatch.setattr(pip_settings, "read_settings", lambda: PipSettings(indexes=(index.url,)))
        yield index
