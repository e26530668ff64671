"""Runs revisions over the connection that the caller holds."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy.types import TypeDecorator

from ruichat.storage.database.models import Base


def _plain_type(kind: str, thing: Any, autogen: Any) -> Any:
    """How a new revision writes our own types: as what they are kept as, to stand alone."""
    if kind == "type" and isinstance(thing, TypeDecorator):
        return f"sa.{thing.impl_instance!r}"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_item=_plain_type,
    # SQLite changes a column by making the table anew.
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
