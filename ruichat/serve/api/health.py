"""Whether the server lives, and whether it can work: for proxies and supervisors."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Depends
from pydantic import BaseModel
from sqlalchemy import text
from starlette.requests import Request

from ruichat.errors import RuiChatError
from ruichat.serve.access.routes import PUBLIC, USER_KEY
from ruichat.serve.problems import ErrorBody
from ruichat.serve.services import services_of

router = APIRouter(tags=["health"], dependencies=[Depends(PUBLIC)])


class NotReadyError(RuiChatError):
    """The server can't answer questions, or not yet."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after_s = 5


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
    """Answers ok where requests can be served: the database is there, and the model loaded."""
    services = services_of(request)
    with services.database.session() as session:
        session.execute(text("SELECT 1"))
    model = services.engine.model.status
    if model.state == "loading":
        slowly = " and takes longer than its limit" if model.slow is not None else ""
        told = f"the model is being loaded{slowly}"
        raise NotReadyError(told, hint="Ask again in a few seconds")
    if model.error is not None:
        # Its words may name a folder of the server: only for those who may come in.
        is_known = request.scope.get(USER_KEY) is not None
        told = model.error.message if is_known else type(model.error).__name__
        raise NotReadyError(f"the model can't be loaded: {told}", hint="See the server's log")
    return Health(status="ok")
