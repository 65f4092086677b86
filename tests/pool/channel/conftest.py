"""A hub of the test's own, and proof that nothing is left of it."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from localai_flask.pool.channel import Hub
from tests.pool.channel.helpers import open_fds

_names = itertools.count()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    before = open_fds()
    yield
    assert open_fds() == before
    assert "localai-flask-channel" not in Path("/proc/self/maps").read_text()
    assert not [entry for entry in os.listdir("/dev/shm") if "localai" in entry]


@pytest.fixture
def name() -> str:
    return f"test-channel-{os.getpid()}-{next(_names)}"


@pytest.fixture
def hub(name: str) -> Iterator[Hub]:
    with contextlib.closing(Hub(name)) as hub:
        yield hub
