"""A slide joins a case: opened once through all gates, then noted, then read by the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruichat.errors import ConflictError, MissingMppError
from ruichat.serve.services import Services
from ruichat.serve.slides.library import known_of
from ruichat.slide.opening import open_slide
from ruichat.storage.database import slides as rows
from ruichat.storage.database.models import LINE


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
        services.engine.read_slide(row.id, user_id)
    return row.id


def give_mpp(services: Services, slide_id: str, mpp: float, *, user_id: str) -> None:
    """Say what a pixel of a slide measures, whose file doesn't; then it is opened and read.

    Raises:
        NotFoundError: there is no such slide for the user.
        ConflictError: it is known already: what was measured with it would no longer hold.
        InputError: no scan has such a resolution, or the slide can't be opened.
    """
    with services.database.session() as session:
        row = rows.get_slide(session, slide_id, user_id=user_id)
        if row.given_mpp == mpp:
            return
        if row.mpp is not None or row.given_mpp is not None:
            raise ConflictError(
                f"the slide's resolution is {row.mpp or row.given_mpp:g} micrometres per pixel "
                f"by its {'scanner' if row.mpp_source == 'file' else 'user'}",
                hint="Where that is wrong, remove the slide and add it again",
            )
    path = services.library.slide_path(slide_id)
    with open_slide(path, mpp=mpp) as slide:
        known = known_of(slide)
    with services.database.session() as session:
        rows.update_slide(session, slide_id, user_id=user_id, given_mpp=mpp)
        rows.record_slide(session, slide_id, **known)
    services.forget_slide(slide_id)
    services.engine.read_slide(slide_id, user_id)


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
