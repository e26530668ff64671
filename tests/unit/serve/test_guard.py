from __future__ import annotations

import logging
import re

import pytest
from fastapi import Depends
from fastapi.testclient import TestClient
from served import ADDRESS
from starlette.websockets import WebSocketDisconnect

from ruichat.serve.access.guard import REQUESTS
from ruichat.serve.access.limits import RateLimit
from ruichat.serve.access.routes import ADMINISTER, Reader, Writer, may
from ruichat.serve.app import create_app
from ruichat.serve.problems import AccessError
from ruichat.serve.settings import ServeSettings


@pytest.fixture
def app(app):
    @app.post("/write")
    def write(user: Writer) -> str:
        return user.name

    @app.get("/read")
    def read(user: Reader) -> str:
        return user.role

    @app.get("/rule", dependencies=[Depends(may(ADMINISTER))])
    def rule() -> str:
        return "ok"

    return app


def test_a_role_may_what_it_may(join):
    asked = {role: join(role) for role in ("reader", "pathologist", "admin")}
    statuses = {
        role: [
            who.get("/read").status_code,
            who.post("/write").status_code,
            who.get("/rule").status_code,
        ]
        for role, who in asked.items()
    }
    assert statuses == {
        "reader": [200, 403, 403],
        "pathologist": [200, 200, 403],
        "admin": [200, 200, 200],
    }


def test_a_write_with_a_cookie_needs_origin_and_token(browser):
    tab = browser()
    assert tab.post("/write").status_code == 200
    for headers in (
        {"Origin": "https://evil.example"},
        {"X-CSRF-Token": "guessed"},
        {"X-CSRF-Token": ""},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert tab.post("/write", headers=headers).status_code == 403, headers
    del tab.headers["Origin"]
    assert tab.post("/write").status_code == 403
    assert tab.post("/write", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_another_logins_token_does_not_do(browser):
    one, other = browser(name="one"), browser(name="other")
    stolen = {"X-CSRF-Token": other.headers["X-CSRF-Token"]}
    assert one.post("/write", headers=stolen).status_code == 403


def test_a_programs_token_needs_no_origin_but_none_of_another_site(join):
    program = join()
    assert program.post("/write").status_code == 200
    assert program.post("/write", headers={"Origin": "https://evil.example"}).status_code == 403


def test_a_wrong_token_is_nobody_even_beside_a_right_cookie(browser):
    tab = browser()
    assert tab.get("/read", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert tab.get("/read", headers={"Authorization": "Basic bGk6eA=="}).status_code == 200


def test_behind_a_proxy_the_public_address_is_the_origin(tmp_path):
    settings = ServeSettings(data_dir=tmp_path, public_url="https://rui.example/")
    app = create_app(settings)
    with TestClient(app, base_url="http://10.0.0.5:7860") as client:
        form = {"name": "li", "password": "x"}
        origins = {"https://rui.example": 401, "http://10.0.0.5:7860": 403}
        for origin, status in origins.items():
            answer = client.post("/login", data=form, headers={"Origin": origin})
            assert answer.status_code == status
        assert answer.headers["strict-transport-security"]


def test_every_answer_carries_what_browsers_must_keep_to(client, join):
    for answer in (client.get("/login"), client.get("/x"), join().get("/read")):
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


def test_a_user_has_so_many_requests_a_minute(tmp_path):
    app = create_app(ServeSettings(data_dir=tmp_path, requests_per_minute=3))
    with TestClient(app, base_url=ADDRESS) as client:
        statuses = [client.get("/nothing").status_code for _ in range(5)]
        assert statuses == [404, 404, 404, 429, 429]
        assert client.get("/nothing").headers["retry-after"] == "20"


def test_websockets_are_closed(client):
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/queue"):
        pass
    assert closed.value.code == 1008


def test_a_bucket_fills_again_and_keys_are_apart():
    now = 0.0
    limit = RateLimit(2, 10, clock=lambda: now)
    limit.take("a")
    limit.take("a")
    limit.take("b")
    with pytest.raises(AccessError) as refused:
        limit.take("a")
    assert refused.value.retry_after_s == 5
    now = 5.0
    limit.take("a")
    with pytest.raises(AccessError):
        limit.take("a")
    limit.give_back("a")
    limit.take("a")


def test_the_single_user_mode_ends_when_somebody_is_added(tmp_path, monkeypatch):
    from ruichat.serve.access import identity
    from ruichat.storage.database import users

    monkeypatch.setattr(identity, "REMEMBERED_S", -1.0)
    app = create_app(ServeSettings(data_dir=tmp_path))

    @app.get("/me")
    def me(user: Reader) -> str:
        return user.means

    with TestClient(app, base_url=ADDRESS) as client:
        assert client.get("/me").json() == "single"
        assert client.get("/me", headers={"Authorization": "Bearer any"}).json() == "single"
        with app.state.services.database.session() as session:
            users.create_user(session, name="li", role="admin")
        assert client.get("/me").status_code == 401


def test_the_log_names_users_by_id_and_routes_by_pattern(app, join, caplog):
    caplog.set_level(logging.INFO, REQUESTS)
    someone = join("reader", name="mallory")
    someone.get("/read", params={"patient": "Smith"})
    someone.get("/slides/smith/tiles/0/0_0.jpg")
    lines = [record.getMessage() for record in caplog.records if record.name == REQUESTS]
    assert any(line.startswith("GET /read 200 ") for line in lines)
    assert any(re.search("/tiles/.* 4[0-9]{2} ", line) for line in lines), lines
    said = " ".join(lines).lower()
    assert "smith" not in said and "mallory" not in said


def test_tiles_that_come_as_they_should_are_no_lines(app, join, caplog):
    @app.get("/fine/tiles/{tile}")
    def fine(user: Reader, tile: str) -> str:
        return tile

    caplog.set_level(logging.INFO, REQUESTS)
    assert join("reader").get("/fine/tiles/0").status_code == 200
    assert not [record for record in caplog.records if "/fine/" in record.getMessage()]
