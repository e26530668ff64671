"""Logging in with a password, and out again."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Form, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ruichat.serve.access.identity import COOKIE
from ruichat.serve.access.login_page import login_page, own_path
from ruichat.serve.access.routes import PUBLIC, USER_KEY, Reader
from ruichat.serve.problems import AccessError
from ruichat.serve.services import Services, services_of
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import users
from ruichat.storage.database.models import LINE, Language

router = APIRouter(include_in_schema=False)


class LoginForm(BaseModel):
    """What the page's form sends."""

    name: str = Field(max_length=LINE)
    password: str = Field(max_length=4096)
    next: str = "/"
    language: Language = "en"


@router.get("/login", dependencies=[Depends(PUBLIC)])
def show(
    request: Request,
    next: Annotated[str, Query()] = "/",
    language: Annotated[Language | None, Query()] = None,
) -> Response:
    """The page that asks for name and password."""
    settings = services_of(request).settings
    if request.scope.get(USER_KEY) is not None:
        return RedirectResponse(own_path(next), 303)
    return login_page(
        language or preferred_language(request, settings),
        next_path=own_path(next),
        has_provider=bool(settings.oidc_issuer),
    )


@router.post("/login", dependencies=[Depends(PUBLIC)])
async def log_in(request: Request, form: Annotated[LoginForm, Form()]) -> Response:
    """Check name and password; a new cookie for whoever knows them."""
    services = services_of(request)
    address = request.client.host if request.client is not None else ""
    has_provider = bool(services.settings.oidc_issuer)
    target = own_path(form.next)
    try:
        user_id = await services.login_gate.check(
            name=form.name, password=form.password, address=address
        )
    except AccessError as error:
        page = login_page(
            form.language, next_path=target, has_provider=has_provider, trouble="too_many"
        )
        page.headers["Retry-After"] = str(error.retry_after_s)
        return page
    if not user_id:
        return login_page(
            form.language, next_path=target, has_provider=has_provider, trouble="wrong"
        )
    answer = RedirectResponse(target, 303)
    await to_thread.run_sync(enter, request, answer, user_id)
    return answer


@router.post("/logout")
def log_out(request: Request, user: Reader) -> Response:
    """End this browser's login."""
    services = services_of(request)
    _end(services, request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/login", 303)
    set_login_cookie(answer, services.settings, "", max_age_s=0)
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return answer


def enter(request: Request, answer: Response, user_id: str) -> None:
    """Give a browser a login of its own; one that it had before ends, whoever gave it."""
    services = services_of(request)
    _end(services, request.cookies.get(COOKIE, ""))
    lifetime = timedelta(hours=services.settings.session_hours)
    with services.database.session() as session:
        login = users.start_login(session, user_id, lifetime=lifetime)
    set_login_cookie(
        answer, services.settings, login.token, max_age_s=int(lifetime.total_seconds())
    )


def set_login_cookie(
    answer: Response, settings: ServeSettings, token: str, *, max_age_s: int
) -> None:
    """Hand a browser its login: unseen by scripts, unsent where other sites ask for it."""
    answer.set_cookie(
        COOKIE,
        token,
        max_age=max_age_s,
        path="/",
        httponly=True,
        samesite="strict",
        secure=settings.secure_cookies,
    )


def preferred_language(request: Request, settings: ServeSettings) -> Language:
    """The first of the browser's languages that we speak."""
    for item in request.headers.get("accept-language", "").split(","):
        if item.strip().lower().startswith("zh"):
            return "zh"
        if item.strip().lower().startswith("en"):
            return "en"
    return settings.language


def _end(services: Services, token: str) -> None:
    if token:
        with services.database.session() as session:
            users.end_login(session, token)
        services.identities.forget_all()
