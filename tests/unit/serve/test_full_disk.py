"""A full disk: whoever writes is told so, whoever reads goes on."""

from __future__ import annotations

import pytest
from databases import fill_disk
from served import ADDRESS, PASSWORD

from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import users
from ruichat.storage.database.models import ApiToken


@pytest.fixture
def settings(small_disk):
    return ServeSettings(data_dir=small_disk, single_user=False)


def log_in(client):
    form = {"name": "li", "password": PASSWORD}
    return client.post("/login", data=form, headers={"Origin": ADDRESS})


def test_a_full_disk_lets_readers_in_and_tells_writers(client, services, small_disk):
    with services.database.session() as session:
        user = users.create_user(session, name="li", role="reader", password=PASSWORD)
        token = users.create_token(session, user.id, name="script")
    ballast = fill_disk(small_disk)
    # 404, not 401: the program is known, though the use of its token can't be noted.
    program = {"Authorization": f"Bearer {token.token}"}
    assert client.get("/nothing", headers=program).status_code == 404
    assert client.get("/ready").status_code == 200
    refused = log_in(client)
    assert refused.status_code == 507
    error = refused.json()["error"]
    assert error["type"] == "StorageFullError" and "Free some space" in error["hint"]
    ballast.unlink()
    assert log_in(client).status_code == 303
    with services.database.session() as session:
        assert session.get_one(ApiToken, token.id).last_used_at is None
