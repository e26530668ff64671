"""The schema's revisions: bringing a database up to this version's, in one transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from ruichat.errors import ArtifactError

_LOCK = 0x52554943
"""Number of PostgreSQL's advisory lock under which the schema changes; ours alone."""


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's settings, over an open connection: it commits nothing itself."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def newest_revision() -> str:
    """The revision that this version of the program works with."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert head is not None
    return head


def current_revision(connection: Connection) -> str | None:
    """The revision that a database has; none where it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: Connection) -> str:
    """Run the revisions that a database lacks, inside the caller's transaction.

    Returns:
        The revision that it has then.

    Raises:
        ArtifactError: its revision isn't one of ours, so a newer version made it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = alembic_config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    found = current_revision(connection)
    if found is not None and found not in known:
        raise ArtifactError(
            f"the database has schema {found!r}; this version knows up to {newest_revision()!r}",
            hint="Install the version of RuiChat that made it, or a newer one",
        )
    command.upgrade(config, "head")
    return newest_revision()
