from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from ruichat.errors import ConfigError, InputError, NotFoundError, StorageFullError
from ruichat.serve.access.routes import PUBLIC, READ, WRITE, check_routes, may
from ruichat.serve.app import create_app
from ruichat.serve.problems import AccessError, TooLargeError, status_of
from ruichat.serve.settings import ServeSettings


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(ServeSettings(data_dir=tmp_path, port=0))


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        yield client


def test_a_server_lives_and_is_ready(client):
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ok"}


def test_a_route_that_declares_nothing_keeps_the_server_from_starting(app):
    @app.get("/secret")
    def secret() -> str:
        return "x"

    with pytest.raises(ConfigError, match="GET /secret"), TestClient(app):
        pass


def test_a_mount_that_declares_nothing_keeps_the_server_from_starting(app):
    app.mount("/files", FastAPI())
    with pytest.raises(ConfigError, match="/files"), TestClient(app):
        pass


def test_public_and_a_right_together_say_nothing(app):
    @app.get("/both", dependencies=[Depends(PUBLIC), Depends(may(READ))])
    def both() -> str:
        return "x"

    with pytest.raises(ConfigError, match="GET /both"):
        check_routes(app)


def test_an_unknown_path_tells_nothing_to_whoever_has_no_login(tmp_path):
    app = create_app(ServeSettings(data_dir=tmp_path, single_user=False))
    with TestClient(app, base_url="http://localhost") as client:
        answer = client.get("/nothing")
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "AccessError"
        assert answer.headers["www-authenticate"] == "Bearer"
        page = client.get("/nothing?x=1", headers={"Accept": "text/html"}, follow_redirects=False)
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=%2Fnothing")


def test_errors_have_one_shape(client, app):
    answer = client.get("/nothing")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"type", "message", "hint"}


def test_a_bug_says_nothing_of_the_inside(app, caplog):
    @app.get("/bug", dependencies=[Depends(may(READ))])
    def bug() -> str:
        raise ValueError("Zhang San")

    with TestClient(app, base_url="http://localhost") as client:
        answer = client.get("/bug")
    assert answer.status_code == 500
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "ValueError" in caplog.text and "test_app.py" in caplog.text
    assert "Zhang" not in caplog.text + answer.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("x"), 422),
        (TooLargeError("x"), 413),
        (NotFoundError("x"), 404),
        (ConfigError("x"), 400),
        (StorageFullError("x"), 507),
        (AccessError("x", status=429), 429),
    ],
)
def test_errors_have_their_status(error, status):
    assert status_of(error) == status


def test_a_name_that_was_made_to_point_here_is_refused(client):
    assert client.get("/health", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/health", headers={"Host": "localhost:7860"}).status_code == 200
    assert client.get("/health", headers={"Host": "[::1]:7860"}).status_code == 200


def test_a_body_that_is_too_large_is_refused(tmp_path):
    app = create_app(ServeSettings(data_dir=tmp_path, max_body_mb=0.001))

    @app.post("/take", dependencies=[Depends(may(WRITE))])
    def take(body: dict[str, str]) -> int:
        return len(body)

    with TestClient(app, base_url="http://localhost") as client:
        assert client.post("/take", json={"a": "b"}).status_code == 200
        answer = client.post("/take", json={"a": "b" * 1001})
        assert answer.status_code == 413
        assert set(answer.json()["error"]) == {"type", "message", "hint"}

        chunks = (b"x" * 500 for _ in range(3))
        assert client.post("/take", content=chunks).status_code == 413
