"""What is known of the slides of cases, and the work on them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from ruichat.serve.access.routes import Asker, Reader, Writer
from ruichat.serve.api.shapes import (
    CONFLICT,
    FULL,
    NOT_FOUND,
    Given,
    IdPath,
    Line,
    Page,
    Part,
    Shown,
    problems,
    seen_in,
)
from ruichat.serve.services import services_of
from ruichat.serve.slides.adding import give_mpp
from ruichat.storage.database import jobs, slides
from ruichat.storage.database.models import JobState, SlideState

router = APIRouter(tags=["slides"])

Mpp = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]


class SlideSeen(Given):
    """Fields of a slide as you saw them; those that aren't given may have become others."""

    name: Line = ""
    stain: Line = ""
    block: Line = ""


class SlideChange(Given):
    """What is to be another; what isn't given stays."""

    name: Line | None = None
    stain: Line | None = None
    block: Line | None = None
    given_mpp: Mpp | None = None
    """Micrometres per pixel at level 0, where the file states none."""
    position: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Among the slides of the case, from 0."""
    seen: SlideSeen | None = None
    """If one of these was changed since, nothing is (409)."""


class SlideShown(Shown):
    """A slide of a case; its pixels are at /slides/{id}."""

    case_id: str
    position: int
    name: str
    stain: str
    block: str
    width0: int | None
    """Pixels at level 0; none until the file was read."""
    height0: int | None
    mpp: float | None
    """Micrometres per pixel at level 0."""
    mpp_source: str | None
    given_mpp: float | None
    state: SlideState
    error: str | None
    warnings: list[str]


class JobShown(Shown):
    """Work on a slide in the background."""

    slide_id: str
    kind: str
    state: JobState
    stage: str
    done: int
    total: int
    error: str | None
    updated_at: datetime


@router.get("/cases/{case_id}/slides", responses=problems(NOT_FOUND))
def list_slides(request: Request, user: Reader, case_id: IdPath, part: Part) -> Page[SlideShown]:
    """The slides of a case, in order."""
    with services_of(request).database.session() as session:
        found = slides.list_slides(session, case_id, user_id=user.id)
        return part.of(found, SlideShown)


@router.get("/cases/{case_id}/jobs", responses=problems(NOT_FOUND))
def list_case_jobs(request: Request, user: Reader, case_id: IdPath, part: Part) -> Page[JobShown]:
    """The work on the slides of a case that waits or goes on, oldest first."""
    with services_of(request).database.session() as session:
        return part.of(jobs.list_unfinished(session, case_id, user_id=user.id), JobShown)


@router.get("/slides/{slide_id}", responses=problems(NOT_FOUND))
def get_slide(request: Request, user: Reader, slide_id: IdPath) -> SlideShown:
    """One slide."""
    with services_of(request).database.session() as session:
        return SlideShown.model_validate(slides.get_slide(session, slide_id, user_id=user.id))


@router.patch("/slides/{slide_id}", responses=problems(NOT_FOUND, CONFLICT, FULL))
def change_slide(
    request: Request, user: Writer, slide_id: IdPath, change: SlideChange
) -> SlideShown:
    """Change what people say of a slide; its resolution can be given once, if its file has none."""
    services = services_of(request)
    rest = change.model_dump(exclude={"given_mpp", "seen"})
    rest["seen"] = seen_in(change.seen)
    if change.given_mpp is not None:
        give_mpp(services, slide_id, change.given_mpp, user_id=user.id, **rest)
        return get_slide(request, user, slide_id)
    with services.database.session() as session:
        slide = slides.update_slide(session, slide_id, user_id=user.id, **rest)
        return SlideShown.model_validate(slide)


@router.delete("/slides/{slide_id}", status_code=204, responses=problems(NOT_FOUND, FULL))
def delete_slide(request: Request, user: Writer, slide_id: IdPath) -> None:
    """Remove a slide with what was said about it; its file too, if it was sent."""
    services = services_of(request)
    with services.database.session() as session:
        slides.delete_slide(session, slide_id, user_id=user.id)
    services.slide_access.forget_all()
    services.forget_slide(slide_id)


@router.post("/slides/{slide_id}/read", responses=problems(NOT_FOUND, FULL))
def read_slide(request: Request, user: Writer, slide_id: IdPath) -> JobShown:
    """Have the model read a slide, as after it was added; gives the work under way if there is."""
    job_id = services_of(request).engine.read_slide(slide_id, user.id)
    return get_job(request, user, job_id)


@router.get("/slides/{slide_id}/jobs", responses=problems(NOT_FOUND))
def list_jobs(request: Request, user: Reader, slide_id: IdPath, part: Part) -> Page[JobShown]:
    """The work on a slide, oldest first."""
    with services_of(request).database.session() as session:
        return part.of(jobs.list_jobs(session, slide_id, user_id=user.id), JobShown)


@router.get("/jobs/{job_id}", responses=problems(NOT_FOUND))
def get_job(request: Request, user: Reader, job_id: IdPath) -> JobShown:
    """How far some work has come."""
    with services_of(request).database.session() as session:
        return JobShown.model_validate(jobs.get_job(session, job_id, user_id=user.id))


@router.post("/jobs/{job_id}/cancel", responses=problems(NOT_FOUND, FULL))
def cancel_job(request: Request, user: Asker, job_id: IdPath) -> JobShown:
    """Ask some work to stop; what is done already stays."""
    services_of(request).engine.jobs.cancel(job_id, user.id)
    return get_job(request, user, job_id)
