"""Shape checking for the whole suite, and where the development slides are."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from databases import Postgres

    from ruichat.storage.database.connect import Database

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

# Kept for the whole session: annotated tensor functions check their shapes when called.
_HOOK = install_import_hook("ruichat", "typecheck.check")

# A busy machine isn't a failing test, and a change is judged by the same examples as the last one.
# `--hypothesis-profile=search` looks for new ones.
settings.register_profile("ruichat", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("ruichat")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-screenshots",
        action="store_true",
        help="Write the guides' pictures into docs/images.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Chance begins alike for every test and its fixtures, whichever ran before."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the development slides and tiles, or a skip that says why."""
    given = os.environ.get("RUICHAT_SHARED_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    if not (folder / "MANIFEST.tsv").is_file():
        pytest.skip("development slides are not at ../shared/data (RUICHAT_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def picture_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a tiny image-text-to-text model of a class, saved on first use."""
    import torch
    from fakes_pictures import SAVERS

    torch.set_num_threads(1)  # so small, they would wait for each other's threads
    root = tmp_path_factory.mktemp("picture-models")

    def folder(name: str) -> Path:
        place = root / name
        return place if place.exists() else SAVERS[name](place)

    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of the session's own, or a skip that says why there is none."""
    from databases import Postgres, why_no_postgres

    if reason := why_no_postgres():
        pytest.skip(reason)
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/database/ruichat.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.emptied("test")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open database of each kind with this version's tables."""
    from ruichat.storage.database.connect import open_database

    opened = open_database(database_url)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 12 MB, or a skip that says why not."""
    from databases import small_file_system

    with small_file_system("12m") as folder:
        if folder is None:
            pytest.skip("only root may mount a small disk")
        yield folder


@pytest.fixture
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed with Argon2's least work, not with what keeps them safe."""
    from argon2 import PasswordHasher

    from ruichat.storage.database import users

    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(users, "password_hasher", lambda: hasher)
    monkeypatch.setattr(users, "nobodys_hash", lambda: hasher.hash("nobody"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bags of one test are never found by another, nor by the user's own program."""
    monkeypatch.setenv("RUICHAT_CACHE", str(tmp_path / "cache"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Proofs take minutes, so they run only where they are asked for: `pytest -m proof`."""
    if "proof" not in config.option.markexpr:
        skip = pytest.mark.skip(reason="takes minutes; run with: pytest -m proof")
        for item in items:
            if "proof" in item.keywords:
                item.add_marker(skip)
