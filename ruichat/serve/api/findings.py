"""Findings: listed, drawn, changed, accepted or rejected by people, exchanged with QuPath."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ruichat.serve.access.roles import CurrentUser
from ruichat.serve.access.routes import Reader, Writer
from ruichat.serve.api.geojson import MEDIA_TYPE, ReadFinding, read_findings, write_findings
from ruichat.serve.api.shapes import (
    CONFLICT,
    FULL,
    NOT_FOUND,
    Given,
    IdPath,
    Line,
    Page,
    Part,
    Prose,
    Shown,
    problems,
)
from ruichat.serve.services import Services, services_of
from ruichat.storage.database import findings, slides
from ruichat.storage.database.models import FindingStatus, Origin

router = APIRouter(tags=["findings"])

Color = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Revision = Annotated[int, Field(ge=0, le=(1 << 31) - 1)]
RevisionQuery = Annotated[
    int, Query(ge=0, le=(1 << 31) - 1, description="Of the finding that you saw.")
]

_GEOJSON: dict[str, Any] = {"schema": {"type": "object"}}
_FILE: dict[str, Any] = {"required": True, "content": {MEDIA_TYPE: _GEOJSON}}


class NewFindingGiven(Given):
    """Something that you point out."""

    geometry: dict[str, Any]
    """GeoJSON, pixels of level 0."""
    name: Line = ""
    classification: Line = ""
    color: Color = "#c80000"
    note: Prose = ""


class FindingChange(Given):
    """What is to be another; what isn't given stays. A new shape or class undoes a decision."""

    revision: Revision
    """Of the finding that you saw: if it was changed since, nothing is (409)."""
    geometry: dict[str, Any] | None = None
    name: Line | None = None
    classification: Line | None = None
    color: Color | None = None
    note: Prose | None = None


class Decision(Given):
    """You have looked at a finding."""

    revision: Revision
    """Of the finding that you saw: if it was changed since, nothing is decided (409)."""
    note: Prose | None = None


class Undoing(Given):
    """You want to look at a finding again."""

    revision: Revision


class FindingShown(Shown):
    """A finding."""

    slide_id: str
    case_id: str
    name: str
    classification: str
    color: str
    geometry: dict[str, Any] = Field(validation_alias="points")
    """GeoJSON, pixels of level 0."""
    status: FindingStatus
    origin: Origin
    made_by: str
    """Name of the model, or id of the person."""
    confidence: float | None
    decided_by: str | None
    decided_at: datetime | None
    note: str
    revision: int


class Imported(BaseModel):
    """What became of a file's features."""

    added: int
    changed: int
    """Findings of this slide that were exported before, and are others now."""
    unchanged: int


@router.get("/cases/{case_id}/findings", responses=problems(NOT_FOUND))
def list_of_case(
    request: Request,
    user: Reader,
    case_id: IdPath,
    part: Part,
    status: FindingStatus | None = None,
) -> Page[FindingShown]:
    """The findings of a case, oldest first."""
    with services_of(request).database.session() as session:
        rows = findings.list_findings(session, user_id=user.id, case_id=case_id, status=status)
        return part.of(rows, FindingShown)


@router.get("/slides/{slide_id}/findings", responses=problems(NOT_FOUND))
def list_of_slide(
    request: Request,
    user: Reader,
    slide_id: IdPath,
    part: Part,
    status: FindingStatus | None = None,
) -> Page[FindingShown]:
    """The findings of a slide, oldest first."""
    with services_of(request).database.session() as session:
        rows = findings.list_findings(session, user_id=user.id, slide_id=slide_id, status=status)
        return part.of(rows, FindingShown)


@router.post("/slides/{slide_id}/findings", status_code=201, responses=problems(NOT_FOUND, FULL))
def add_finding(
    request: Request, user: Writer, slide_id: IdPath, new: NewFindingGiven
) -> FindingShown:
    """Point something out on a slide; it begins as proposed."""
    with services_of(request).database.session() as session:
        given = findings.NewFinding(**new.model_dump())
        rows = findings.add_findings(
            session, [given], user_id=user.id, slide_id=slide_id, origin="person"
        )
        return FindingShown.model_validate(rows[0])


@router.get("/findings/{finding_id}", responses=problems(NOT_FOUND))
def get_finding(request: Request, user: Reader, finding_id: IdPath) -> FindingShown:
    """One finding."""
    with services_of(request).database.session() as session:
        row = findings.get_finding(session, finding_id, user_id=user.id)
        return FindingShown.model_validate(row)


@router.patch("/findings/{finding_id}", responses=problems(NOT_FOUND, CONFLICT, FULL))
def change_finding(
    request: Request, user: Writer, finding_id: IdPath, change: FindingChange
) -> FindingShown:
    """Change a finding."""
    with services_of(request).database.session() as session:
        row = findings.edit_finding(session, finding_id, user_id=user.id, **change.model_dump())
        return FindingShown.model_validate(row)


@router.delete(
    "/findings/{finding_id}", status_code=204, responses=problems(NOT_FOUND, CONFLICT, FULL)
)
def delete_finding(
    request: Request, user: Writer, finding_id: IdPath, revision: RevisionQuery
) -> None:
    """Remove a finding."""
    with services_of(request).database.session() as session:
        findings.delete_finding(session, finding_id, user_id=user.id, revision=revision)


@router.post("/findings/{finding_id}/accept", responses=problems(NOT_FOUND, CONFLICT, FULL))
def accept(request: Request, user: Writer, finding_id: IdPath, decision: Decision) -> FindingShown:
    """Accept a finding in your name."""
    return _decide(services_of(request), user, finding_id, decision, "accepted")


@router.post("/findings/{finding_id}/reject", responses=problems(NOT_FOUND, CONFLICT, FULL))
def reject(request: Request, user: Writer, finding_id: IdPath, decision: Decision) -> FindingShown:
    """Reject a finding in your name."""
    return _decide(services_of(request), user, finding_id, decision, "rejected")


@router.post("/findings/{finding_id}/undo", responses=problems(NOT_FOUND, CONFLICT, FULL))
def undo(request: Request, user: Writer, finding_id: IdPath, seen: Undoing) -> FindingShown:
    """Take a decision back: the finding is a proposal again."""
    with services_of(request).database.session() as session:
        row = findings.undo_decision(session, finding_id, user_id=user.id, revision=seen.revision)
        return FindingShown.model_validate(row)


@router.get(
    "/slides/{slide_id}/findings.geojson",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: _GEOJSON}}, **problems(NOT_FOUND)},
)
def export_findings(
    request: Request, user: Reader, slide_id: IdPath, status: FindingStatus | None = None
) -> Response:
    """The findings of a slide as a file that QuPath opens."""
    with services_of(request).database.session() as session:
        rows = findings.list_findings(session, user_id=user.id, slide_id=slide_id, status=status)
        data = write_findings(rows)
    saved_as = f'attachment; filename="{slide_id}.geojson"'
    return Response(data, media_type=MEDIA_TYPE, headers={"Content-Disposition": saved_as})


@router.post(
    "/slides/{slide_id}/findings.geojson",
    responses=problems(NOT_FOUND, CONFLICT, FULL),
    openapi_extra={"requestBody": _FILE},
)
async def import_findings(request: Request, user: Writer, slide_id: IdPath) -> Imported:
    """Add the annotations of a file that QuPath wrote, all or none; each is a proposal.

    A feature whose id is that of a finding of this slide changes it.
    """
    data = await request.body()
    return await run_in_threadpool(_import, services_of(request), user, slide_id, data)


def _import(services: Services, user: CurrentUser, slide_id: str, data: bytes) -> Imported:
    with services.database.session() as session:
        slide = slides.get_slide(session, slide_id, user_id=user.id)
        read = read_findings(data, width0=slide.width0, height0=slide.height0)
        rows = findings.list_findings(session, user_id=user.id, slide_id=slide_id)
        known = {row.id: row for row in rows}
        new = [each.finding for each in read if each.id not in known]
        findings.add_findings(session, new, user_id=user.id, slide_id=slide_id, origin="import")
        changed = 0
        for each in read:
            row = known.get(each.id or "")
            if row is not None and _differs(row, each):
                changed += 1
                findings.edit_finding(
                    session,
                    row.id,
                    user_id=user.id,
                    revision=row.revision if each.revision is None else each.revision,
                    geometry=each.finding.geometry,
                    name=each.finding.name,
                    classification=each.finding.classification,
                    color=each.finding.color,
                    note=each.finding.note,
                )
        return Imported(added=len(new), changed=changed, unchanged=len(read) - len(new) - changed)


def _differs(row: findings.Finding, each: ReadFinding) -> bool:
    new = each.finding
    kept = (row.points, row.name, row.classification, row.color, row.note)
    return kept != (new.geometry, new.name, new.classification, new.color, new.note)


def _decide(
    services: Services,
    user: CurrentUser,
    finding_id: str,
    decision: Decision,
    status: Literal["accepted", "rejected"],
) -> FindingShown:
    with services.database.session() as session:
        row = findings.decide_finding(
            session,
            finding_id,
            user_id=user.id,
            revision=decision.revision,
            status=status,
            note=decision.note,
        )
        return FindingShown.model_validate(row)
