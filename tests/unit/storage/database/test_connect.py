"""One door to both databases: what is acknowledged is kept, what fails says why."""

from __future__ import annotations

import itertools
import logging
import sqlite3
import stat
import threading
import time
import traceback
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from databases import Postgres

from ruichat.errors import (
    ArtifactError,
    ConfigError,
    ConflictError,
    DatabaseUnavailableError,
    InputError,
    NotFoundError,
    PrerequisiteError,
)
from ruichat.storage.database import cases, chats, migrate, users
from ruichat.storage.database.connect import Database, open_database
from ruichat.storage.database.models import Base, Case, Message, User


def table_names(database: Database) -> set[str]:
    return set(sa.inspect(database.engine).get_table_names())


def constraint_names(database: Database) -> set[str | None]:
    found, schema = set(), sa.inspect(database.engine)
    for table in Base.metadata.tables:
        listed = [
            *schema.get_check_constraints(table),
            *schema.get_unique_constraints(table),
            *schema.get_foreign_keys(table),
            *schema.get_indexes(table),
            schema.get_pk_constraint(table),
        ]
        found |= {each["name"] for each in listed}
    return found


def test_models_and_migrations_agree(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    migrated = constraint_names(database)
    Base.metadata.drop_all(database.engine)
    Base.metadata.create_all(database.engine)
    assert migrated == constraint_names(database)


def test_migrations_go_up_from_nothing_and_back(database_url: str) -> None:
    database = open_database(database_url)
    assert table_names(database) == set()
    assert database.migrate() == migrate.newest_revision()
    assert database.migrate() == migrate.newest_revision(), "once more changes nothing"
    assert table_names(database) == {*Base.metadata.tables, "alembic_version"}
    with database.transaction() as connection:
        command.downgrade(migrate.alembic_config(connection), "base")
    assert table_names(database) == {"alembic_version"}
    database.migrate()
    database.close()


def test_a_migration_that_fails_leaves_nothing_behind(
    database_url: str,
) -> None:
    database = open_database(database_url)
    with pytest.raises(ZeroDivisionError), database.transaction() as connection:
        migrate.upgrade(connection)
        raise ZeroDivisionError
    assert table_names(database) == set()
    database.close()


def test_servers_that_start_together_migrate_once(database_url: str) -> None:
    databases = [open_database(database_url) for _ in range(3)]
    failures: list[BaseException] = []

    def start(database: Database) -> None:
        try:
            database.migrate()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=start, args=(each,)) for each in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for each in databases:
        each.close()


def test_a_newer_programs_database_is_refused(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ArtifactError, match="9999"):
        database.migrate()


def test_what_a_block_did_is_kept_only_if_it_ended_well(database: Database) -> None:
    with database.session() as session:
        kept = users.create_user(session, name="kept", role="reader")
    assert kept.name == "kept", "readable after the block"
    with pytest.raises(ZeroDivisionError), database.session() as session:
        users.create_user(session, name="lost", role="reader")
        raise ZeroDivisionError
    with database.session() as session:
        assert [user.name for user in users.list_users(session)] == ["kept"]


def test_neither_logs_nor_errors_show_what_is_written(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="sqlalchemy")
    fresh = open_database(database.engine.url.render_as_string(hide_password=False))
    with fresh.session() as session:
        user = users.create_user(session, name="li", role="reader")
        cases.create_case(session, user_id=user.id, title="PATIENT-7", context="x" * 5000)
    assert "INSERT INTO cases" in caplog.text and "PATIENT-7" not in caplog.text
    with pytest.raises(ConflictError) as caught, fresh.session() as session:
        session.add(Case(owner_id="0" * 32, title="PATIENT-7"))
    assert "PATIENT-7" not in "".join(traceback.format_exception(caught.value))
    fresh.close()


def test_times_come_back_in_utc(database: Database) -> None:
    beijing = datetime(2026, 3, 1, 8, 30, 15, 123456, timezone(timedelta(hours=8)))
    with database.session() as session:
        user = users.create_user(session, name="a", role="reader")
        user.created_at = beijing
    with database.session() as session:
        found = session.get_one(User, user.id).created_at
    assert found == beijing and found.tzinfo is UTC
    with pytest.raises(InputError, match="no zone"), database.session() as session:
        session.get_one(User, user.id).created_at = datetime(2026, 3, 1)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 201])
def test_text_that_one_of_them_could_not_keep_is_refused_by_both(
    database: Database, text: str
) -> None:
    with database.session() as session:
        user = users.create_user(session, name="a", role="reader")
    with pytest.raises(InputError), database.session() as session:
        cases.create_case(session, user_id=user.id, title=text)
    with database.session() as session:
        case = cases.create_case(session, user_id=user.id, title="胃镜活检 🔬 " + "x" * 190)
    with database.session() as session:
        assert cases.get_case(session, case.id, user_id=user.id).title == case.title


@pytest.mark.parametrize("wrong", ["", "..", "A" * 32, "0" * 31, "0" * 33, "\0", "' OR 1=1 --"])
def test_nothing_is_found_under_what_is_no_id(database: Database, wrong: str) -> None:
    with pytest.raises(NotFoundError), database.session() as session:
        cases.get_case(session, wrong, user_id="0" * 32)
    with pytest.raises(NotFoundError), database.session() as session:
        cases.get_case(session, "0" * 32, user_id=wrong)


def test_numbers_that_json_lacks_are_refused(database: Database) -> None:
    with database.session() as session:
        user = users.create_user(session, name="a", role="reader")
        case = cases.create_case(session, user_id=user.id, title="a")
        chat = chats.create_chat(session, user_id=user.id, case_id=case.id, language="en")
    with pytest.raises(InputError, match="can't be kept"), database.session() as session:
        answer = {"confidence": float("nan")}
        chats.add_answer(session, chat.id, user_id=user.id, text="a", answer=answer)


def test_rows_that_belong_to_nothing_are_refused(database: Database) -> None:
    with pytest.raises(ConflictError), database.session() as session:
        session.add(Case(owner_id="0" * 32, title="nobody's"))
    with pytest.raises(ConflictError), database.session() as session:
        session.add(Message(chat_id="0" * 32, position=0, role="user"))


def test_sqlite_is_set_to_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "ruichat.db"
    database = open_database(f"sqlite:///{file}")
    with database.engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    safe_wal = sqlite3.sqlite_version_info >= (3, 51, 3)
    assert pragmas == {
        "journal_mode": "wal" if safe_wal else "delete",
        "synchronous": 2 if safe_wal else 3,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    database.close()


def test_postgresql_acknowledges_only_what_is_durable(postgres: Postgres) -> None:
    database = open_database(postgres.create("lazy"))
    with database.session() as session:
        session.execute(sa.text("ALTER DATABASE lazy SET synchronous_commit TO off"))
    database.close()
    with database.session() as session:
        assert session.scalar(sa.text("SHOW synchronous_commit")) == "on"
    database.close()


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "sqlite:///:memory:", "mysql://a/b", "sqlite:////a?mode=memory", "x"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_database(url)
    assert "sqlite:////" in caught.value.hint


def test_a_folder_that_cannot_be_made_is_named_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PrerequisiteError, match="can't be opened"):
        open_database(f"sqlite:///{tmp_path}/file/ruichat.db")


def test_a_server_that_is_away_is_told_and_its_password_is_not() -> None:
    database = open_database("postgresql://u:secret@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailableError) as caught, database.session() as session:
        users.list_users(session)
    assert "secret" not in str(caught.value)


def test_what_an_operator_got_wrong_is_told(postgres: Postgres) -> None:
    postgres.sql("postgres", "CREATE ROLE weak LOGIN")
    url = postgres.url("postgres").replace("postgres@", "weak@")
    for wrong, why in [
        (postgres.url("nonesuch"), "no database of that name"),
        (url, "may not do that"),
    ]:
        # PostgreSQL hangs up as soon as it has refused, which a busy machine may see first.
        told = {_refusal(wrong)}
        for _ in range(20):
            if any(why in words for words in told):
                break
            time.sleep(0.1)
            told.add(_refusal(wrong))
        else:
            pytest.fail(f"{why!r} isn't in {told}")


def _refusal(url: str) -> str:
    database = open_database(url)
    try:
        with pytest.raises(DatabaseUnavailableError) as refused:
            database.migrate()
    finally:
        database.close()
    return str(refused.value)


def test_a_server_that_dies_under_writers_is_told_as_such(postgres: Postgres) -> None:
    database = open_database(postgres.create("dying"))
    database.migrate()
    raised: list[BaseException] = []
    stop = threading.Event()

    def write(number: int) -> None:
        for turn in itertools.count():
            try:
                with database.session() as session:
                    users.create_user(session, name=f"{number} {turn}", role="reader")
            except BaseException as error:
                raised.append(error)
            if stop.wait(0.01):
                return

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.3)
        postgres.kill()
        postgres.start()
    stop.set()
    for thread in threads:
        thread.join()
    assert {type(error) for error in raised} == {DatabaseUnavailableError}
    database.close()


def test_a_restarted_postgresql_is_found_again(postgres: Postgres) -> None:
    database = open_database(postgres.create("restarted"))
    database.migrate()
    postgres.kill()
    with pytest.raises(DatabaseUnavailableError), database.session() as session:
        users.list_users(session)
    postgres.start()
    with database.session() as session:
        assert list(users.list_users(session)) == []
    database.close()


def test_a_lost_connection_is_one_line_in_the_log(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    database = open_database(postgres.create("lost"))
    database.migrate()
    find = sa.select(User).where(User.name == "Zhang San")
    for ended in (False, True):
        with pytest.raises(DatabaseUnavailableError), database.session() as session:
            session.scalars(find).all()
            if ended:
                others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                postgres.sql("postgres", f"{others} WHERE datname = 'lost'")
            else:
                postgres.kill()
                postgres.start()
            session.scalars(find).all()
    lost = [one for one in caplog.records if one.name.startswith("sqlalchemy.pool")]
    said = [logging.Formatter().format(one) for one in lost]
    assert said and len(said) <= 2 * 2, said
    assert all("\n" not in line and "Error" in line for line in said), said
    assert "Zhang" not in caplog.text and "Traceback" not in caplog.text
    database.close()
