"""Slides come into cases: sent by people, or chosen from folders of the server."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from ruichat.errors import InputError
from ruichat.serve.access.bodies import body_limit
from ruichat.serve.access.routes import Writer
from ruichat.serve.services import Services, services_of
from ruichat.serve.slides.adding import add_slide
from ruichat.serve.slides.folders import UPLOADS
from ruichat.serve.slides.uploads import Incoming, SlideForm
from ruichat.slide.mask_signs import MaskSign
from ruichat.storage.database import cases
from ruichat.storage.database.models import LINE

router = APIRouter(tags=["slides"])

BLOCK_BYTES = 1 << 20
"""Taken apart and written at once, in another thread."""

FORM_BYTES = 1 << 20
"""Of a form beside its file, at most."""

CUT_HINT = "Ask the operator to allow smaller folders (slide_folders), or upload the slide"

CaseId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
ShortWords = Annotated[str, Field(max_length=LINE, pattern=r"^[^\x00-\x1f\x7f]*$")]

SENT_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "stain": {"type": "string"},
                        "block": {"type": "string"},
                    },
                }
            }
        },
    }
}


class FolderEntry(BaseModel):
    """A slide in a folder of the server."""

    id: str
    name: str
    """Its place in the folder, for people."""
    sign: MaskSign = ""
    """Why it may be a mask of labels rather than a slide: it is grey, or has flat colours."""


class FolderEntries(BaseModel):
    """Slides in folders of the server."""

    entries: list[FolderEntry]
    total: int
    """How many there are in all that the query finds."""
    cut: list[str] = []
    """Folders with more files than are looked at; slides beyond are neither listed nor found."""
    hint: str = ""
    """What to do where folders are cut."""


class ChosenEntry(BaseModel):
    """Which slide is to join a case."""

    model_config = {"extra": "forbid"}

    entry: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    stain: ShortWords = ""
    block: ShortWords = ""


class Added(BaseModel):
    """A slide that has joined a case."""

    id: str


@router.get("/folders")
def folders(
    request: Request,
    user: Writer,
    query: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
    anew: Annotated[bool, Query(description="See files that came a moment ago too.")] = False,
) -> FolderEntries:
    """Slides in the folders that the operator allows, those whose names hold the query."""
    entries = services_of(request).entries
    found = [
        FolderEntry(id=entry.id, name=entry.name, sign=entry.sign)
        for entry in entries.list(anew=anew)
        if query.casefold() in entry.name.casefold()
    ]
    cut = list(entries.cut)
    hint = CUT_HINT if cut else ""
    return FolderEntries(entries=found[:limit], total=len(found), cut=cut, hint=hint)


@router.post("/cases/{case_id}/slides/from-folder", status_code=201)
def add_from_folder(request: Request, user: Writer, case_id: CaseId, chosen: ChosenEntry) -> Added:
    """Add a slide of the server's folders to a case; its file stays where it is."""
    services = services_of(request)
    _check_case(services, case_id, user.id)
    entry = services.entries.find(chosen.entry)
    path = services.library.folders.resolve(entry.root, entry.path)
    slide_id = add_slide(
        services,
        path,
        user_id=user.id,
        case_id=case_id,
        name=path.name,
        stain=chosen.stain,
        block=chosen.block,
    )
    return Added(id=slide_id)


@router.post("/cases/{case_id}/slides", status_code=201, openapi_extra=SENT_FORM)
async def upload(request: Request, user: Writer, case_id: CaseId) -> Added:
    """Send a slide file as multipart/form-data, in the field `file`."""
    services = services_of(request)
    await asyncio.to_thread(_check_case, services, case_id, user.id)
    max_bytes = round(services.settings.max_upload_gb * 1e9)
    body_limit(request).max_bytes = max_bytes + FORM_BYTES
    slide_id = uuid.uuid4().hex
    uploads = services.library.folders.roots[UPLOADS]
    form = SlideForm(
        request.headers.get("content-type", ""), lambda: Incoming(uploads, slide_id, max_bytes)
    )
    try:
        await _receive(request, form)
    except BaseException:
        if form.incoming is not None:
            await asyncio.shield(asyncio.to_thread(form.incoming.discard))
        raise
    return await asyncio.to_thread(_keep, services, form, slide_id, user.id, case_id)


async def _receive(request: Request, form: SlideForm) -> None:
    """Write the request's body to disk as it comes."""
    block = bytearray()
    async for data in request.stream():
        block += data
        if len(block) >= BLOCK_BYTES:
            await asyncio.to_thread(form.write, bytes(block))
            block.clear()
    await asyncio.to_thread(form.write, bytes(block))
    if not form.is_complete or form.incoming is None:
        raise InputError(
            "the form ended before its file did" if form.incoming else "no file was sent",
            hint="Send a slide file in the field 'file'",
        )


def _keep(services: Services, form: SlideForm, slide_id: str, user_id: str, case_id: str) -> Added:
    """The slide of a form that has come whole.

    It removes what it can't keep itself: whoever waits for it may have gone in between.
    """
    assert form.incoming is not None
    try:
        path = form.incoming.finish(form.suffix)
        add_slide(
            services,
            path,
            user_id=user_id,
            case_id=case_id,
            name=form.file_name,
            stain=form.fields.get("stain", ""),
            block=form.fields.get("block", ""),
            slide_id=slide_id,
        )
    except BaseException:
        form.incoming.discard()
        raise
    return Added(id=slide_id)


def _check_case(services: Services, case_id: str, user_id: str) -> None:
    """Before anything is received.

    Raises:
        NotFoundError: there is no such case for the user.
    """
    with services.database.session() as session:
        cases.get_case(session, case_id, user_id=user_id)
