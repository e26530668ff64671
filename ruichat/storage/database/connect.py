"""One database for all that people write: SQLite in a file, or PostgreSQL by URL."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, sessionmaker

from ruichat.errors import ConfigError, PrerequisiteError
from ruichat.registry import require
from ruichat.storage.database.failures import postgresql_code, told_plainly

BUSY_TIMEOUT_S = 30
"""How long one writer waits for another, and a request for a free connection."""

WAL_SINCE = (3, 51, 3)
"""SQLite's write-ahead log can lose a commit before this release (its "WAL-reset" bug)."""

_URL_HINT = "Use sqlite:////folder/ruichat.db or postgresql://user:password@host/name"


class Database:
    """An open database.

    Every read sees what is committed when it runs (as PostgreSQL's READ COMMITTED), on both
    databases: a change that rests on what was read says so in its own WHERE, or locks first.
    """

    def __init__(self, engine: Engine, *, file: Path | None) -> None:
        self.engine = engine
        self.file = file
        """Of SQLite; none for PostgreSQL."""
        self._sessions = sessionmaker(engine, expire_on_commit=False)

    @contextmanager
    def session(self) -> Generator[Session]:
        """A unit of work: committed, durably, when the block ends; rolled back if it raises.

        Answer a client only after the block has ended. What it gave stays readable then.

        Raises:
            StorageFullError: the disk is full; nothing of the block was kept.
            DatabaseUnavailableError: it doesn't answer.
            ConflictError: a row was changed by somebody else meanwhile.
        """
        with self._told(), self._sessions.begin() as session:
            yield session

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """A connection that changes nothing; on PostgreSQL it sees one moment throughout."""
        with self._told(), self.engine.connect() as connection:
            if self.file is None:
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            yield connection

    @contextmanager
    def transaction(self) -> Generator[Connection]:
        """A connection under one write lock, also over changes of the schema."""
        with self._told(), self.engine.connect() as connection:
            if self.file is not None:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    def migrate(self) -> str:
        """Bring the schema up to this version's; processes that start together do it once.

        Returns:
            The revision that it has now.

        Raises:
            ArtifactError: a newer version made this database.
        """
        from ruichat.storage.database.migrate import upgrade

        with self.transaction() as connection:
            return upgrade(connection)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    def _told(self) -> Any:
        return told_plainly(self.file.parent if self.file is not None else None)


def open_database(url: str) -> Database:
    """Open a database; its file is made where missing, readable by its owner alone.

    Args:
        url: `sqlite:////folder/ruichat.db`, or `postgresql://user:password@host/name`.

    Raises:
        ConfigError: not such a URL.
        PrerequisiteError: PostgreSQL's driver is missing, or the file can't be made.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError("the database's URL can't be read", hint=_URL_HINT) from error
    logging.getLogger("sqlalchemy.engine.Engine").addFilter(_holds_no_row)
    logging.getLogger("sqlalchemy.pool.impl.QueuePool").addFilter(_in_one_line)
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        return _open_sqlite(parsed)
    if kind in ("postgresql", "postgres"):
        return _open_postgresql(parsed)
    raise ConfigError(f"a database of kind {kind!r} is not supported", hint=_URL_HINT)


def _open_sqlite(url: URL) -> Database:
    if not url.database or url.database == ":memory:" or url.query:
        raise ConfigError("the database needs a file on disk", hint=_URL_HINT)
    file = Path(url.database).absolute()
    _make_private(file)
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(file)),
        # Reads hold no lock; the first write takes the one write lock at once, so that two
        # transactions never wait for each other to turn from reading to writing.
        connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": "IMMEDIATE"},
        pool_size=16,
        max_overflow=48,
        pool_timeout=BUSY_TIMEOUT_S,
        json_serializer=_to_json,
        hide_parameters=True,  # in logs and errors: they are names and questions
    )
    event.listen(engine, "connect", _set_pragmas)
    return Database(engine, file=file)


def _make_private(file: Path) -> None:
    """An empty file of mode 600, whose mode SQLite gives its journal too."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise PrerequisiteError(
            f"the database's file can't be opened ({error.strerror})",
            hint="Check the folder and its permissions",
        ) from error


def _set_pragmas(connection: sqlite3.Connection, record: object) -> None:
    safe_wal = sqlite3.sqlite_version_info >= WAL_SINCE
    for pragma in (
        f"journal_mode={'WAL' if safe_wal else 'DELETE'}",
        # EXTRA also makes the journal's removal durable, which is what commits without WAL.
        f"synchronous={'FULL' if safe_wal else 'EXTRA'}",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _open_postgresql(url: URL) -> Database:
    require("pg8000", extra="postgres")
    engine = create_engine(
        url.set(drivername="postgresql+pg8000"),
        isolation_level="READ COMMITTED",
        pool_size=10,
        max_overflow=20,
        pool_timeout=BUSY_TIMEOUT_S,
        pool_pre_ping=True,
        json_serializer=_to_json,
        hide_parameters=True,  # in logs and errors: they are names and questions
    )
    event.listen(engine, "connect", _commit_durably)
    return Database(engine, file=None)


def _commit_durably(connection: Any, record: object) -> None:
    """Undo a server's setting that would acknowledge what a crash can lose."""
    cursor = connection.cursor()
    cursor.execute("SHOW synchronous_commit")
    if cursor.fetchone()[0] == "off":
        cursor.execute("SET synchronous_commit TO on")
    connection.commit()
    cursor.close()


def _holds_no_row(record: logging.LogRecord) -> bool:
    """Whether a record may be logged: SQLAlchemy hides what is sent, but not what comes back."""
    return record.levelno > logging.DEBUG


def _in_one_line(record: logging.LogRecord) -> bool:
    """Name what went wrong with a connection, without the way there, or words that hold values."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        kinds = [type(one).__name__ for one in (error, error.__cause__) if one is not None]
        kinds += [code] if (code := postgresql_code(error)) else []
        record.msg, record.args = f"{record.getMessage()}: {', '.join(kinds)}", ()
        record.exc_info = record.exc_text = None
    return True


_to_json = partial(json.dumps, allow_nan=False)
"""Neither database is given NaN, which isn't JSON."""
