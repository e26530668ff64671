"""Every route of the server: who gets in, and who doesn't."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts
from served import World, draw_world
from starlette.routing import Mount

from ruichat.serve.access.roles import RIGHTS, Right
from ruichat.serve.access.routes import rights_of

SAFE = {"GET", "HEAD", "OPTIONS"}

BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/cases": {"json": {"title": "S1"}},
    "/api/v1/cases/{case_id}": {"json": {"title": "S2"}},
    "/api/v1/cases/{case_id}/members": {"json": {"name": "stranger"}},
    "/api/v1/cases/{case_id}/chats": {"json": {}},
    "/api/v1/chats/{chat_id}": {"json": {"title": "x"}},
    "/api/v1/chats/{chat_id}/messages/{message_id}/feedback": {"json": {"feedback": 1}},
    "/api/v1/slides/{slide_id}": {"json": {"stain": "x"}},
    "/api/v1/slides/{slide_id}/regions": {
        "json": {"shape": "rectangle", "points": [[0, 0], [9, 9]]}
    },
    "/api/v1/regions/{region_id}": {"json": {"name": "x"}},
    "/api/v1/slides/{slide_id}/findings": {
        "json": {"geometry": {"type": "Point", "coordinates": [1, 1]}}
    },
    "/api/v1/slides/{slide_id}/findings.geojson": {"json": {"type": "FeatureCollection"}},
    "/api/v1/findings/{finding_id}": {"json": {"revision": 1, "name": "x"}},
    "/api/v1/findings/{finding_id}/accept": {"json": {"revision": 1}},
    "/api/v1/findings/{finding_id}/reject": {"json": {"revision": 1}},
    "/api/v1/findings/{finding_id}/undo": {"json": {"revision": 1}},
    "/cases/{case_id}/slides": {"files": {"file": ("a.svs", b"x")}},
    "/cases/{case_id}/slides/from-folder": {"json": {"entry": "0" * 32}},
    "/v1/chat/completions": {"json": {"model": "mini", "messages": [{"role": "user"}]}},
    "/api/v1/me": {"json": {"language": "zh"}},
    "/api/v1/me/tokens": {"json": {"name": "x"}},
    "/api/v1/users": {"json": {"name": "new", "role": "reader", "password": "a long password"}},
    "/api/v1/users/{user_id}": {"json": {"language": "zh"}},
}
"""What a write needs so that only access can refuse it."""

WITHOUT_BODY = {
    "/logout",
    "/api/v1/jobs/{job_id}/cancel",
    "/api/v1/slides/{slide_id}/read",
    "/api/v1/chats/{chat_id}/messages/{message_id}/findings",
}
"""Writes that need none."""

PUBLIC = {
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/metrics"),  # looks for itself who asks: Prometheus has no login
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/login/oidc"),
    ("GET", "/login/oidc/callback"),
    # The page's script and look, the same for everybody.
    ("GET", "/assets/web/{name}"),
    ("GET", "/favicon.ico"),
}
"""Whoever adds to this list says in the commit why anybody may."""


@dataclass(frozen=True)
class Asked:
    """A request to one route."""

    method: str
    path: str
    """With its parameters in braces."""
    right: Right | None

    @property
    def is_write(self) -> bool:
        return self.method not in SAFE

    def send(self, client: Any, world: World, **more: Any) -> Any:
        body = BODIES.get(self.path, {}) if self.is_write else {}
        query = "?revision=1" if self.method == "DELETE" and "finding" in self.path else ""
        headers = {name.lower(): value for name, value in more.pop("headers", {}).items()}
        url = world.fill(self.path) + query
        return client.request(self.method, url, headers=headers, **body, **more)


def routes(app: FastAPI) -> Iterator[Asked]:
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, Mount):
            yield from _asked(context)


def _asked(context: RouteContext) -> Iterator[Asked]:
    rights = rights_of(context)
    right = next((right for right in rights if right is not None), None)
    for method in sorted(context.methods or ()):
        yield Asked(method, str(context.path), right)


@pytest.fixture
def world(services) -> World:
    return draw_world(services.database)


def test_only_the_named_routes_are_public(app):
    found = {(asked.method, asked.path) for asked in routes(app) if asked.right is None}
    assert found == PUBLIC


def test_every_write_of_this_list_has_a_body(app):
    for asked in routes(app):
        if asked.is_write and asked.right is not None and asked.method != "DELETE":
            assert asked.path in BODIES or asked.path in WITHOUT_BODY, asked.path


def test_without_a_login_nobody_gets_in(app, client, world):
    asked = [each for each in routes(app) if each.right is not None]
    assert len(asked) > 50
    for each in asked:
        answer = each.send(client, world)
        assert answer.status_code == 401, each
        assert answer.headers["www-authenticate"] == "Bearer"
        if each.method != "HEAD":
            of_openai = each.path.startswith("/v1/")
            form = (
                {"message", "type", "param", "code"} if of_openai else {"type", "message", "hint"}
            )
            assert set(answer.json()["error"]) == form, each


def test_the_ids_of_others_are_not_there(app, join, world):
    stranger = join("pathologist", "stranger")
    for each in routes(app):
        if each.right is None or each.right == Right.ADMINISTER or "{" not in each.path:
            continue
        answer = each.send(stranger, world)
        assert answer.status_code == 404, (each, answer.status_code, answer.text)
    world.check_untouched()


def test_an_admin_sees_no_more_of_cases_than_others(app, join, world):
    admin = join("admin", "chief")
    managing = re.compile(r"/api/v1/(users.*|cases/{case_id}/members.*)")
    for each in routes(app):
        if each.right is None or "{" not in each.path or managing.fullmatch(each.path):
            continue
        assert each.send(admin, world).status_code == 404, each
    assert admin.get(world.fill("/api/v1/cases/{case_id}/members")).status_code == 404
    entries = admin.get("/api/v1/case-entries").text
    assert world.ids["case_id"] in entries and world.title not in entries


def test_what_a_role_may_not_it_can_not(app, join, world):
    for role in ("reader", "pathologist"):
        who = join(role, f"a {role}")
        for each in routes(app):
            if each.right is not None and each.right not in RIGHTS[role]:
                assert each.send(who, world).status_code == 403, (role, each)
    world.check_untouched()


def test_a_member_who_reads_can_not_write(app, world, services, join):
    reader = join("reader", "guest")
    world.share_with("guest")
    assert reader.get(world.fill("/api/v1/cases/{case_id}")).status_code == 200
    for each in routes(app):
        if each.right in (Right.WRITE, Right.ADMINISTER):
            assert each.send(reader, world).status_code == 403, each
    world.check_untouched()


@pytest.mark.parametrize("header", [{"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_pages_of_other_sites_write_nothing(app, browser, world, header):
    tab = browser("admin")
    for each in routes(app):
        if each.is_write:
            assert each.send(tab, world, headers=header).status_code == 403, each
    for each in routes(app):
        if each.is_write and each.right is not None:
            answer = each.send(tab, world, headers={"X-CSRF-Token": "guessed"})
            assert answer.status_code == 403, each
    world.check_untouched()
