"""`ruichat database`: check, migrate, back up and restore what people have written."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ruichat.cli.progress import stage_bar
from ruichat.errors import ArtifactError, PrerequisiteError

if TYPE_CHECKING:
    from ruichat.serve.settings import ServeSettings
    from ruichat.storage.database.connect import Database

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file of settings.", show_default=False)
]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder of the database.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def check(as_json: AsJson = False, config: ConfigFile = None, data: DataFolder = None) -> None:
    """Look it through: schema, rows and, in SQLite, every page. Ends with 4 where it's unfit."""
    from ruichat.storage.database.copying import check_database

    settings = settings_of(config, data)
    with opened(settings, must_exist=True) as database:
        found = check_database(database)
    fits = found.revision == found.newest
    if as_json:
        told = {
            "database": shown_address(settings),
            "schema": found.revision,
            "schema_of_this_version": found.newest,
            "rows": found.rows,
            "faults": found.faults,
        }
        typer.echo(json.dumps(told, indent=2))
    else:
        typer.echo(f"database {shown_address(settings)}")
        typer.echo(f"schema {found.revision or 'none'}, this version's is {found.newest}")
        print_rows(found.rows)
    if found.faults:
        raise ArtifactError(
            f"the database is damaged: {found.faults[0]}", hint="Restore the last good backup"
        )
    if not fits:
        raise ArtifactError(
            "the schema isn't this version's",
            hint="Back it up with the version that made it, then run: ruichat database migrate",
        )


@app.command()
def migrate(config: ConfigFile = None, data: DataFolder = None) -> None:
    """Bring the schema up to this version's, as `ruichat serve` does when it starts."""
    settings = settings_of(config, data)
    with opened(settings) as database:
        typer.echo(f"database {shown_address(settings)}\nschema {database.migrate()}")


@app.command()
def backup(
    out: Annotated[Path, typer.Argument(help="File to write; it mustn't be there yet.")],
    as_json: AsJson = False,
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """Write everything, as it is at one moment, to one file, while the server goes on."""
    from ruichat.storage.database.copying import back_up

    settings = settings_of(config, data)
    with opened(settings, must_exist=True) as database, stage_bar() as show:
        rows = back_up(database, out, show=show)
    print_copied(rows, out, shown_address(settings), as_json=as_json)


@app.command()
def restore(
    backup: Annotated[Path, typer.Argument(help="File that `backup` has written.")],
    as_json: AsJson = False,
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """Fill an empty database, SQLite or PostgreSQL, from a backup of either."""
    from ruichat.storage.database.copying import restore as restore_database

    settings = settings_of(config, data)
    with opened(settings) as database, stage_bar() as show:
        rows = restore_database(database, backup, show=show)
    print_copied(rows, backup, shown_address(settings), as_json=as_json)


def settings_of(config: Path | None, data: Path | None) -> ServeSettings:
    """The settings that the server would have."""
    from ruichat.serve.settings import ServeSettings

    return ServeSettings.read(config, data_dir=data)


@contextmanager
def opened(settings: ServeSettings, *, must_exist: bool = False) -> Generator[Database]:
    """The database that the server would open.

    Args:
        settings: the server's.
        must_exist: whether a SQLite file that isn't there is refused, not made.

    Raises:
        PrerequisiteError: the file isn't there, or can't be made.
    """
    from ruichat.storage.database.connect import open_database

    kind, _, file = settings.database_address.partition(":///")
    if must_exist and kind.startswith("sqlite") and not Path(file).exists():
        raise PrerequisiteError(f"there is no database at {file}", hint=_OTHER_DATABASE)
    database = open_database(settings.database_address)
    try:
        yield database
    finally:
        database.close()


_OTHER_DATABASE = "Run it as the server's user, with the server's --config, --data or variables"


def shown_address(settings: ServeSettings) -> str:
    """Where the database is, without its password: another one than the server's is noticed."""
    from sqlalchemy.engine import make_url

    url = make_url(settings.database_address)
    if url.get_backend_name() == "sqlite":
        return str(Path(url.database or "").absolute())
    return url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


def print_copied(rows: Mapping[str, int], file: Path, address: str, *, as_json: bool) -> None:
    """What was copied, and what is none of the database's."""
    if as_json:
        typer.echo(json.dumps({"database": address, "file": str(file), "rows": rows}, indent=2))
        return
    typer.echo(f"database {address}")
    print_rows(rows)
    typer.echo(
        f"{file} holds no slides: the folder `uploads` of the data folder is copied as files"
    )


def print_rows(rows: Mapping[str, int]) -> None:
    """Rows by table."""
    for table, count in rows.items():
        typer.echo(f"{count:10} {table}")
