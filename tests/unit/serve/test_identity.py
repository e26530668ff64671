"""Who sends a request is found with one connection to the database."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from starlette.requests import HTTPConnection

from ruichat.errors import DatabaseUnavailableError
from ruichat.serve.access.identity import Identities
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import users
from ruichat.storage.database.connect import Database, open_database
from ruichat.storage.database.models import ApiToken


@pytest.fixture
def token(tmp_path: Path) -> str:
    database = open_database(f"sqlite:///{tmp_path / 'a.db'}")
    database.migrate()
    with database.session() as session:
        user = users.create_user(session, name="li", role="reader")
        token = users.create_token(session, user.id, name="script").token
    database.close()
    return token


def find(tmp_path: Path, database: Database, token: str) -> str:
    identities = Identities(ServeSettings(data_dir=tmp_path, single_user=False), database)
    headers = [(b"authorization", f"Bearer {token}".encode())]
    found = asyncio.run(identities.find(HTTPConnection({"type": "http", "headers": headers})))
    assert found is not None
    return found.name


def test_a_token_that_is_noted_needs_no_second_connection(tmp_path: Path, token: str) -> None:
    file = tmp_path / "a.db"
    engine = create_engine(f"sqlite:///{file}", pool_size=1, max_overflow=0, pool_timeout=1)
    database = Database(engine, file=file)
    assert find(tmp_path, database, token) == "li"
    with database.session() as session:
        kept = session.query(ApiToken).one()
        assert kept.last_used_at is not None
    database.close()


def test_a_token_is_good_where_its_use_can_not_be_noted(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    def busy(*given: object) -> None:
        raise DatabaseUnavailableError("it is locked")

    monkeypatch.setattr(users, "note_token_use", busy)
    database = open_database(f"sqlite:///{tmp_path / 'a.db'}")
    assert find(tmp_path, database, token) == "li"
    assert "not noted" in caplog.text
    database.close()
