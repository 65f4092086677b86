from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from localai_flask.gallery.sources import pip_settings, retries
from localai_flask.gallery.sources.pip_settings import PipSettings
from localai_flask.gallery.transport import transfer
from tests.support.fake_hub import Hub
from tests.support.package_index import Index


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tries follow one another at once."""
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(retries, "PAUSE_S", 0.0)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """An empty hub, which is the one to ask; nobody is logged in."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.root)
        yield hub


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An empty package index, which is the one that pip is set to."""
    with Index() as index:
        monkeypatch.setattr(pip_settings, "read_settings", lambda: PipSettings(indexes=(index.url,)))
        yield index
