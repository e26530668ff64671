"""A library of slides on a real database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from house import House

from ruichat.serve.services import Services
from ruichat.serve.settings import ServeSettings
from ruichat.serve.slides.library import SlideLibrary
from ruichat.serve.slides.tiles import Tiles
from ruichat.storage.database import cases, users
from ruichat.storage.database.connect import open_database


@pytest.fixture
def settings(tmp_path: Path) -> ServeSettings:
    """Several users, and one folder of slides."""
    folder = tmp_path / "glass"
    folder.mkdir()
    return ServeSettings(data_dir=tmp_path / "data", slide_folders=(folder,), single_user=False)


@pytest.fixture
def house(settings: ServeSettings) -> Iterator[House]:
    database = open_database(settings.database_address)
    database.migrate()
    with database.session() as session:
        user_id = users.create_user(session, name="ada", role="pathologist").id
    with database.session() as session:
        case_id = cases.create_case(session, user_id=user_id, title="S1").id
    library = SlideLibrary(settings, database)
    tiles = Tiles(library)
    yield House(database, library, tiles, settings.slide_folders[0], user_id, case_id)
    tiles.close()
    library.close()
    database.close()


@pytest.fixture
def served(services: Services, join: Callable[..., TestClient]) -> tuple[House, TestClient]:
    """The same of a server, and a program of the case's owner."""
    client = join(name="ada")
    with services.database.session() as session:
        owner = users.find_user(session, name="ada")
        assert owner is not None
        case_id = cases.create_case(session, user_id=owner.id, title="S1").id
    folder = services.settings.slide_folders[0]
    house = House(services.database, services.library, services.tiles, folder, owner.id, case_id)
    return house, client
