"""A library of slides on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House

from ruichat.serve.settings import ServeSettings
from ruichat.serve.slides.library import SlideLibrary
from ruichat.serve.slides.tiles import Tiles
from ruichat.storage.database import cases, users
from ruichat.storage.database.connect import open_database


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    folder = tmp_path / "glass"
    folder.mkdir()
    settings = ServeSettings(data_dir=tmp_path / "data", slide_folders=(folder,))
    database = open_database(settings.database_address)
    database.migrate()
    with database.session() as session:
        user_id = users.create_user(session, name="ada", role="pathologist").id
    with database.session() as session:
        case_id = cases.create_case(session, user_id=user_id, title="S1").id
    library = SlideLibrary(settings, database)
    tiles = Tiles(library)
    yield House(settings, database, library, tiles, folder, user_id, case_id)
    tiles.close()
    library.close()
    database.close()
