"""Regions that people draw."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from ruichat.serve.access.routes import Asker, Reader
from ruichat.serve.api.shapes import (
    FULL,
    NOT_FOUND,
    Given,
    IdPath,
    Line,
    Page,
    Part,
    Shown,
    problems,
)
from ruichat.serve.services import services_of
from ruichat.storage.database import regions
from ruichat.storage.database.models import Shape
from ruichat.storage.geojson import MAX_POINTS, MAX_XY0

router = APIRouter(tags=["regions"])

Length0 = Annotated[float, Field(ge=-MAX_XY0, le=MAX_XY0, allow_inf_nan=False)]
Point0 = Annotated[list[Length0], Field(min_length=2, max_length=2)]


class NewRegion(Given):
    """A region to be kept."""

    name: Line = ""
    shape: Shape
    points: Annotated[list[Point0], Field(min_length=2, max_length=MAX_POINTS)]
    """Corners in order, [x, y] each, pixels of level 0; of a rectangle all or two opposite ones."""


class RegionChange(Given):
    """What is to be another."""

    name: Line


class RegionShown(Shown):
    """A region."""

    slide_id: str
    user_id: str
    """Who drew it."""
    name: str
    shape: Shape
    points: list[list[float]]


@router.get("/slides/{slide_id}/regions", responses=problems(NOT_FOUND))
def list_regions(request: Request, user: Reader, slide_id: IdPath, part: Part) -> Page[RegionShown]:
    """The regions of a slide, oldest first."""
    with services_of(request).database.session() as session:
        found = regions.list_regions(session, slide_id, user_id=user.id)
        return part.of(found, RegionShown)


@router.post("/slides/{slide_id}/regions", status_code=201, responses=problems(NOT_FOUND, FULL))
def add_region(request: Request, user: Asker, slide_id: IdPath, new: NewRegion) -> RegionShown:
    """Keep a region that you have drawn."""
    with services_of(request).database.session() as session:
        region = regions.add_region(
            session,
            user_id=user.id,
            slide_id=slide_id,
            shape=new.shape,
            points=new.points,
            name=new.name,
        )
        return RegionShown.model_validate(region)


@router.get("/regions/{region_id}", responses=problems(NOT_FOUND))
def get_region(request: Request, user: Reader, region_id: IdPath) -> RegionShown:
    """One region."""
    with services_of(request).database.session() as session:
        return RegionShown.model_validate(regions.get_region(session, region_id, user_id=user.id))


@router.patch("/regions/{region_id}", responses=problems(NOT_FOUND, FULL))
def rename_region(
    request: Request, user: Asker, region_id: IdPath, change: RegionChange
) -> RegionShown:
    """Give a region of yours another name."""
    with services_of(request).database.session() as session:
        region = regions.rename_region(session, region_id, user_id=user.id, name=change.name)
        return RegionShown.model_validate(region)


@router.delete("/regions/{region_id}", status_code=204, responses=problems(NOT_FOUND, FULL))
def delete_region(request: Request, user: Asker, region_id: IdPath) -> None:
    """Remove a region of yours; messages about it stay."""
    with services_of(request).database.session() as session:
        regions.delete_region(session, region_id, user_id=user.id)
