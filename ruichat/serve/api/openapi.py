"""The description of the API, for programs that write programs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse

from ruichat.serve.access.routes import Reader

router = APIRouter(include_in_schema=False)

SECURITY: dict[str, Any] = {
    "token": {"type": "http", "scheme": "bearer", "description": "`ruichat users token` makes one"},
}


@router.get("/openapi.json")
def openapi(request: Request, user: Reader) -> JSONResponse:
    """OpenAPI 3.1, for whoever has a login."""
    return JSONResponse(description(request.app))


def description(app: FastAPI) -> dict[str, Any]:
    """The description of an app's routes, with the ways to log in; made once."""
    made = app.openapi()
    made.setdefault("components", {})["securitySchemes"] = SECURITY
    made["security"] = [{"token": []}]
    for path in ("/health", "/ready"):
        made["paths"][path]["get"]["security"] = []
    return made
