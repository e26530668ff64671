"""`ruichat users`: who may log in, as what, and with which tokens."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy.orm import Session

from ruichat.cli.database import opened, settings_of, shown_address
from ruichat.errors import InputError, NotFoundError
from ruichat.serve.access.identity import SINGLE_USER
from ruichat.storage.database import users
from ruichat.storage.database.columns import now
from ruichat.storage.database.models import Language, Role

if TYPE_CHECKING:
    from ruichat.serve.settings import ServeSettings

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file of settings.", show_default=False)
]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder of the database.", show_default=False)
]
Name = Annotated[str, typer.Argument(help="Under which they log in.")]


@app.command()
def add(
    name: Name,
    role: Annotated[Role, typer.Option(help="What they may do.")] = "pathologist",
    language: Annotated[
        Language | None,
        typer.Option(help="Of pages; the server's if none is given.", show_default=False),
    ] = None,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over", help="They become what the single user was: its cases are theirs."
        ),
    ] = False,
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """Add somebody; the password is asked for, or read from standard input."""
    password = ask_password()
    settings = settings_of(config, data)
    with session_of(settings, may_make=not take_over) as session:
        if take_over:
            user = users.get_user(session, user_named(session, SINGLE_USER))
            user.name, user.role = users.clean_name(name), role
            user.language = language or user.language
            users.set_password(session, user.id, password=password)
        else:
            user = users.create_user(
                session,
                name=name,
                role=role,
                password=password,
                language=language or settings.language,
            )
    typer.echo(f"{user.name} may log in as {user.role}")


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """Everybody who may log in, or might again."""
    with session_of(settings_of(config, data)) as session:
        rows = [
            {"id": user.id, "name": user.name, "role": user.role, "is_active": user.is_active}
            for user in users.list_users(session)
        ]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for row in rows:
        typer.echo(f"{row['role']:12}{'' if row['is_active'] else 'disabled ':10}{row['name']}")


@app.command()
def password(name: Name, config: ConfigFile = None, data: DataFolder = None) -> None:
    """Give somebody another password; whoever is logged in as them is out."""
    given = ask_password()
    with session_of(settings_of(config, data)) as session:
        users.set_password(session, user_named(session, name), password=given)
    typer.echo("The password is changed")


@app.command()
def role(
    name: Name,
    role: Annotated[Role, typer.Argument(help="What they may do.")],
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """Give somebody another role."""
    with session_of(settings_of(config, data)) as session:
        users.set_role(session, user_named(session, name), role=role)
    typer.echo(f"{name} is {role} now")


@app.command()
def disable(
    name: Name,
    again: Annotated[bool, typer.Option("--undo", help="Let them in again.")] = False,
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """Keep somebody out: their logins end, their tokens rest."""
    with session_of(settings_of(config, data)) as session:
        users.set_active(session, user_named(session, name), is_active=again)
    typer.echo(f"{name} {'may log in again' if again else 'is kept out'}")


@app.command()
def token(
    name: Name,
    label: Annotated[str, typer.Option(help="What the token is for.")] = "command line",
    days: Annotated[float, typer.Option(min=0.001, help="How long it holds, days.")] = 90,
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """Print a token by which a program acts for somebody; it is shown this once."""
    with session_of(settings_of(config, data)) as session:
        new = users.create_token(
            session,
            user_named(session, name),
            name=label,
            expires_at=now() + timedelta(days=days),
        )
    typer.echo(new.token)


@contextmanager
def session_of(settings: ServeSettings, *, may_make: bool = False) -> Generator[Session]:
    """A unit of work on the server's database, which is named first.

    Args:
        settings: the server's.
        may_make: whether a database that isn't there is made, else it is refused.
    """
    with opened(settings, must_exist=not may_make) as database:
        # Not a result: a token is printed alone.
        typer.echo(f"database {shown_address(settings)}", err=True)
        database.migrate()
        with database.session() as session:
            yield session


def user_named(session: Session, name: str) -> str:
    """Id of a user.

    Raises:
        NotFoundError: there is none of that name.
    """
    user = users.find_user(session, name=name)
    if user is None:
        raise NotFoundError(f"there is no user {name!r}", hint="`ruichat users list` shows them")
    return user.id


def ask_password() -> str:
    """From the keyboard, twice and unseen; from a pipe, its first line.

    Raises:
        InputError: the pipe is empty.
    """
    if sys.stdin.isatty():
        return typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    given = sys.stdin.readline().rstrip("\r\n")
    if not given:
        raise InputError("no password was given", hint="Pipe it in, or run in a terminal")
    return given
