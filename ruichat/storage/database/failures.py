"""What databases throw, told as our own errors: full, unavailable, changed meanwhile, unfit."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm.exc import StaleDataError

from ruichat.errors import (
    ArtifactError,
    ConflictError,
    DatabaseUnavailableError,
    InputError,
    RuiChatError,
    StorageFullError,
)

_PRIMARY = 0xFF
"""SQLite's extended codes carry the primary one in their last byte."""

_DISK_FULL = "53100"

_WHY_NOT = {
    "53300": "it has no connection left",
    "3D000": "its server has no database of that name",
    "28000": "its server refuses the user",
    "28P01": "its server refuses the user or the password",
    "42501": "its user may not do that",
}
"""PostgreSQL's errors that an operator can undo."""

_AWAY = ("08", "57P", "58", "53")
"""PostgreSQL's classes of errors of the server itself, not of the statement."""


@contextmanager
def told_plainly(folder: Path | None) -> Generator[None]:
    """Turn what SQLAlchemy or SQLite raises in the block into one of our errors, where it is one.

    Args:
        folder: of the SQLite file; none for PostgreSQL.

    Raises:
        StorageFullError: no space was left; nothing of the transaction was kept.
        DatabaseUnavailableError: no connection, a lost one, or a lock held for too long.
        ConflictError: the row was changed since it was read, or is referred to.
        InputError: a value that can't be kept.
        ArtifactError: the file is damaged, or no database.
    """
    try:
        yield
    except StaleDataError as error:
        raise ConflictError(
            "somebody else has changed this meanwhile", hint="Load it again, then change it"
        ) from error
    except PoolTimeoutError as error:
        raise _unavailable("all its connections are in use") from error
    except ConnectionError as error:
        # PostgreSQL's driver lets those of its socket through, where the server dies in between.
        if folder is not None:
            raise
        raise _unavailable("its server has gone") from error
    except sqlite3.Error as error:
        told = _of_sqlite(error, folder)
        if told is None:
            raise
        raise told from error
    except SQLAlchemyError as error:
        told = _told(error, folder)
        if told is None:
            raise
        raise told from error


def _told(error: SQLAlchemyError, folder: Path | None) -> RuiChatError | None:
    """Our error for one of SQLAlchemy's; None where it is a bug of ours."""
    cause = error.orig if isinstance(error, StatementError) else None
    if isinstance(cause, RuiChatError):
        return cause
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause, folder)
    if isinstance(cause, ValueError):
        return InputError(f"a value can't be kept ({cause})", hint="Send finite numbers")
    if isinstance(error, DBAPIError):
        return _of_postgresql(error)
    return None


def _of_sqlite(cause: sqlite3.Error, folder: Path | None) -> RuiChatError | None:
    code = getattr(cause, "sqlite_errorcode", 0) & _PRIMARY
    if code == sqlite3.SQLITE_FULL:
        return _full()
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        # SQLite says so too where a full disk refuses the journal or the flush.
        full = folder is not None and folder.is_dir() and is_full(folder)
        return _full() if full else _unavailable(str(cause))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return _unavailable("it is locked by another process")
    if code == sqlite3.SQLITE_READONLY:
        return _unavailable("it can't be written")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return ArtifactError(
            "the file is damaged, or no database", hint="Restore the last good backup"
        )
    if code == sqlite3.SQLITE_CONSTRAINT:
        return ConflictError("this goes against what is kept", hint="Load it again")
    return None


def _of_postgresql(error: DBAPIError) -> RuiChatError | None:
    code = postgresql_code(error.orig)
    if code == _DISK_FULL:
        return _full()
    if code in _WHY_NOT:
        return _unavailable(_WHY_NOT[code])
    if code.startswith("23"):
        return ConflictError("this goes against what is kept", hint="Load it again")
    if code.startswith("22"):
        return InputError("a value can't be kept", hint="Send sensible numbers and plain text")
    # Without a code it is the driver that lost, or never had, its connection.
    if not code or error.connection_invalidated or code.startswith(_AWAY):
        return _unavailable("its server doesn't answer")
    return None


def postgresql_code(cause: BaseException | None) -> str:
    """The five characters by which PostgreSQL names an error; empty if it isn't one of its own."""
    details: Any = cause.args[0] if cause is not None and cause.args else None
    return str(details.get("C", "")) if isinstance(details, dict) else ""


def is_full(folder: Path) -> bool:
    """Whether the file system of a folder has no block or no file left for us."""
    left = os.statvfs(folder)
    return left.f_bavail == 0 or (left.f_files > 0 and left.f_favail == 0)


def _full() -> StorageFullError:
    return StorageFullError(
        "the disk of the database is full: this was not saved",
        hint="Free some space, then try again; what was saved before can still be read",
    )


def _unavailable(why: str) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(
        f"the database is not available: {why}", hint="Try again; if it stays so, tell the operator"
    )
