"""The database: where it is, how it is opened, and its transactions."""

from __future__ import annotations

import functools
import logging
import math
import sqlite3
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, DisconnectionError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.schema import CreateColumn

from localai_flask.errors import InvalidRequest, ServerConfigError, Unavailable
from localai_flask.settings import Settings
from localai_flask.store.deadlines import Deadlines
from localai_flask.store.place import default_path
from localai_flask.store.tables import metadata

log = logging.getLogger("gunicorn.error")

BUSY_S = 10
"""How long a writer waits for another one; every transaction is short."""
CREATION = 0x10CA1A1
"""The number of the lock under which tables are made; any will do that nobody else takes."""
ANSWER_S = 10.0
"""How long a server of databases may take for one transaction."""
CONNECT_S = 4
"""How long a server of databases may take to answer when it is connected to, for each of its addresses."""
LIBPQ_OPTIONS = {"connect_timeout": CONNECT_S, "keepalives_idle": 30, "tcp_user_timeout": 10_000}
"""So that a host that has vanished, without a word to its connections, is noticed within seconds."""
POOL: dict[str, Any] = {"pool_size": 5, "max_overflow": 20, "pool_timeout": 5.0}
"""At most 25 connections in a process, for one of which a request waits five seconds."""
COMPLAINT_S = 30.0
"""How often the same trouble is logged."""
HOW = "Set LOCALAI_DATABASE_URL to a database that can be used, or send `store: false`."


class Database:
    """An engine whose transactions raise `Unavailable` when the database cannot be reached."""

    def __init__(self, settings: Settings):
        self._engine = _engine(settings)
        self._deadlines = Deadlines()
        self._file = _file_of(self._engine.url)
        self._file_seen: tuple[int, int] | None = None
        self._looking = threading.Lock()
        if self._engine.dialect.name != "sqlite":
            event.listen(self._engine, "checkout", self._check_connection)
        if self._file is None:
            self._make_tables()
        else:
            self._look_at_file(self._file)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads."""
        if self._file is not None:
            self._look_at_file(self._file)
        with _translated(), self._engine.connect() as connection, self._timed(connection), connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes; on SQLite it is the only one from its beginning."""
        if self._file is not None:
            self._look_at_file(self._file)
        with self._writing() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with _translated(), self._connect_to_write() as connection, self._timed(connection), connection.begin():
            yield connection

    def _make_tables(self) -> None:
        with self._writing() as connection:
            if connection.dialect.name == "postgresql":  # else two servers that start together make tables twice
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({CREATION})")
            metadata.create_all(connection)
            _add_columns(connection)

    def _look_at_file(self, path: Path) -> None:
        """Work with the file that has the name now: what is written to one that was taken away is lost."""
        with self._looking:
            if self._file_seen is not None and self._file_seen == _identity(path):
                return
            if self._file_seen is not None:
                log.warning("the database of responses was taken away or replaced; using what %s is now", path)
                self._engine.dispose()
            self._make_tables()
            self._file_seen = _identity(path)
            if self._file_seen is None:
                self._file = None  # a name that only SQLite understands, as a URI is

    def _connect_to_write(self) -> Connection:
        return self._engine.connect().execution_options(writes=True)

    def _timed(self, connection: Connection) -> AbstractContextManager[None]:
        """Limit the time of a transaction; SQLite has no server that could keep it waiting."""
        if connection.dialect.name == "sqlite":
            return nullcontext()
        driver: Any = connection.connection.driver_connection
        return self._deadlines.watching(driver.fileno(), ANSWER_S)

    def _check_connection(self, connection: Any, *_: object) -> None:
        """Have a pooled connection answer before it is used, as the server or a proxy may have dropped it.

        What SQLAlchemy's `pool_pre_ping` does, which would wait for a stopped server for ever.
        """
        try:
            with self._deadlines.watching(connection.fileno(), CONNECT_S):
                self._engine.dialect.do_ping(connection)
        except self._engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error  # SQLAlchemy then connects anew

    def close(self) -> None:
        self._engine.dispose()

    def ping(self) -> None:
        """Have the database answer something; raise `Unavailable` if it does not."""
        with self.reading() as connection:
            connection.exec_driver_sql("SELECT 1")


def _add_columns(connection: Connection) -> None:
    """Add to tables of an older version the columns that they lack."""
    for table in metadata.sorted_tables:
        known = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise InvalidRequest(f"The database of responses cannot store this request: {error.orig}") from error
    except SQLAlchemyError as error:
        raise _unavailable(str(error.orig if isinstance(error, DBAPIError) else error)) from error


def time_of(connection: Connection) -> float:
    """Return the time by which leases run out: that of the one machine that all owners ask."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())


def _file_of(url: URL) -> Path | None:
    """Return the file of an SQLite database; None for a database of another kind, or in memory."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(url.database)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_complaints: dict[str, float] = {}


def _unavailable(cause: str) -> Unavailable:
    """Log the cause, which names hosts and users, unless it has just been logged; clients hear only what to do."""
    now = time.monotonic()
    if now - _complaints.get(cause, -math.inf) > COMPLAINT_S:
        _complaints.clear()
        _complaints[cause] = now
        log.error("the database of responses does not answer: %s; trying again when it is needed", _on_one_line(cause))
    return Unavailable(f"The database of responses does not answer; the server's log says why. {HOW}")


def _on_one_line(text: str) -> str:
    """Join a driver's lines, but those in which PostgreSQL quotes a row."""
    lines = [line for line in text.splitlines() if not line.startswith("DETAIL:")]
    return " ".join(" ".join(lines).split()).removesuffix(".")


def sqlite_path(settings: Settings) -> Path | None:
    """Find the file of an SQLite database; None for a database of another kind, or in memory.

    Raises `ServerConfigError` if the setting cannot name a database.
    """
    if not settings.database_url:
        return default_path(settings)
    return _named_file(settings)


@functools.lru_cache(maxsize=4)
def _named_file(settings: Settings) -> Path | None:
    return _file_of(_engine(settings).url)


def _engine(settings: Settings) -> Engine:
    if not settings.database_url:
        path = default_path(settings)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _unavailable(f"{path.parent}: {error.strerror}") from error
        return _sqlite(f"sqlite:///{path}")
    try:
        url = make_url(settings.database_url)
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg")
        if url.drivername.startswith("sqlite"):
            return _sqlite(url)
        if "@" in (url.host or ""):
            raise ArgumentError("it has two @; write one that belongs to the password as %40")
        engine = create_engine(url, connect_args=_options(url), hide_parameters=True, **POOL)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        # A number that does not parse is the port, and what stands there may be the end of a password.
        why = "its port is no number" if isinstance(error, ValueError) else error
        raise ServerConfigError(
            f"LOCALAI_DATABASE_URL cannot be used: {why}. Write it like postgresql://user:password@host/name, "
            "with the package's extra `postgresql` installed, or like sqlite:////path/to/file.db."
        ) from error
    event.listen(engine, "do_connect", _connect)
    return engine


def _connect(dialect: Any, _: object, arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connect to a server of databases, and keep nothing of what fails but the words.

    psycopg leaves a connection that has failed, with its socket, in a cycle of the error and the frame that raised it;
    Python's collector, which ends it, may look there after thousands of others only.
    """
    try:
        return dialect.connect(*arguments, **options)
    except dialect.loaded_dbapi.Error as error:
        traceback.clear_frames(error.__traceback__)
        raise


def _options(url: URL) -> dict[str, int]:
    """The options of a connection that the URL itself does not set."""
    uses_libpq = url.drivername in ("postgresql+psycopg", "postgresql+psycopg2")
    return {name: value for name, value in LIBPQ_OPTIONS.items() if uses_libpq and name not in url.query}


def _sqlite(url: Any) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_S}, hide_parameters=True, **POOL)

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
