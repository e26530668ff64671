"""A slide joins a case: opened once through all gates, then noted, then read by the model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ruichat.errors import MissingMppError, RuiChatError
from ruichat.serve.services import Services
from ruichat.serve.slides.library import known_of
from ruichat.slide.opening import open_slide
from ruichat.storage.database import slides as rows
from ruichat.storage.database.models import LINE

log = logging.getLogger(__name__)


def add_slide(
    services: Services,
    path: Path,
    *,
    user_id: str,
    case_id: str,
    name: str,
    stain: str = "",
    block: str = "",
    slide_id: str | None = None,
) -> str:
    """Add a slide that lies in an allowed folder.

    A slide whose file states no resolution is added too: a person has to give it.

    Returns:
        Its id.

    Raises:
        InputError: it isn't one, or is damaged; nothing is added.
        NotFoundError: there is no such case for the user.
        StorageFullError: the database's disk is full.
    """
    known = look_at(path)
    root, relative = services.library.folders.locate(path)
    with services.database.session() as session:
        row = rows.add_slide(
            session,
            user_id=user_id,
            case_id=case_id,
            name=(name or "slide")[:LINE],
            root=root,
            path=relative,
            stain=stain[:LINE],
            block=block[:LINE],
            slide_id=slide_id,
        )
        rows.record_slide(session, row.id, **known)
    if known["error"] is None:
        _read_ahead(services, row.id, user_id)
    return row.id


def give_mpp(services: Services, slide_id: str, mpp: float, *, user_id: str, **change: Any) -> None:
    """Say what a pixel of a slide measures, whose file doesn't; then it is opened and read.

    Args:
        change: what else is said of it (see `update_slide`), kept together with it or not at all.

    Raises:
        NotFoundError: there is no such slide for the user.
        ConflictError: it is known already: what was measured with it would no longer hold. Or
            the slide isn't as it was seen.
        InputError: no scan has such a resolution, the slide can't be opened, or the change is none.
    """
    with services.database.session() as session:
        row = rows.get_slide(session, slide_id, user_id=user_id)
        if row.given_mpp == mpp:
            rows.update_slide(session, slide_id, user_id=user_id, **change)
            return
        rows.check_given_mpp(row, mpp)
    path = services.library.slide_path(slide_id)
    with open_slide(path, mpp=mpp) as slide:
        known = known_of(slide)
    with services.database.session() as session:
        # Somebody may have given another while the file was opened: this looks once more.
        rows.update_slide(session, slide_id, user_id=user_id, given_mpp=mpp, **change)
        rows.record_slide(session, slide_id, **known)
    services.forget_slide(slide_id)
    _read_ahead(services, slide_id, user_id)


def _read_ahead(services: Services, slide_id: str, user_id: str) -> None:
    """Have a slide read that is kept by now; where that fails, its first question reads it."""
    try:
        services.engine.read_slide(slide_id, user_id)
    except RuiChatError as error:
        log.error("slide %s isn't read ahead: %s", slide_id, error.message)


def look_at(path: Path) -> dict[str, Any]:
    """What the database keeps of a slide.

    Raises:
        InputError: it can't be opened, for another reason than that it states no resolution.
    """
    try:
        with open_slide(path) as slide:
            return known_of(slide)
    except MissingMppError as error:
        return {"error": str(error)}
