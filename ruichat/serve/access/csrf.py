"""Writes come from our own pages, or from programs: no other site can send them for a person."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from ruichat.serve.access.roles import CurrentUser
from ruichat.serve.access.tokens import same
from ruichat.serve.problems import AccessError
from ruichat.serve.settings import ServeSettings, is_loopback

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods of requests that change nothing."""

TOKEN_HEADER = "x-csrf-token"


def check_host(host: str, settings: ServeSettings) -> None:
    """Refuse a foreign name that somebody let point at this machine (DNS rebinding).

    Args:
        host: as the request's header gives it, with its port.

    Raises:
        AccessError: the server listens on loopback and the name isn't loopback's.
    """
    if settings.on_loopback and not is_loopback(_without_port(host)):
        raise AccessError(
            "the server doesn't go by this name",
            hint=f"Open it at http://{settings.host}:…",
            status=421,
        )


def check_origin(headers: Mapping[str, str], scheme: str, settings: ServeSettings) -> None:
    """Refuse a write that a page of another site sends.

    Args:
        headers: of the request, by lower-case name.
        scheme: http or https, as the client used it.

    Raises:
        AccessError: the header Origin, or Sec-Fetch-Site, names another site.
    """
    own = settings.public_url or f"{scheme}://{headers.get('host', '')}"
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "same-origin")
    if (origin is not None and origin.lower() != own.lower()) or site not in (
        "same-origin",
        "none",
    ):
        raise AccessError(
            "a page of another site may not write here", hint="Use the page of this server"
        )


def comes_from_outside(headers: Mapping[str, str]) -> bool:
    """Whether another site led a browser here, as the browser tells it."""
    return headers.get("sec-fetch-site") == "cross-site"


def check_sent_by_browser(headers: Mapping[str, str]) -> None:
    """Refuse a write with a cookie that doesn't say which page sent it.

    Raises:
        AccessError: both Origin and Sec-Fetch-Site are missing.
    """
    if "origin" not in headers and "sec-fetch-site" not in headers:
        raise AccessError("a write with a cookie needs an Origin", hint="Use an API token instead")


def check_token(headers: Mapping[str, str], user: CurrentUser) -> None:
    """Refuse a write with a cookie that lacks what only our own page can read.

    Raises:
        AccessError: the token isn't the login's.
    """
    if not same(headers.get(TOKEN_HEADER, ""), user.csrf_token):
        raise AccessError(
            "the header X-CSRF-Token is missing or not this login's",
            hint="Reload the page; /api/v1/me gives the token",
        )


def _without_port(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
