"""A server in this process, with people who may log in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from served import ADDRESS

from ruichat.serve.app import create_app
from ruichat.serve.services import Services, services_of_app
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import users

Join = Callable[..., TestClient]


@pytest.fixture(autouse=True)
def _quick(quick_passwords: None) -> None:
    """How hard passwords are to guess isn't what is tested here."""


@pytest.fixture
def settings(tmp_path: Path) -> ServeSettings:
    """Several users, each of whom logs in."""
    return ServeSettings(data_dir=tmp_path, single_user=False)


@pytest.fixture
def app(settings: ServeSettings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """Nobody who has logged in, on a server that runs."""
    with TestClient(app, base_url=ADDRESS, follow_redirects=False) as client:
        yield client


@pytest.fixture
def services(client: TestClient, app: FastAPI) -> Services:
    return services_of_app(app)


@pytest.fixture
def join(services: Services, app: FastAPI) -> Join:
    """Adds a user of a role and gives a program of theirs; passwords are slow, tokens aren't."""

    def add(role: str = "pathologist", name: str = "") -> TestClient:
        with services.database.session() as session:
            user = users.create_user(session, name=name or role, role=role)
            token = users.create_token(session, user.id, name="test").token
        headers = {"Authorization": f"Bearer {token}"}
        return TestClient(app, base_url=ADDRESS, headers=headers, follow_redirects=False)

    return add


@pytest.fixture
def browser(services: Services, app: FastAPI) -> Join:
    """Adds a user of a role and gives their browser, logged in, with the page's headers."""

    def add(role: str = "pathologist", name: str = "") -> TestClient:
        with services.database.session() as session:
            user = users.create_user(session, name=name or f"{role} at a browser", role=role)
            login = users.start_login(session, user.id, lifetime=timedelta(hours=1))
        headers = {"Origin": ADDRESS, "X-CSRF-Token": login.csrf_token}
        browser = TestClient(app, base_url=ADDRESS, headers=headers, follow_redirects=False)
        browser.cookies.set("ruichat_session", login.token)
        return browser

    return add
