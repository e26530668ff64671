"""Backups: whole, of one moment, and restored to either kind of database."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from databases import Postgres, small_file_system
from pydantic import SecretStr

from ruichat.cli.database import shown_address
from ruichat.cli.main import run
from ruichat.errors import ArtifactError, ConfigError
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import cases, chats, findings, slides, users
from ruichat.storage.database.connect import Database, open_database
from ruichat.storage.database.copying import back_up, check_database, restore
from ruichat.storage.database.findings import NewFinding
from ruichat.storage.database.models import Base

BOX = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}


def silent(stage: str, done: int, total: int) -> None:
    assert 0 <= done <= total, stage


def fill(database: Database, *, num_turns: int = 3, thought: str = "") -> tuple[str, str]:
    """Ids of a user and of their chat, among rows of most kinds."""
    with database.session() as session:
        user = users.create_user(session, name="王", role="pathologist").id
        users.create_token(session, user, name="script")
        case = cases.create_case(session, user_id=user, title="S26-1", context="溃疡").id
        slide = slides.add_slide(
            session, user_id=user, case_id=case, name="A1", root="r", path="p", given_mpp=0.25
        ).id
        chat = chats.create_chat(session, user_id=user, case_id=case, language="zh").id
        for number in range(num_turns):
            chats.add_question(session, chat, user_id=user, text="?", slide_ids=[slide])
            chats.add_answer(
                session, chat, user_id=user, text="!", thought=thought, answer={"n": [number, None]}
            )
        findings.add_findings(
            session, [NewFinding(BOX)] * 5, user_id=user, slide_id=slide, origin="person"
        )
    return user, chat


def content(database: Database) -> dict[str, list[dict[str, object]]]:
    """All rows of all tables."""
    with database.reading() as connection:
        return {
            name: sorted(
                (dict(row) for row in connection.execute(table.select()).mappings()), key=str
            )
            for name, table in Base.metadata.tables.items()
        }


@pytest.mark.parametrize("to", ["sqlite", "postgresql"])
def test_a_backup_of_either_restores_to_either(
    database: Database, tmp_path: Path, to: str, request: pytest.FixtureRequest
) -> None:
    fill(database)
    before = content(database)
    backup = tmp_path / "backups" / "today.db"
    rows = back_up(database, backup, show=silent)
    assert rows == {name: len(found) for name, found in before.items()}
    assert [file.name for file in backup.parent.iterdir()] == ["today.db"]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    digest = backup.read_bytes()
    url = f"sqlite:///{tmp_path}/other/ruichat.db"
    if to == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.emptied("restored")
    other = open_database(url)
    assert restore(other, backup, show=silent) == rows
    assert content(other) == before
    assert backup.read_bytes() == digest, "a backup is only read"
    with pytest.raises(ConfigError, match="holds something"):
        restore(other, backup, show=silent)
    assert content(other) == before
    other.close()


def test_a_backup_is_of_one_moment_while_others_write(database: Database, tmp_path: Path) -> None:
    user, chat = fill(database, num_turns=10)
    stop = threading.Event()
    raised: list[BaseException] = []

    def write() -> None:
        try:
            while not stop.is_set():
                # Question and answer in one block: no moment has one without the other.
                with database.session() as session:
                    chats.add_question(session, chat, user_id=user, text="?" * 2000)
                    chats.add_answer(session, chat, user_id=user, text="!")
        except BaseException as error:
            raised.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    counts = [
        back_up(database, tmp_path / f"{number}.db", show=silent)["messages"] for number in range(3)
    ]
    stop.set()
    writer.join()
    assert raised == []
    assert counts == sorted(counts) and all(count % 2 == 0 for count in counts)
    for number, count in enumerate(counts):
        copy = open_database(f"sqlite:///{tmp_path}/{number}.db")
        with copy.session() as session:
            turns = chats.list_messages(session, chat, user_id=user)
        assert [turn.position for turn in turns] == list(range(count))
        copy.close()


def test_what_is_no_backup_is_refused_and_leaves_nothing(database_url: str, tmp_path: Path) -> None:
    database = open_database(database_url)
    foreign = tmp_path / "foreign.db"
    made = sa.create_engine(f"sqlite:///{foreign}")
    with made.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE a (b)")
    made.dispose()
    text = tmp_path / "text.db"
    text.write_text("no database " * 1000)
    for wrong in (foreign, text, tmp_path / "missing.db", tmp_path):
        with pytest.raises(ArtifactError):
            restore(database, wrong, show=silent)
    assert not any(len(rows) for rows in content(database).values())
    database.close()


def test_a_damaged_database_is_not_backed_up(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/ruichat.db")
    database.migrate()
    fill(database, thought="long " * 10_000)
    database.close()
    with (tmp_path / "ruichat.db").open("r+b") as file:
        # Pages that hold messages; the header and the schema stay as they are.
        file.seek(-8 * 4096, os.SEEK_END)
        file.write(b"\xa5" * 4096)
    assert check_database(database).faults
    with pytest.raises(ArtifactError, match="damaged"):
        back_up(database, tmp_path / "backup.db", show=silent)
    assert [file.name for file in tmp_path.iterdir()] == ["ruichat.db"]
    database.close()


def test_a_backup_that_does_not_fit_the_disk_leaves_nothing(database: Database) -> None:
    fill(database, num_turns=6, thought="long " * 10_000)
    with small_file_system("200k") as folder:
        if folder is None:
            pytest.skip("only root may mount a small disk")
        with pytest.raises(ArtifactError, match="full"):
            back_up(database, folder / "backup.db", show=silent)
        assert list(folder.iterdir()) == []


def test_an_older_or_newer_schema_is_told(database: Database, tmp_path: Path) -> None:
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    assert check_database(database).rows == {}
    with pytest.raises(ArtifactError, match="9999"):
        back_up(database, tmp_path / "backup.db", show=silent)


def test_commands_take_the_way_through(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, backup = (str(tmp_path / name) for name in ("old", "new", "backup.db"))
    assert run(["database", "migrate", "--data", old]) == 0
    database = open_database(f"sqlite:///{old}/ruichat.db")
    fill(database)
    database.close()
    capsys.readouterr()
    assert run(["database", "backup", backup, "--data", old, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == backup and told["rows"]["messages"] == 6
    assert told["database"] == f"{old}/ruichat.db"
    assert run(["database", "backup", backup, "--data", old]) == 2
    assert run(["database", "restore", backup, "--data", new]) == 0
    said = capsys.readouterr().out
    assert "uploads" in said and f"database {new}/ruichat.db" in said
    assert run(["database", "restore", backup, "--data", new]) == 2
    capsys.readouterr()
    assert run(["database", "check", "--data", new, "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert checked["rows"] == told["rows"] and checked["faults"] == []
    assert checked["schema"] == checked["schema_of_this_version"]


def test_another_database_than_the_servers_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere, backup = tmp_path / "nowhere", tmp_path / "backup.db"
    for command in (["backup", str(backup)], ["check"]):
        assert run(["database", *command, "--data", str(nowhere)]) == 3
        assert "no database at" in capsys.readouterr().err and not nowhere.exists()
    nowhere.mkdir()
    (nowhere / "ruichat.db").touch()
    assert run(["database", "backup", str(backup), "--data", str(nowhere)]) == 4
    assert "nothing to back up" in capsys.readouterr().err and not backup.exists()
    assert run(["database", "check", "--data", str(nowhere)]) == 4


def test_where_a_database_is_is_told_without_its_password(tmp_path: Path) -> None:
    def shown(url: str) -> str:
        return shown_address(ServeSettings(data_dir=tmp_path, database_url=SecretStr(url)))

    assert shown("") == str(tmp_path / "ruichat.db")
    assert shown("sqlite:////a/b.db") == "/a/b.db"
    address = shown("postgresql+pg8000://ruichat:s%40cret@db:5433/ruichat?password=s%40cret")
    assert address == "postgresql://ruichat:***@db:5433/ruichat"
