"""Slides of cases: where their files are, what is known of them, how far reading has come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ruichat.errors import ConflictError, InputError, NotFoundError
from ruichat.storage.database.cases import get_case, touch_case, visible_cases
from ruichat.storage.database.models import Slide
from ruichat.storage.database.seen import locked

KNOWN = frozenset(
    {"digest", "width0", "height0", "mpp", "mpp_source", "state", "error", "warnings"}
)
"""Fields that the server fills in once it has read the file."""


def add_slide(
    session: Session,
    *,
    user_id: str,
    case_id: str,
    name: str,
    root: str,
    path: str,
    stain: str = "",
    block: str = "",
    given_mpp: float | None = None,
    slide_id: str | None = None,
) -> Slide:
    """Add a slide to the end of a case.

    Args:
        path: of its file, relative to the allowed folder that `root` names.
        given_mpp: micrometres per pixel by a person, where the file states none.
        slide_id: where the caller has named a file after it; else a new one.

    Raises:
        NotFoundError: there is no such case for the user.
        InputError: mpp isn't a length.
    """
    get_case(session, case_id, user_id=user_id)
    last = session.scalar(select(func.max(Slide.position)).where(Slide.case_id == case_id))
    slide = Slide(
        case_id=case_id,
        position=0 if last is None else last + 1,
        name=name,
        stain=stain,
        block=block,
        root=root,
        path=path,
        given_mpp=_checked_mpp(given_mpp),
        **({} if slide_id is None else {"id": slide_id}),
    )
    session.add(slide)
    touch_case(session, case_id)
    session.flush()
    return slide


def list_slides(session: Session, case_id: str, *, user_id: str) -> Sequence[Slide]:
    """The slides of a case, in order.

    Raises:
        NotFoundError: there is no such case for the user.
    """
    get_case(session, case_id, user_id=user_id)
    wanted = select(Slide).where(Slide.case_id == case_id)
    return session.scalars(wanted.order_by(Slide.position, Slide.created_at, Slide.id)).all()


def get_slide(session: Session, slide_id: str, *, user_id: str) -> Slide:
    """One slide.

    Raises:
        NotFoundError: there is none, or the user may not see it.
    """
    wanted = select(Slide).where(Slide.id == slide_id, Slide.case_id.in_(visible_cases(user_id)))
    slide = session.scalar(wanted)
    if slide is None:
        raise NotFoundError("there is no such slide")
    return slide


def any_slide(session: Session, slide_id: str) -> Slide:
    """One slide, whoever it belongs to: for the server's own work, after access was checked.

    Raises:
        NotFoundError: there is none.
    """
    slide = session.get(Slide, slide_id)
    if slide is None:
        raise NotFoundError("there is no such slide")
    return slide


def update_slide(
    session: Session,
    slide_id: str,
    *,
    user_id: str,
    name: str | None = None,
    stain: str | None = None,
    block: str | None = None,
    given_mpp: float | None = None,
    position: int | None = None,
    seen: Mapping[str, str | None] | None = None,
) -> Slide:
    """Change what is given.

    Args:
        seen: fields as the user saw them; where one is another by now, nothing is changed.

    Raises:
        NotFoundError: there is no such slide for the user.
        ConflictError: it isn't as it was seen, or another mpp is known already.
        InputError: mpp isn't a length, or there is no such position.
    """
    slide = get_slide(session, slide_id, user_id=user_id)
    if seen or given_mpp is not None:
        slide = locked(session, slide, seen or {})
    if given_mpp is not None:
        check_given_mpp(slide, given_mpp)
    if name is not None:
        slide.name = name
    if stain is not None:
        slide.stain = stain
    if block is not None:
        slide.block = block
    if given_mpp is not None:
        slide.given_mpp = _checked_mpp(given_mpp)
    if position is not None:
        _move(session, slide, position)
    touch_case(session, slide.case_id)
    session.flush()
    return slide


def check_given_mpp(slide: Slide, mpp: float) -> None:
    """Make sure that a person may say what a pixel of a slide measures.

    Raises:
        ConflictError: it is known already: what was measured with it would no longer hold.
    """
    if slide.given_mpp == mpp or (slide.mpp is None and slide.given_mpp is None):
        return
    raise ConflictError(
        f"the slide's resolution is {slide.mpp or slide.given_mpp:g} micrometres per pixel "
        f"by its {'scanner' if slide.mpp_source == 'file' else 'user'}",
        hint="Where that is wrong, remove the slide and add it again",
    )


def record_slide(session: Session, slide_id: str, **known: Any) -> Slide:
    """Keep what the server has learned of a slide (fields of `KNOWN`).

    Raises:
        NotFoundError: it was deleted meanwhile.
    """
    if unknown := known.keys() - KNOWN:
        raise TypeError(f"not learned from a file: {sorted(unknown)}")
    slide = any_slide(session, slide_id)
    for name, value in known.items():
        setattr(slide, name, value)
    session.flush()
    return slide


def delete_slide(session: Session, slide_id: str, *, user_id: str) -> Slide:
    """Remove a slide with its regions, findings and jobs; its file is the caller's to remove.

    Raises:
        NotFoundError: there is no such slide for the user.
    """
    slide = get_slide(session, slide_id, user_id=user_id)
    session.delete(slide)
    touch_case(session, slide.case_id)
    session.flush()
    return slide


def list_files(session: Session) -> Sequence[tuple[str, str, str]]:
    """Id, root and path of every slide, for checks and for sweeping files without a slide."""
    rows = session.execute(select(Slide.id, Slide.root, Slide.path).order_by(Slide.id))
    return [(slide_id, root, path) for slide_id, root, path in rows]


def _move(session: Session, slide: Slide, position: int) -> None:
    """Put a slide at another place of its case; the others close up."""
    wanted = select(Slide).where(Slide.case_id == slide.case_id, Slide.id != slide.id)
    others = list(session.scalars(wanted.order_by(Slide.position, Slide.created_at, Slide.id)))
    if not 0 <= position <= len(others):
        raise InputError(
            f"position {position} is not among the case's {len(others) + 1} slides",
            hint=f"Give 0 to {len(others)}",
        )
    others.insert(position, slide)
    for place, each in enumerate(others):
        each.position = place


def _checked_mpp(mpp: float | None) -> float | None:
    if mpp is not None and not 0 < mpp < math.inf:
        raise InputError(
            f"{mpp} is no number of micrometres per pixel", hint="0.25 is usual at 40x, for example"
        )
    return mpp
