"""The model that this server asks, and how it stands with it."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from ruichat.serve.access.routes import Reader
from ruichat.serve.api.shapes import problems
from ruichat.serve.services import services_of

router = APIRouter(tags=["model"])


class ModelShown(BaseModel):
    """The model."""

    name: str
    """As the operator chose it."""
    state: Literal["waiting", "loading", "ready", "failed"]
    """waiting: nobody has needed it yet, the first question loads it."""
    message: str = ""
    """Why it couldn't be loaded, or what takes so long; it is tried again until it can answer."""
    hint: str = ""
    thinks: bool | None = None
    """Whether it can think before it answers; not known before it is loaded."""
    reads_context: bool | None = None
    """Whether it is told the clinical context of a case; not known before it is loaded."""
    sends_to: str = ""
    """Address of another machine that gets pictures of slides with questions; empty: none."""


@router.get("/model", responses=problems())
def model(request: Request, user: Reader) -> ModelShown:
    """The model that answers here; never waits for it."""
    engine = services_of(request).engine
    status = engine.model.status
    shown = ModelShown(name=engine.settings.model, state=status.state)
    problem = status.error or status.slow
    if problem is not None:
        return shown.model_copy(update={"message": problem.message, "hint": problem.hint})
    if status.backend is None:
        return shown
    backend = status.backend
    return shown.model_copy(
        update={
            "thinks": backend.thinks,
            "reads_context": backend.reads_context,
            "sends_to": backend.sends_to,
        }
    )
