"""Changes that rest on what somebody saw: refused where another has changed that since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from sqlalchemy import update
from sqlalchemy.orm import Session

from ruichat.errors import ConflictError, NotFoundError
from ruichat.storage.database.models import Case, Slide

Row = TypeVar("Row", Case, Slide)


def locked(session: Session, row: Row, seen: Mapping[str, str | None]) -> Row:
    """The row as it is once every other writer of it is done; they wait until we are.

    Args:
        seen: fields as the client saw them; none and empty are alike.

    Raises:
        NotFoundError: it was removed meanwhile.
        ConflictError: one of the fields is another by now.
    """
    kind = type(row)
    # A write that changes nothing: the only lock that both databases have.
    session.execute(
        update(kind)
        .where(kind.id == row.id)
        .values(created_at=kind.created_at)
        .execution_options(synchronize_session=False)
    )
    what = kind.__name__.lower()
    now = session.get(kind, row.id, populate_existing=True)
    if now is None:
        raise NotFoundError(f"there is no such {what}")
    changed = [name for name, was in seen.items() if (getattr(now, name) or "") != (was or "")]
    if changed:
        raise ConflictError(
            f"the {what} was changed meanwhile: {', '.join(changed)}",
            hint="Load it again, then change it",
        )
    return now
