"""The database: where it is, how it is opened, and its transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from localai_flask.errors import ServerConfigError, Unavailable
from localai_flask.settings import Settings
from localai_flask.store.place import default_path
from localai_flask.store.tables import metadata

BUSY_S = 10
"""How long a writer waits for another one; every transaction is short."""
CREATION = 0x10CA1A1
"""The number of the lock under which tables are made; any will do that nobody else takes."""
HOW = "Set LOCALAI_DATABASE_URL to a database that can be used, or send `store: false`."


class Database:
    """An engine whose transactions raise `Unavailable` when the database cannot be reached."""

    def __init__(self, settings: Settings):
        self._engine = _engine(settings)
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":  # else two servers that start together make tables twice
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({CREATION})")
            metadata.create_all(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads."""
        with _translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes; on SQLite it is the only one from its beginning."""
        with _translated(), self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise Unavailable(f"The database of responses does not answer: {cause}. {HOW}") from error


def sqlite_path(settings: Settings) -> Path | None:
    """Find the file of an SQLite database; None for a database of another kind, or in memory.

    Raises `ServerConfigError` if the setting cannot name a database.
    """
    if not settings.database_url:
        return default_path(settings)
    url = _engine(settings).url
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(url.database)


def _engine(settings: Settings) -> Engine:
    if not settings.database_url:
        path = default_path(settings)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unavailable(f"Responses cannot be stored in {path.parent}: {error.strerror}. {HOW}") from error
        return _sqlite(f"sqlite:///{path}")
    try:
        url = make_url(settings.database_url)
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg")
        if url.drivername.startswith("sqlite"):
            return _sqlite(url)
        # A connection that the server or a proxy has dropped is noticed before it is used.
        return create_engine(url, pool_pre_ping=True, pool_size=5, max_overflow=20)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        # A number that does not parse is the port, and what stands there may be the end of a password.
        why = "its port is no number" if isinstance(error, ValueError) else error
        raise ServerConfigError(
            f"LOCALAI_DATABASE_URL cannot be used: {why}. Write it like postgresql://user:password@host/name, "
            "with the package's extra `postgresql` installed, or like sqlite:////path/to/file.db."
        ) from error


def _sqlite(url: Any) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_S}, pool_size=5, max_overflow=20)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        # The driver would begin transactions on its own, and a reading one that then writes can fail at once.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
