"""The page's script and look, and the way from the server's root to the page."""

from __future__ import annotations

import importlib.resources
from functools import cache
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Depends, Response
from starlette.responses import RedirectResponse

from ruichat.errors import NotFoundError
from ruichat.serve.access.routes import PUBLIC, Reader

PAGE = "/page"
"""Where the page is."""

KEPT = "public, max-age=31536000, immutable"
"""Their address changes with them."""

KINDS = {
    "ruichat.js": "text/javascript; charset=utf-8",
    "login.js": "text/javascript; charset=utf-8",
    "ruichat.css": "text/css; charset=utf-8",
    "OPENSEADRAGON-LICENSE.txt": "text/plain; charset=utf-8",
}

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<rect width="32" height="32" rx="8" fill="#0b6e69"/>'
    '<circle cx="14" cy="14" r="7" fill="none" stroke="#fff" stroke-width="3"/>'
    '<path d="M19 19l7 7" stroke="#fff" stroke-width="3" stroke-linecap="round"/></svg>'
)

router = APIRouter(include_in_schema=False)


@router.get("/")
def root(user: Reader) -> RedirectResponse:
    """To the page; what stands after "#" stays with the browser, which takes it along."""
    return RedirectResponse(f"{PAGE.removeprefix('/')}/", HTTPStatus.TEMPORARY_REDIRECT)


@router.get("/assets/web/{name}", dependencies=[Depends(PUBLIC)])
def asset(name: str) -> Response:
    """A built file of the page."""
    if name not in KINDS:
        raise NotFoundError("there is no such file")
    headers = {"Cache-Control": KEPT}
    return Response(_read(name), headers=headers, media_type=KINDS[name])


@router.get("/favicon.ico", dependencies=[Depends(PUBLIC)])
def icon() -> Response:
    """The sign in a browser's tab."""
    return Response(ICON, headers={"Cache-Control": KEPT}, media_type="image/svg+xml")


def head(prefix: str = "..") -> str:
    """What the page's head loads, relative to the page: it may lie below a proxy's path."""
    version = assets_version()
    return (
        f'<link rel="stylesheet" href="{prefix}/assets/web/ruichat.css?v={version}">'
        f'<script src="{prefix}/assets/web/ruichat.js?v={version}"></script>'
        f'<link rel="icon" type="image/svg+xml" href="{prefix}/favicon.ico">'
    )


def assets_version() -> str:
    """Of the built files: a piece of the digest of their sources."""
    return _read("SOURCES.sha256").decode().strip()[:12]


@cache
def _read(name: str) -> bytes:
    return (_folder() / name).read_bytes()


def _folder() -> Path:
    return Path(str(importlib.resources.files("ruichat"))) / "assets" / "web"
