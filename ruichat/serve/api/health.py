"""Whether the server lives, and whether it can work: for proxies and supervisors."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import BaseModel
from sqlalchemy import text
from starlette.requests import Request

from ruichat.serve.access.routes import PUBLIC
from ruichat.serve.problems import ErrorBody
from ruichat.serve.services import services_of

router = APIRouter(tags=["health"], dependencies=[Depends(PUBLIC)])


class Health(BaseModel):
    """How the server is."""

    status: str
    """Always ok: whoever isn't, gets an error."""


@router.get("/health")
async def health() -> Health:
    """Answers as long as the process does."""
    return Health(status="ok")


@router.get("/ready", responses={503: {"model": ErrorBody}})
def ready(request: Request) -> Health:
    """Answers ok where requests can be served: the database is there."""
    with services_of(request).database.session() as session:
        session.execute(text("SELECT 1"))
    return Health(status="ok")
