"""Stores on databases that the next test finds empty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from localai_flask.settings import Settings
from localai_flask.store.opened import Store
from localai_flask.store.tables import metadata


@contextmanager
def open_store(url: str, **settings: Any) -> Iterator[Store]:
    """Open a store with these settings; its tables are emptied behind it."""
    store = Store.open(Settings(database_url=url, **settings))
    try:
        yield store
    finally:
        with store.database.writing() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        store.database.close()
