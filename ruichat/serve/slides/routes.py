"""What the viewer asks for: what a slide is, its tiles, its thumbnail."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from ruichat.serve.access.roles import CurrentUser
from ruichat.serve.access.routes import Reader
from ruichat.serve.services import Services, services_of
from ruichat.serve.slides.tiles import Shown
from ruichat.slide.mpp import OBJECTIVE_UM
from ruichat.storage.database import slides as rows

router = APIRouter(tags=["slides"])

KEPT = "private, max-age=3600"
"""For browsers of one person alone; `Vary` keeps it from the next one at the same desk."""

SlideId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
Place = Annotated[int, Path(ge=0, lt=1 << 31)]

JPEG_OR_304: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}, "description": "A JPEG"},
    304: {"description": "The client has it"},
}


class SlideInfo(BaseModel):
    """What a viewer has to know of a slide; sizes are None until it was opened."""

    id: str
    name: str
    stain: str
    block: str
    state: str
    """new, reading, ready or failed."""
    error: str | None
    needs_mpp: bool
    """Whether a person has to give the resolution, which the file doesn't state."""
    width0: int | None
    """Pixels of level 0."""
    height0: int | None
    mpp: float | None
    """Micrometres per pixel of level 0."""
    mpp_source: str | None
    """file or user."""
    magnification: float | None
    """Of the objective that such a resolution is usual for."""
    tile_px: int | None
    """Side of a tile, pixels of its level."""
    num_levels: int | None
    """Deep-zoom levels; the last is level 0 of the file, each one before has half its size."""
    warnings: list[str]


@router.head("/slides/{slide_id}/tiles/{level}/{column}_{row}.jpg", include_in_schema=False)
@router.get(
    "/slides/{slide_id}/tiles/{level}/{column}_{row}.jpg",
    response_class=Response,
    responses=JPEG_OR_304,
)
async def tile(
    request: Request, user: Reader, slide_id: SlideId, level: Place, column: Place, row: Place
) -> Response:
    """One tile: its place in its level, counted in tiles from the top left."""
    services = services_of(request)
    shown = await shown_to(services, user, slide_id)
    tag = f'"{shown.version}-{level}-{column}-{row}"'
    if tags_given(request, tag):
        shown.zoom.box(level, column, row)
        return Response(status_code=304, headers=headers_of(tag))
    data = services.tiles.cached(slide_id, shown, level, column, row)
    if data is None:
        data = await _made(services.tiles.fetch(slide_id, shown, level, column, row))
    return Response(data, media_type="image/jpeg", headers=headers_of(tag))


@router.get("/slides/{slide_id}/info")
def info(request: Request, user: Reader, slide_id: SlideId) -> SlideInfo:
    """What a viewer has to know of a slide."""
    services = services_of(request)
    with services.database.session() as session:
        row = rows.get_slide(session, slide_id, user_id=user.id)
        known = SlideInfo(
            id=row.id,
            name=row.name,
            stain=row.stain,
            block=row.block,
            state=row.state,
            error=row.error,
            needs_mpp=row.mpp is None and row.given_mpp is None and row.error is not None,
            width0=row.width0,
            height0=row.height0,
            mpp=row.mpp,
            mpp_source=row.mpp_source,
            magnification=None if row.mpp is None else round(OBJECTIVE_UM / row.mpp, 1),
            tile_px=None,
            num_levels=None,
            warnings=row.warnings,
        )
    if row.state == "failed" or known.needs_mpp:
        return known
    shown = services.tiles.show(slide_id)
    zoom = shown.zoom
    known.width0, known.height0 = zoom.width0, zoom.height0
    known.tile_px, known.num_levels = zoom.tile_px, zoom.num_levels
    known.mpp, known.mpp_source = shown.mpp, shown.mpp_source
    known.magnification = round(OBJECTIVE_UM / shown.mpp, 1)
    known.warnings = list(shown.warnings)
    return known


@router.head("/slides/{slide_id}/thumbnail.jpg", include_in_schema=False)
@router.get("/slides/{slide_id}/thumbnail.jpg", response_class=Response, responses=JPEG_OR_304)
async def thumbnail(
    request: Request,
    user: Reader,
    slide_id: SlideId,
    max_px: Annotated[int, Query(ge=16, le=2048)] = 512,
) -> Response:
    """The whole slide, its longer side at most `max_px` pixels; never the label."""
    services = services_of(request)
    shown = await shown_to(services, user, slide_id)
    tag = f'"{shown.version}-thumbnail-{max_px}"'
    if tags_given(request, tag):
        return Response(status_code=304, headers=headers_of(tag))
    data = await _made(services.tiles.fetch_thumbnail(slide_id, shown, max_px))
    return Response(data, media_type="image/jpeg", headers=headers_of(tag))


async def shown_to(services: Services, user: CurrentUser, slide_id: str) -> Shown:
    """The slide if the user may see it; no other thread is asked when both are known."""
    if not services.slide_access.known(user.id, slide_id):
        await asyncio.to_thread(services.slide_access.check, user.id, slide_id)
    shown = services.tiles.shown(slide_id)
    return shown or await asyncio.to_thread(services.tiles.show, slide_id)


async def _made(future: Future[bytes]) -> bytes:
    """Wait for what others may wait for, too: who goes away leaves it to them."""
    return await asyncio.shield(asyncio.wrap_future(future))


def tags_given(request: Request, tag: str) -> bool:
    """Whether the client says that it has this version (RFC 9110, 13.1.2)."""
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in given.split(","))


def headers_of(tag: str, *, is_lasting: bool = True) -> dict[str, str]:
    """How long a browser may keep an answer, and for whom.

    Args:
        tag: of the content, in quotes.
        is_lasting: whether the content under this address never changes while the file doesn't.
    """
    kept = KEPT if is_lasting else "private, no-cache"
    return {"ETag": tag, "Cache-Control": kept, "Vary": "Cookie, Authorization"}
