"""Errors as clients see them: one JSON shape, a fitting status, nothing of the inside."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Scope

from ruichat.errors import (
    ArtifactError,
    ConfigError,
    ConflictError,
    InputError,
    ModelError,
    NotFoundError,
    PrerequisiteError,
    RuiChatError,
    StorageFullError,
)
from ruichat.serve.openai_errors import openai_response, speaks_openai

log = logging.getLogger(__name__)


class Problem(BaseModel):
    """What was wrong, and what to do about it."""

    type: str
    """Name of the kind of error."""
    message: str
    """What was wrong, the value found, what is allowed."""
    hint: str
    """What to do about it."""


class ErrorBody(BaseModel):
    """Body of every answer that isn't a success."""

    error: Problem


class AccessError(RuiChatError):
    """A request that its sender may not make.

    Args:
        status: HTTP status.
        retry_after_s: when to try again, seconds; 0 where trying again changes nothing.
    """

    def __init__(
        self, message: str, *, hint: str = "", status: int = 403, retry_after_s: int = 0
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after_s = retry_after_s


class TooLargeError(InputError):
    """More was sent than the server takes."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


STATUS: dict[type[RuiChatError], int] = {
    InputError: 422,
    ConfigError: 400,
    NotFoundError: 404,
    ConflictError: 409,
    StorageFullError: 507,
    ArtifactError: 503,
    ModelError: 503,
    PrerequisiteError: 503,
}
"""By kind of error; a kind may carry a `status` of its own, and then that counts."""


def status_of(error: RuiChatError) -> int:
    """HTTP status for an error."""
    own = getattr(error, "status", None)
    if isinstance(own, int):
        return int(own)
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def problem_response(
    scope: Scope,
    status: int,
    kind: str,
    message: str,
    hint: str = "",
    headers: Mapping[str, str] | None = None,
    *,
    param: str | None = None,
) -> JSONResponse:
    """An error as JSON, in the form of whoever asked.

    Args:
        scope: of the request.
        param: field of the request that is wrong; told where that form has a place for it.
    """
    if speaks_openai(scope):
        return openai_response(status, kind, message, hint, headers, param=param)
    body = ErrorBody(error=Problem(type=kind, message=message, hint=hint))
    return JSONResponse(body.model_dump(), status, dict(headers or {}))


def error_response(error: RuiChatError, scope: Scope) -> JSONResponse:
    """An error of ours as JSON, with Retry-After where it says when to come back."""
    status = status_of(error)
    headers: dict[str, str] = {}
    wait_s = getattr(error, "retry_after_s", 0)
    if wait_s:
        headers["Retry-After"] = str(wait_s)
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    kind, param = type(error).__name__, getattr(error, "param", None)
    return problem_response(scope, status, kind, error.message, error.hint, headers, param=param)


def add_handlers(app: FastAPI) -> None:
    """Let an app answer every error in our shape."""
    app.add_exception_handler(RuiChatError, _ours)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(HTTPException, _frameworks)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    return error_response(cast(RuiChatError, error), request.scope)


async def _unfit(request: Request, error: Exception) -> JSONResponse:
    """What doesn't fit the declared form; values aren't repeated, they may name a patient."""
    items: list[dict[str, Any]] = list(cast(RequestValidationError, error).errors())
    said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in items)
    # Below "body" comes the field.
    param = ".".join(str(part) for part in items[0]["loc"][1:]) if items else None
    hint = "See /openapi.json for the form"
    return problem_response(request.scope, 422, "InputError", said, hint, param=param or None)


async def _frameworks(request: Request, error: Exception) -> JSONResponse:
    raised = cast(HTTPException, error)
    status = HTTPStatus(raised.status_code)
    kind = status.phrase.replace(" ", "")
    return problem_response(request.scope, status, kind, raised.detail, headers=raised.headers)


def bug_response(scope: Scope) -> JSONResponse:
    """The answer where something unexpected was raised."""
    return problem_response(scope, 500, "InternalError", "the server failed", "Tell the operator")


def log_bug(error: BaseException) -> None:
    """Where and as what something unexpected was raised; its words may name a patient."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-12:]))
    log.error("bug: %s at %s", type(error).__name__, places)
