"""Deny by default: every route says who may use it, or the server doesn't start."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.requests import HTTPConnection
from starlette.routing import Mount
from starlette.types import Scope

from ruichat.errors import ConfigError
from ruichat.serve.access.roles import CurrentUser, Right
from ruichat.serve.problems import AccessError

READ, ASK, WRITE, ADMINISTER = Right.READ, Right.ASK, Right.WRITE, Right.ADMINISTER

USER_KEY = "ruichat.user"
"""Where in a request's scope its sender stands."""

_MARK = "ruichat_right"


def current_user(connection: HTTPConnection) -> CurrentUser:
    """Who sent the request.

    Raises:
        AccessError: nobody has logged in (401).
    """
    user = connection.scope.get(USER_KEY)
    if not isinstance(user, CurrentUser):
        raise AccessError("no login", hint="Log in at /login, or send a bearer token", status=401)
    return user


def may(right: Right) -> Callable[[HTTPConnection], CurrentUser]:
    """A dependency that lets through whoever holds a right, and gives them."""

    async def check(connection: HTTPConnection) -> CurrentUser:
        user = current_user(connection)
        if not user.holds(right):
            raise AccessError(
                f"a {user.role} may not {right.value} here", hint="Ask an admin for another role"
            )
        return user

    setattr(check, _MARK, right)
    return cast(Callable[[HTTPConnection], CurrentUser], check)


async def PUBLIC() -> None:
    """A dependency that declares: anybody may use this route, without a login."""


setattr(PUBLIC, _MARK, None)

Reader = Annotated[CurrentUser, Depends(may(READ))]
"""Parameter of a route that everybody with a login may use."""
Asker = Annotated[CurrentUser, Depends(may(ASK))]
"""Parameter of a route that costs the model's time."""
Writer = Annotated[CurrentUser, Depends(may(WRITE))]
"""Parameter of a route that changes a case."""
Admin = Annotated[CurrentUser, Depends(may(ADMINISTER))]
"""Parameter of a route for admins."""


@dataclass(frozen=True)
class MountRule:
    """Who may use what is mounted.

    Attributes:
        right: that they need; None: anybody may.
        tokenless: paths below the mount whose writes its own pages can't give a CSRF token; their
            Origin is checked all the same.
    """

    right: Right | None
    tokenless: re.Pattern[str] | None = None


def declare_mount(app: FastAPI, path: str, rule: MountRule) -> None:
    """Say who may use what is mounted at a path, which has no slash at its end."""
    declared_mounts(app)[path] = rule


def declared_mounts(app: FastAPI) -> dict[str, MountRule]:
    """By path of what is mounted."""
    if not hasattr(app.state, "mounts"):
        app.state.mounts = {}
    return cast(dict[str, MountRule], app.state.mounts)


def check_routes(app: FastAPI) -> None:
    """Refuse an app with a route that doesn't say who may use it.

    Raises:
        ConfigError: names all such routes.
    """
    silent = [
        f"{'/'.join(sorted(context.methods or ()))} {context.path}"
        for context in iter_route_contexts(app.routes)
        if not _declares(app, context)
    ]
    if silent:
        raise ConfigError(
            f"routes that don't say who may use them: {', '.join(silent)}",
            hint="Give each a dependency from ruichat.serve.access.routes",
        )


def is_public(app: FastAPI, method: str, path: str) -> bool:
    """Whether anybody may send this request, without a login."""
    for prefix, rule in declared_mounts(app).items():
        if rule.right is None and path.startswith(prefix + "/"):
            return True
    return any(
        context.path_regex.match(path) and method in (context.methods or ())
        for context in _public_routes(app)
    )


def is_uncounted(method: str, path: str) -> bool:
    """Whether a request doesn't count as one: tiles and files come by the hundred a second."""
    return method == "GET" and ("/tiles/" in path or "/assets/" in path or "/static/" in path)


def carries_no_token(app: FastAPI, path: str) -> bool:
    """Whether a page's own writes to a path can't be given a CSRF token."""
    return any(
        rule.tokenless is not None
        and path.startswith(prefix + "/")
        and rule.tokenless.fullmatch(path.removeprefix(prefix)) is not None
        for prefix, rule in declared_mounts(app).items()
    )


def pattern_of(app: FastAPI, scope: Scope) -> str | None:
    """The pattern of the route that a request found; none where it found none."""
    patterns: dict[object, str | None] | None = getattr(app.state, "patterns", None)
    if patterns is None:
        patterns = app.state.patterns = dict[object, str | None]()
        for context in iter_route_contexts(app.routes):
            if context.endpoint is not None:
                patterns[context.endpoint] = context.path
    # What is mounted has routes of its own, which Starlette leaves here.
    inner: str | None = getattr(scope.get("route"), "path", None)
    return patterns.get(scope.get("endpoint"), inner)


def rights_of(context: RouteContext) -> list[Right | None]:
    """What a route declares; None stands for anybody."""
    dependant = getattr(context, "dependant", None)
    if not isinstance(dependant, Dependant):
        return []
    return [getattr(call, _MARK) for call in _calls(dependant) if hasattr(call, _MARK)]


def _public_routes(app: FastAPI) -> list[RouteContext]:
    """Found once, when the first request comes: routes don't change after that."""
    found = getattr(app.state, "public_routes", None)
    if found is None:
        found = [
            context for context in iter_route_contexts(app.routes) if rights_of(context) == [None]
        ]
        app.state.public_routes = found
    return cast(list[RouteContext], found)


def _declares(app: FastAPI, context: RouteContext) -> bool:
    if isinstance(context.original_route, Mount):
        return context.path in declared_mounts(app)
    rights = rights_of(context)
    return bool(rights) and (None not in rights or rights == [None])


def _calls(dependant: Dependant) -> Iterator[Any]:
    for child in dependant.dependencies:
        yield child.call
        yield from _calls(child)
