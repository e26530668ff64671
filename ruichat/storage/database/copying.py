"""Backing a database up to one file, and restoring that file to an empty database of any kind."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Table, func, insert, select, text
from sqlalchemy.exc import DatabaseError

from ruichat.errors import ArtifactError, ConfigError
from ruichat.storage.artifacts import not_written
from ruichat.storage.database.connect import Database, open_database
from ruichat.storage.database.failures import told_plainly
from ruichat.storage.database.migrate import current_revision, newest_revision
from ruichat.storage.database.models import Base

Show = Callable[[str, int, int], None]
"""Called with a stage, what is done and how much there is in all."""

ROWS_AT_ONCE = 500
"""Few enough to hold them in memory where each carries a long answer."""

_ANOTHER = "Take another backup"

PAGES_AT_ONCE = 2000
"""Of SQLite, 4 kB each, between two words of progress."""


@dataclass(frozen=True)
class Checked:
    """What a database holds, and what is wrong with it."""

    revision: str | None
    newest: str
    rows: dict[str, int]
    """By table; none where it is damaged, or its schema isn't this version's."""
    faults: tuple[str, ...]


def check_database(database: Database) -> Checked:
    """Look a database through: its schema, its rows and, in SQLite, every page of its file.

    Raises:
        DatabaseUnavailableError: it doesn't answer.
    """
    newest = newest_revision()
    with database.reading() as connection:
        faults = _faults(connection)
        revision = current_revision(connection)
        rows = _counts(connection) if revision == newest and not faults else {}
    return Checked(revision, newest, rows, tuple(faults))


def back_up(database: Database, out: Path, *, show: Show) -> dict[str, int]:
    """Write all of a database, as it is at one moment, to a SQLite file; others go on meanwhile.

    Returns:
        Rows by table.

    Raises:
        ConfigError: the file is there already.
        ArtifactError: the schema isn't this version's, the database is damaged, or the disk full.
    """
    if out.exists():
        raise ConfigError(f"{out} is there already", hint="Give a new name for the backup")
    with _unfinished(out) as unfinished:
        with database.reading() as connection:
            _check_revision(connection)
            if database.file is not None:
                _copy_pages(connection, unfinished, show)
            else:
                _copy_to_file(connection, unfinished, show)
        with _opened(unfinished) as copy:
            checked = check_database(copy)
        if checked.faults:
            raise ArtifactError(
                f"the database is damaged: {checked.faults[0]}",
                hint="Restore the last good backup; keep this database for a closer look",
            )
        return checked.rows


def restore(database: Database, backup: Path, *, show: Show) -> dict[str, int]:
    """Fill an empty database from a backup of this or an older version, all or nothing.

    Returns:
        Rows by table.

    Raises:
        ArtifactError: the file isn't a sound backup, or a newer version made it.
        ConfigError: the database holds something already.
    """
    if not backup.is_file():
        raise ArtifactError(f"no file at {backup}", hint="Check the path")
    database.migrate()
    with (
        _migrated_copy(backup, database) as copy,
        copy.reading() as source,
        database.transaction() as target,
    ):
        if any(_counts(target).values()):
            raise ConfigError(
                "the database holds something already",
                hint="Restore to an empty one: another --data folder or another database",
            )
        _copy_rows(source, target, show)
        return _counts(target)


def _check_revision(connection: Connection) -> None:
    found, newest = current_revision(connection), newest_revision()
    if found is None:
        raise ArtifactError(
            "the database holds nothing, not even tables: there is nothing to back up",
            hint="Is it the server's? Give --config or --data as to `ruichat serve`",
        )
    if found != newest:
        raise ArtifactError(
            f"the database has schema {found!r}; this version backs up {newest!r}",
            hint="Back it up with the version that made it, or run: ruichat database migrate",
        )


def _counts(connection: Connection) -> dict[str, int]:
    return {
        table.name: connection.scalar(select(func.count()).select_from(table)) or 0
        for table in Base.metadata.sorted_tables
    }


def _faults(connection: Connection) -> list[str]:
    """What SQLite's own checks say; PostgreSQL checks pages as it reads them."""
    if connection.dialect.name != "sqlite":
        return []
    try:
        lines = list(connection.execute(text("PRAGMA integrity_check(10)")).scalars())
    except DatabaseError as error:
        # Damage at which the check itself gives up.
        if getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_CORRUPT:
            raise
        return [str(error.orig)]
    if lines != ["ok"]:
        return [str(line) for line in lines]
    rows = connection.execute(text("PRAGMA foreign_key_check"))
    return [f"row {row} of {table} refers to nothing in {of}" for table, row, of, _ in rows]


@contextmanager
def _unfinished(out: Path) -> Generator[Path]:
    """A file to write, which takes its name once it is whole and on the disk."""
    unfinished = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.rename(out)
    except OSError as error:
        raise not_written(out, error) from error
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _opened(file: Path) -> Generator[Database]:
    database = open_database(f"sqlite:///{file.absolute()}")
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _migrated_copy(backup: Path, database: Database) -> Generator[Database]:
    """A backup brought to this version's schema; the file itself isn't touched."""
    # Beside the database, where there is room for it, not in a small /tmp.
    beside = database.file.parent if database.file is not None else None
    with tempfile.TemporaryDirectory(prefix="ruichat-restore-", dir=beside) as folder:
        copied = Path(folder) / "backup.db"
        try:
            shutil.copyfile(backup, copied)
        except OSError as error:
            raise not_written(copied, error) from error
        with _opened(copied) as copy:
            with copy.reading() as connection:
                faults = _faults(connection)
                if current_revision(connection) is None:
                    faults.append("it isn't RuiChat's")
            if faults:
                raise ArtifactError(f"{backup} is no sound backup: {faults[0]}", hint=_ANOTHER)
            copy.migrate()
            yield copy


def _copy_pages(source: Connection, file: Path, show: Show) -> None:
    """Page by page, under the read lock of an open transaction: nobody commits in between."""
    source.execute(text("BEGIN"))
    source.execute(text("SELECT count(*) FROM sqlite_master")).all()
    raw = source.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    with told_plainly(file.parent), closing(sqlite3.connect(file)) as target:
        raw.backup(
            target,
            pages=PAGES_AT_ONCE,
            progress=lambda _, left, total: show("pages", total - left, total),
        )
        # A backup is one file, and stays one when it is opened.
        target.execute("PRAGMA journal_mode=DELETE")


def _copy_to_file(source: Connection, file: Path, show: Show) -> None:
    with _opened(file) as target:
        target.migrate()
        with target.transaction() as connection:
            _copy_rows(source, connection, show)


def _copy_rows(source: Connection, target: Connection, show: Show) -> None:
    """All rows of all tables, those first that others refer to."""
    for table in Base.metadata.sorted_tables:
        total = source.scalar(select(func.count()).select_from(table)) or 0
        done = 0
        for rows in _partitions(source, table):
            target.execute(insert(table), rows)
            done += len(rows)
            show(table.name, done, total)


def _partitions(source: Connection, table: Table) -> Iterator[list[dict[str, object]]]:
    found = source.execution_options(yield_per=ROWS_AT_ONCE).execute(select(table))
    for part in found.mappings().partitions():
        yield [dict(row) for row in part]
