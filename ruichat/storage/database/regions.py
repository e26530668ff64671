"""Regions that people draw on slides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ruichat.errors import InputError, NotFoundError
from ruichat.storage.database.cases import visible_cases
from ruichat.storage.database.models import Region, Shape, Slide
from ruichat.storage.database.shapes import check_corners
from ruichat.storage.database.slides import get_slide


def add_region(
    session: Session,
    *,
    user_id: str,
    slide_id: str,
    shape: Shape,
    points: Sequence[Any],
    name: str = "",
) -> Region:
    """Keep a region.

    Args:
        points: corners, [x0, y0] each, level-0 pixels.

    Raises:
        NotFoundError: there is no such slide for the user.
        InputError: it encloses no area, or lies beside the slide.
    """
    slide = get_slide(session, slide_id, user_id=user_id)
    corners = check_corners(shape, points)
    _check_touches(slide, corners)
    region = Region(slide_id=slide_id, user_id=user_id, name=name, shape=shape, points=corners)
    session.add(region)
    session.flush()
    return region


def list_regions(session: Session, slide_id: str, *, user_id: str) -> Sequence[Region]:
    """The regions of a slide, oldest first.

    Raises:
        NotFoundError: there is no such slide for the user.
    """
    get_slide(session, slide_id, user_id=user_id)
    wanted = select(Region).where(Region.slide_id == slide_id)
    return session.scalars(wanted.order_by(Region.created_at, Region.id)).all()


def get_region(session: Session, region_id: str, *, user_id: str) -> Region:
    """One region.

    Raises:
        NotFoundError: there is none, or the user may not see it.
    """
    seen = select(Slide.id).where(Slide.case_id.in_(visible_cases(user_id)))
    wanted = select(Region).where(Region.id == region_id, Region.slide_id.in_(seen))
    region = session.scalar(wanted)
    if region is None:
        raise NotFoundError("there is no such region")
    return region


def rename_region(session: Session, region_id: str, *, user_id: str, name: str) -> Region:
    """Give a region another name; only who drew it may.

    Raises:
        NotFoundError: the user has drawn no such region.
    """
    region = _drawn(session, region_id, user_id=user_id)
    region.name = name
    session.flush()
    return region


def delete_region(session: Session, region_id: str, *, user_id: str) -> None:
    """Remove a region; only who drew it may. Messages about it stay.

    Raises:
        NotFoundError: the user has drawn no such region.
    """
    session.delete(_drawn(session, region_id, user_id=user_id))
    session.flush()


def _drawn(session: Session, region_id: str, *, user_id: str) -> Region:
    region = get_region(session, region_id, user_id=user_id)
    if region.user_id != user_id:
        raise NotFoundError("there is no such region of yours")
    return region


def _check_touches(slide: Slide, corners: list[list[float]]) -> None:
    """Refuse what lies wholly beside a slide whose size is known."""
    if slide.width0 is None or slide.height0 is None:
        return
    columns, rows = [x for x, _ in corners], [y for _, y in corners]
    beside = max(columns) <= 0 or max(rows) <= 0
    if beside or min(columns) >= slide.width0 or min(rows) >= slide.height0:
        raise InputError(
            f"region lies beside the slide of {slide.width0} x {slide.height0} px",
            hint="Draw on the slide; positions are pixels of level 0",
        )
