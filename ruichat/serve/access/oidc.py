"""Logging in with the hospital's account, through its OpenID Connect provider.

Authorization code with PKCE, state and nonce; the ID token's signature is checked with the
provider's published keys (OpenID Connect Core 1.0, 3.1; RFC 7636).
"""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import Annotated, Any, cast

from anyio import to_thread
from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ruichat.errors import ConflictError, NotFoundError, PrerequisiteError, RuiChatError
from ruichat.registry import require
from ruichat.serve.access.login_page import Trouble, login_page, own_path
from ruichat.serve.access.logins import enter, preferred_language
from ruichat.serve.access.routes import PUBLIC
from ruichat.serve.access.tokens import same
from ruichat.serve.problems import AccessError
from ruichat.serve.services import services_of
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import users
from ruichat.storage.database.models import LINE, User

log = logging.getLogger(__name__)

router = APIRouter(include_in_schema=False, dependencies=[Depends(PUBLIC)])

PATH = "/login/oidc"
CALLBACK = "/login/oidc/callback"

COOKIE = "ruichat_oidc"
COOKIE_S = 600
"""How long somebody may take to log in at the provider, seconds."""

TIMEOUT_S = 10.0

ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
"""Signatures that are believed: never none, never one made with a shared secret."""

LEEWAY_S = 60
"""By which the provider's clock may differ, seconds."""


@dataclass(frozen=True)
class Attempt:
    """What a browser keeps between leaving for the provider and coming back."""

    state: str
    nonce: str
    verifier: str
    next_path: str


@router.get(PATH)
async def leave(request: Request, next: Annotated[str, Query()] = "/") -> Response:
    """Send the browser to the provider."""
    settings = services_of(request).settings
    _check_wanted(settings)
    next_path = own_path(next)
    try:
        secrets = require("authlib.common.security", extra="oidc").generate_token
        attempt = Attempt(secrets(43), secrets(43), secrets(64), next_path)
        address = await to_thread.run_sync(_address, settings, attempt)
    except PrerequisiteError as error:
        return _refused(request, error, next_path)
    answer = RedirectResponse(address, 303)
    # Lax, not strict: the browser comes back from another site, and has to show it then.
    answer.set_cookie(
        COOKIE,
        base64.urlsafe_b64encode(json.dumps(asdict(attempt)).encode()).decode(),
        max_age=COOKIE_S,
        path=PATH,
        httponly=True,
        samesite="lax",
        secure=settings.secure_cookies,
    )
    return answer


@router.get(CALLBACK)
async def come_back(
    request: Request, state: Annotated[str, Query()] = "", code: Annotated[str, Query()] = ""
) -> Response:
    """Let in whom the provider vouches for; a new person begins as a reader."""
    services = services_of(request)
    settings = services.settings
    _check_wanted(settings)
    next_path = "/"
    try:
        attempt = _attempt(request.cookies.get(COOKIE, ""))
        next_path = attempt.next_path
        if not same(state, attempt.state) or not code:
            raise AccessError("this login was not begun here")
        claims = await to_thread.run_sync(_claims, settings, attempt, code)

        def find() -> str:
            with services.database.session() as session:
                return _user_of(session, settings, claims).id

        user_id = await to_thread.run_sync(find)
    except (AccessError, ConflictError, PrerequisiteError) as error:
        return _refused(request, error, next_path)
    # Not a redirect: browsers withhold our strict cookie as long as another site leads them.
    target = escape(attempt.next_path)
    answer = HTMLResponse(
        f'<!doctype html><meta http-equiv="refresh" content="0;url={target}">'
        f'<title>RuiChat</title><a href="{target}">RuiChat</a>'
    )
    answer.delete_cookie(COOKIE, path=PATH)
    await to_thread.run_sync(enter, request, answer, user_id)
    return answer


def _refused(request: Request, error: RuiChatError, next_path: str) -> Response:
    """The login page, which says whether the person or the provider is the trouble."""
    trouble: Trouble = "away" if isinstance(error, PrerequisiteError) else "not_here"
    log.warning("login through the provider refused: %s", error.message)
    return login_page(
        preferred_language(request, services_of(request).settings),
        next_path=next_path,
        has_provider=True,
        trouble=trouble,
    )


def _check_wanted(settings: ServeSettings) -> None:
    if not settings.oidc_issuer:
        raise NotFoundError("there is nothing here")


def _attempt(cookie: str) -> Attempt:
    try:
        values = json.loads(base64.urlsafe_b64decode(cookie))
        if not all(isinstance(value, str) for value in values.values()):
            raise TypeError("not what was given")
        attempt = Attempt(**values)
        # A cookie may have been planted by a neighbouring site.
        return replace(attempt, next_path=own_path(attempt.next_path))
    except (ValueError, TypeError, AttributeError) as error:
        raise AccessError("this login was not begun here, or too long ago") from error


def _address(settings: ServeSettings, attempt: Attempt) -> str:
    with _client(settings) as client:
        address, _ = client.create_authorization_url(
            _provider(client, settings)["authorization_endpoint"],
            state=attempt.state,
            nonce=attempt.nonce,
            code_verifier=attempt.verifier,
        )
    return address


def _claims(settings: ServeSettings, attempt: Attempt, code: str) -> dict[str, Any]:
    """What the provider says about the person, its signature, audience and age checked.

    Raises:
        AccessError: the code or the token isn't good.
        PrerequisiteError: the provider doesn't answer, or is another.
    """
    jwt = require("joserfc.jwt", extra="oidc")
    keys = require("joserfc.jwk", extra="oidc").KeySet
    bad_token = require("joserfc.errors", extra="oidc").JoseError
    bad_code = require("authlib.oauth2", extra="oidc").OAuth2Error
    no_answer = require("httpx2", extra="oidc").HTTPError
    with _client(settings) as client:
        provider = _provider(client, settings)
        try:
            answer = client.fetch_token(
                provider["token_endpoint"], code=code, code_verifier=attempt.verifier
            )
            published = _get(client, provider["jwks_uri"])
            token = jwt.decode(
                answer["id_token"], keys.import_key_set(published), algorithms=ALGORITHMS
            )
            jwt.JWTClaimsRegistry(
                leeway=LEEWAY_S,
                iss={"essential": True, "value": provider["issuer"]},
                aud={"essential": True, "value": settings.oidc_client_id},
                sub={"essential": True},
                exp={"essential": True},
                iat={"essential": True},
                nonce={"essential": True, "value": attempt.nonce},
            ).validate(token.claims)
        except no_answer as error:
            raise _away(error) from error
        except (bad_token, bad_code, KeyError, ValueError, TypeError) as error:
            raise AccessError(
                f"the provider's token is no good ({type(error).__name__})"
            ) from error
    claims = cast(dict[str, Any], token.claims)
    if claims.get("azp", settings.oidc_client_id) != settings.oidc_client_id:
        raise AccessError("the provider's token is for another program")
    return claims


def _user_of(session: Session, settings: ServeSettings, claims: dict[str, Any]) -> User:
    """The person of a subject; a new one where it is unknown, never one with a password.

    Raises:
        AccessError: the person is kept out.
        ConflictError: somebody else has the name.
    """
    subject = f"{settings.oidc_issuer} {claims['sub']}"
    role = claims.get(settings.oidc_role_claim)
    user = users.find_user(session, oidc_subject=subject)
    if user is None:
        name = str(claims.get("preferred_username") or claims.get("email") or claims["sub"])
        return users.create_user(
            session,
            name=name[:LINE],
            role=role if role in ("reader", "pathologist", "admin") else "reader",
            oidc_subject=subject,
            language=settings.language,
        )
    if not user.is_active:
        raise AccessError("this person is kept out")
    if role in ("reader", "pathologist", "admin") and role != user.role:
        users.set_role(session, user.id, role=role)
    return user


def _client(settings: ServeSettings) -> Any:
    client = require("authlib.integrations.httpx_client", extra="oidc").OAuth2Client
    return client(
        settings.oidc_client_id,
        settings.oidc_client_secret.get_secret_value(),
        scope="openid profile email",
        redirect_uri=settings.public_url + CALLBACK,
        code_challenge_method="S256",
        timeout=TIMEOUT_S,
    )


def _provider(client: Any, settings: ServeSettings) -> dict[str, str]:
    """The provider's own description (OpenID Connect Discovery 1.0).

    Raises:
        PrerequisiteError: it doesn't answer, or is another.
    """
    no_answer = require("httpx2", extra="oidc").HTTPError
    try:
        found = _get(client, settings.oidc_issuer + "/.well-known/openid-configuration")
    except (no_answer, ValueError) as error:
        raise _away(error) from error
    if str(found.get("issuer", "")).rstrip("/") != settings.oidc_issuer:
        raise PrerequisiteError("the login provider is another", hint="Check oidc_issuer")
    return cast(dict[str, str], found)


def _away(error: Exception) -> PrerequisiteError:
    return PrerequisiteError(
        f"the login provider doesn't answer ({type(error).__name__})",
        hint="Try again; if it stays so, tell the operator",
    )


def _get(client: Any, address: str) -> Any:
    return client.request("GET", address, withhold_token=True).raise_for_status().json()
