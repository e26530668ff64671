"""A full disk: the writer is told, nothing acknowledged is lost, reading goes on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from databases import ACCOUNT, Postgres, fill_disk

from ruichat.errors import StorageFullError
from ruichat.storage.database import cases, chats, users
from ruichat.storage.database.connect import Database, open_database
from ruichat.storage.database.models import LONG


def begin(database: Database) -> tuple[str, str]:
    """Ids of a user and of their chat."""
    database.migrate()
    with database.session() as session:
        user = users.create_user(session, name="a", role="pathologist").id
        case = cases.create_case(session, user_id=user, title="S26-1").id
        chat = chats.create_chat(session, user_id=user, case_id=case, language="zh").id
    return user, chat


def write(database: Database, user: str, chat: str, text: str) -> str:
    with database.session() as session:
        chats.add_question(session, chat, user_id=user, text=text)
    return text


def write_until_full(database: Database, user: str, chat: str) -> list[str]:
    """Texts that were acknowledged."""
    kept: list[str] = []
    with pytest.raises(StorageFullError, match="full") as caught:
        for number in range(10_000):
            # Hard to compress: PostgreSQL packs long texts.
            text = f"{number} " + os.urandom(LONG // 2 - 50).hex()
            kept.append(write(database, user, chat, text))
    assert "Free some space" in caught.value.hint
    return kept


def texts(database: Database, user: str, chat: str) -> list[str]:
    with database.session() as session:
        return [turn.text for turn in chats.list_messages(session, chat, user_id=user)]


def test_sqlite_says_so_where_its_file_may_not_grow(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/ruichat.db")
    user, chat = begin(database)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=100")
    kept = write_until_full(database, user, chat)
    assert texts(database, user, chat) == kept
    database.close()


def test_sqlite_says_so_on_a_full_disk(small_disk: Path) -> None:
    database = open_database(f"sqlite:///{small_disk}/ruichat.db")
    user, chat = begin(database)
    kept = write_until_full(database, user, chat)
    assert len(kept) > 10 and texts(database, user, chat) == kept
    ballast = fill_disk(small_disk)
    for _ in range(3):
        # Not even the journal fits now.
        with pytest.raises(StorageFullError):
            write(database, user, chat, "short")
        assert texts(database, user, chat) == kept
    database.close()
    database = open_database(f"sqlite:///{small_disk}/ruichat.db")
    database.migrate()
    assert texts(database, user, chat) == kept, "a server can start on a full disk, to read"
    ballast.unlink()
    kept.append(write(database, user, chat, "short"))
    assert texts(database, user, chat) == kept
    database.close()


def test_postgresql_says_so_on_a_full_disk(postgres: Postgres, small_disk: Path) -> None:
    place = small_disk / "tablespace"
    place.mkdir()
    shutil.chown(place, ACCOUNT)
    postgres.sql("postgres", f"CREATE TABLESPACE small LOCATION '{place}'")
    postgres.sql("postgres", "CREATE DATABASE small TABLESPACE small TEMPLATE template0")
    database = open_database(postgres.url("small"))
    user, chat = begin(database)
    kept = write_until_full(database, user, chat)
    assert len(kept) > 10 and texts(database, user, chat) == kept
    database.close()
    postgres.sql("postgres", "DROP DATABASE small WITH (FORCE)")
    postgres.sql("postgres", "DROP TABLESPACE small")
