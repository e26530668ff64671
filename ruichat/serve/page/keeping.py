"""An answer's cited regions, kept as findings for a person to accept or reject."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from ruichat.errors import InputError
from ruichat.histology import BY_KEY
from ruichat.serve.access.routes import Writer
from ruichat.serve.api.shapes import FULL, NOT_FOUND, IdPath, problems
from ruichat.serve.page.shown import answer_shown, color_of
from ruichat.serve.services import services_of
from ruichat.storage.database import chats, findings, slides
from ruichat.storage.database.findings import NewFinding

router = APIRouter(tags=["chats"])


class Kept(BaseModel):
    """What became of an answer's regions."""

    added: int
    """Of them; those that were kept before aren't kept again."""
    gone: int
    """Of them, on slides that were removed since: they can't be kept."""


@router.post(
    "/chats/{chat_id}/messages/{message_id}/findings",
    status_code=201,
    responses=problems(NOT_FOUND, FULL),
)
def keep_citations(request: Request, user: Writer, chat_id: IdPath, message_id: IdPath) -> Kept:
    """Keep the regions that an answer cites as findings; each is a proposal of the model."""
    with services_of(request).database.session() as session:
        message = chats.get_message(session, chat_id, message_id, user_id=user.id)
        shown = answer_shown(message)
        if not shown["citations"]:
            raise InputError("the answer cites no region", hint="Draw a region yourself")
        by_slide: dict[str, list[NewFinding]] = {}
        for citation in shown["citations"]:
            by_slide.setdefault(citation["slide_id"], []).append(
                finding_of(citation, shown["claims"], shown["confidence"])
            )
        model = shown["model"] or "unknown"
        case_id = chats.get_chat(session, chat_id, user_id=user.id).case_id
        present = {slide.id for slide in slides.list_slides(session, case_id, user_id=user.id)}
        added = gone = 0
        for slide_id, new in by_slide.items():
            if slide_id not in present:
                gone += len(new)
                continue
            there = findings.list_findings(session, user_id=user.id, slide_id=slide_id)
            before = [(one.points, one.note) for one in there if one.made_by == model]
            kept = [one for one in new if (one.geometry, one.note) not in before]
            findings.add_findings(
                session, kept, user_id=user.id, slide_id=slide_id, origin="model", made_by=model
            )
            added += len(kept)
    return Kept(added=added, gone=gone)


def finding_of(
    citation: Mapping[str, Any], claims: list[dict[str, Any]], confidence: float | None
) -> NewFinding:
    """A cited region as a finding, noted with the claims that rest on it."""
    box = citation["box0"]
    left, top = box["x"], box["y"]
    right, bottom = left + box["width"], top + box["height"]
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    said = [claim["text"] for claim in claims if citation["name"] in claim["citations"]]
    tissue = BY_KEY.get(citation["shows"] or "")
    red, green, blue = color_of(citation["shows"])
    return NewFinding(
        geometry={"type": "Polygon", "coordinates": [ring]},
        name=citation["name"],
        classification="" if tissue is None else tissue.en,
        color=f"#{red:02x}{green:02x}{blue:02x}",
        confidence=confidence,
        note=" ".join(said),
    )
