from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pool import Pool


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    """A real pool of the test's own; leaving a process behind fails the test."""
    pool = Pool(tmp_path)
    try:
        yield pool
    finally:
        pool.close()
