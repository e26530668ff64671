"""Errors under `/v1` in OpenAI's form, by which its clients choose their exceptions."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.types import Scope

from ruichat.errors import RuiChatError

PREFIX = "/v1/"

_KINDS = {
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", None),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}
"""Type and code by status; the code is the name of our error where there is None."""


def speaks_openai(scope: Scope) -> bool:
    """Whether a request came from a program that speaks to OpenAI's servers."""
    return str(scope.get("path", "")).startswith(PREFIX)


def status_for_openai(status: int) -> int:
    """Its clients know 400 for whatever is wrong with a request, not 422."""
    return 400 if status == 422 else status


def openai_body(
    status: int, kind: str, message: str, hint: str = "", param: str | None = None
) -> dict[str, object]:
    """The body of an error.

    Args:
        kind: name of our error.
        param: field of the request that is wrong.
    """
    general = "invalid_request_error" if status < 500 else "server_error"
    shown, code = _KINDS.get(status, (general, None))
    said = f"{message}. {hint}" if hint else message
    return {"error": {"message": said, "type": shown, "param": param, "code": code or kind}}


def openai_response(
    status: int,
    kind: str,
    message: str,
    hint: str = "",
    headers: Mapping[str, str] | None = None,
    *,
    param: str | None = None,
) -> JSONResponse:
    """An error as its clients read it."""
    body = openai_body(status, kind, message, hint, param)
    return JSONResponse(body, status_for_openai(status), dict(headers or {}))


def openai_error(error: RuiChatError, status: int) -> dict[str, object]:
    """The body for an error of ours, for one that comes amid a stream too."""
    return openai_body(
        status, type(error).__name__, error.message, error.hint, getattr(error, "param", None)
    )
