"""Overlays of a slide for the viewer: which there are, and their pictures."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from ruichat.serve.access.routes import Reader
from ruichat.serve.services import services_of
from ruichat.serve.slides.masks import LegendItem
from ruichat.serve.slides.overlays import Name, Outline
from ruichat.serve.slides.routes import SlideId, headers_of, shown_to, tags_given
from ruichat.storage.database import slides as rows
from ruichat.units import Region0

router = APIRouter(tags=["slides"])


class Extent(BaseModel):
    """A part of a slide, level-0 pixels from the top left."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def of(cls, region0: Region0) -> Extent:
        """The same for clients."""
        return cls(x=region0.x, y=region0.y, width=region0.width, height=region0.height)


class Legend(BaseModel):
    """A colour and what it stands for."""

    key: str
    """By which it can be shown alone: `?only=`."""
    color: tuple[int, int, int]
    en: str
    zh: str
    share: float | None
    """Of the tissue that is so, 0 to 1; None where that isn't known."""

    @classmethod
    def of(cls, item: LegendItem) -> Legend:
        """The same for clients."""
        return cls(key=item.key, color=item.color, en=item.en, zh=item.zh, share=item.share)


class OverlayInfo(BaseModel):
    """One overlay that a slide has."""

    name: str
    extent0: Extent
    legend: list[Legend]

    @classmethod
    def of(cls, outline: Outline) -> OverlayInfo:
        """The same for clients."""
        legend = [Legend.of(item) for item in outline.legend]
        return cls(name=outline.name, extent0=Extent.of(outline.extent0), legend=legend)


class OverlayList(BaseModel):
    """The overlays that a slide has; that of classes comes when its tiles have been read."""

    overlays: list[OverlayInfo]


@router.get("/slides/{slide_id}/overlays")
async def overlays(request: Request, user: Reader, slide_id: SlideId) -> OverlayList:
    """The overlays that a slide has."""
    services = services_of(request)
    shown = await shown_to(services, user, slide_id)

    def look() -> list[Outline]:
        with services.database.session() as session:
            is_read = rows.any_slide(session, slide_id).state == "ready"
        return services.overlays.outlines(slide_id, shown, is_read=is_read)

    return OverlayList(overlays=[OverlayInfo.of(each) for each in await asyncio.to_thread(look)])


@router.get(
    "/slides/{slide_id}/overlays/{name}.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "A PNG with transparency"}},
)
async def overlay_picture(
    request: Request,
    user: Reader,
    slide_id: SlideId,
    name: Name,
    only: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """An overlay as a picture, or one item of its legend alone; the first time takes seconds."""
    services = services_of(request)
    shown = await shown_to(services, user, slide_id)
    future = services.overlays.fetch(slide_id, shown, name)
    overlay = await asyncio.shield(asyncio.wrap_future(future))
    data = overlay.picture(only)
    tag = f'"{overlay.tag(only)}"'
    if tags_given(request, tag):
        return Response(status_code=304, headers=headers_of(tag, is_lasting=False))
    return Response(data, media_type="image/png", headers=headers_of(tag, is_lasting=False))
