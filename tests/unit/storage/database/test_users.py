"""Users: passwords that can't be read or guessed by the clock, logins, tokens, the last admin."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from ruichat.errors import ConflictError, InputError, NotFoundError
from ruichat.storage.database import users
from ruichat.storage.database.columns import now
from ruichat.storage.database.connect import Database
from ruichat.storage.database.models import ApiToken, User

pytestmark = pytest.mark.usefixtures("quick_passwords")

PASSWORD = "correct horse battery"


def make(database: Database, name: str, role: Any = "reader", **more: Any) -> User:
    with database.session() as session:
        return users.create_user(session, name=name, role=role, **more)


def test_a_password_lets_its_user_in_and_nobody_else(database: Database) -> None:
    user = make(database, " Wang Li ", password=PASSWORD)
    assert user.name == "wang li"
    assert user.password_hash is not None and user.password_hash.startswith("$argon2id$")
    with database.session() as session:
        found = users.check_password(session, name="WANG LI", password=PASSWORD)
        assert found is not None and found.id == user.id
        for name, password in [
            ("wang li", "another password"),
            ("wang li", ""),
            ("wang li", "\ud800" * 20),
            ("wang li", PASSWORD + "x" * 100_000),
            ("somebody", PASSWORD),
            ("\0", PASSWORD),
            ("x" * 10_000, PASSWORD),
        ]:
            assert users.check_password(session, name=name, password=password) is None


def test_a_password_is_the_same_in_every_form_of_unicode(database: Database) -> None:
    make(database, "a", password="Ｍｉｋｒｏｓｋｏｐ é 12")
    with database.session() as session:
        assert users.check_password(session, name="a", password="Mikroskop é 12")


def test_the_length_of_a_password_is_counted_in_characters(database: Database) -> None:
    with pytest.raises(InputError, match=r"has 4\."):
        make(database, "a", password="病理切片")
    long = "é" * 1024
    make(database, "b", password=long)
    with database.session() as session:
        assert users.check_password(session, name="b", password="e\u0301" * 1024)
        assert users.check_password(session, name="b", password=long + "x") is None
    with pytest.raises(InputError, match=r"has 1025\."):
        make(database, "c", password=long + "x")


def test_an_unknown_name_takes_as_long_as_a_wrong_password(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(database, "known", password=PASSWORD)
    make(database, "oidc", oidc_subject="https://id.example/1")
    make(database, "out", password=PASSWORD)
    with database.session() as session:
        out = users.find_user(session, name="out")
        assert out is not None
        users.set_active(session, out.id, is_active=False)

    # A clock on a busy machine proves little; that the same work is done proves all.
    hasher, checked = users.password_hasher(), []

    class Watched:
        def verify(self, password_hash: str, password: bytes) -> bool:
            checked.append(password_hash.split("$")[:4])
            return hasher.verify(password_hash, password)

    monkeypatch.setattr(users, "password_hasher", Watched)
    for name in ("known", "unknown", "oidc", "out", "\0"):
        with database.session() as session:
            assert users.check_password(session, name=name, password="wrong password") is None
    assert len(checked) == 5 and all(each == checked[0] for each in checked)


@pytest.mark.parametrize("password", ["", "x" * 11, "x" * 1025])
def test_poor_passwords_are_refused(database: Database, password: str) -> None:
    with pytest.raises(InputError, match="12 to 1024"):
        make(database, "a", password=password)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\0b", "x" * 201, "\u200b"])
def test_names_that_cannot_be_seen_are_refused(database: Database, name: str) -> None:
    with pytest.raises(InputError, match="visible"):
        make(database, name)


def test_names_and_subjects_are_unique(database: Database) -> None:
    make(database, "Wang", oidc_subject="s")
    for name, subject in [("wang", None), ("WANG", "t"), ("li", "s")]:
        with pytest.raises(ConflictError):
            make(database, name, oidc_subject=subject)


def test_an_older_hash_is_renewed_when_its_password_comes(database: Database) -> None:
    from argon2 import PasswordHasher

    user = make(database, "a", password=PASSWORD)
    weak = PasswordHasher(time_cost=1, memory_cost=16, parallelism=1).hash(PASSWORD)
    with database.session() as session:
        session.get_one(User, user.id).password_hash = weak
    with database.session() as session:
        assert users.check_password(session, name="a", password=PASSWORD)
    with database.session() as session:
        assert session.get_one(User, user.id).password_hash != weak
        assert users.check_password(session, name="a", password=PASSWORD)


def test_a_login_ends_by_itself_by_logging_out_and_with_its_user(database: Database) -> None:
    user = make(database, "a", password=PASSWORD)
    with database.session() as session:
        short = users.start_login(session, user.id, lifetime=timedelta(0))
        first = users.start_login(session, user.id, lifetime=timedelta(hours=1))
        second = users.start_login(session, user.id, lifetime=timedelta(hours=1))
    with database.session() as session:
        assert users.find_login(session, short.token) is None
        found = users.find_login(session, first.token)
        assert found is not None and found[1].id == user.id
        assert found[0].csrf_token == first.csrf_token
        kept = {login.token_digest for login in session.scalars(sa.select(type(found[0])))}
        assert first.token not in kept and len(kept) == 2, "digests; those that ended are swept"
        users.end_login(session, first.token)
    with database.session() as session:
        assert users.find_login(session, first.token) is None
        assert users.find_login(session, second.token) is not None
        users.set_password(session, user.id, password=PASSWORD + "!")
    with database.session() as session:
        assert users.find_login(session, second.token) is None


def test_a_disabled_user_is_out_at_once(database: Database) -> None:
    make(database, "admin", "admin")
    user = make(database, "a", password=PASSWORD)
    with database.session() as session:
        login = users.start_login(session, user.id, lifetime=timedelta(hours=1))
        token = users.create_token(session, user.id, name="script")
        users.set_active(session, user.id, is_active=False)
    with database.session() as session:
        assert users.find_login(session, login.token) is None
        assert users.find_token(session, token.token) is None
        assert users.check_password(session, name="a", password=PASSWORD) is None
        users.set_active(session, user.id, is_active=True)
    with database.session() as session:
        assert users.find_login(session, login.token) is None
        assert users.find_token(session, token.token) is not None


def test_tokens_are_their_users_own(database: Database) -> None:
    user, other = make(database, "a"), make(database, "b")
    with database.session() as session:
        token = users.create_token(session, user.id, name="script")
        ended = users.create_token(session, user.id, name="old", expires_at=now())
    with database.session() as session:
        found = users.find_token(session, token.token)
        assert found is not None and found[1].id == user.id
        assert token.token not in found[0].digest
        assert users.find_token(session, ended.token) is None
        assert users.find_token(session, found[0].digest) is None
        assert [each.name for each in users.list_tokens(session, user.id)] == ["script", "old"]
        assert list(users.list_tokens(session, other.id)) == []
    with pytest.raises(NotFoundError), database.session() as session:
        users.delete_token(session, token.id, user_id=other.id)
    with database.session() as session:
        users.delete_token(session, token.id, user_id=user.id)
    with database.session() as session:
        assert users.find_token(session, token.token) is None


def test_a_tokens_use_is_noted_but_not_on_every_call(database: Database) -> None:
    user = make(database, "a")
    with database.session() as session:
        token_id = users.create_token(session, user.id, name="script").id
    seen = []
    for age in (None, timedelta(0), timedelta(minutes=2)):
        with database.session() as session:
            token = session.get_one(ApiToken, token_id)
            if age is not None and token.last_used_at is not None:
                token.last_used_at -= age
                session.flush()
            users.note_token_use(session, token)
        with database.session() as session:
            seen.append(session.get_one(ApiToken, token_id).last_used_at)
    assert seen[0] == seen[1] < seen[2]


def test_the_last_admin_stays(database: Database) -> None:
    first, second = make(database, "a", "admin"), make(database, "b", "admin")
    with database.session() as session:
        users.set_role(session, first.id, role="reader")
    with pytest.raises(ConflictError, match="last"), database.session() as session:
        users.set_role(session, second.id, role="reader")
    with pytest.raises(ConflictError, match="last"), database.session() as session:
        users.set_active(session, second.id, is_active=False)
    with database.session() as session:
        assert users.get_user(session, second.id).role == "admin"


def test_two_admins_who_demote_each_other_leave_one(database: Database) -> None:
    admins = [make(database, name, "admin") for name in ("a", "b")]
    barrier, refused = threading.Barrier(2), []

    def demote(user: User) -> None:
        barrier.wait()
        try:
            with database.session() as session:
                users.set_role(session, user.id, role="reader")
        except ConflictError as error:
            refused.append(error)

    threads = [threading.Thread(target=demote, args=(user,)) for user in admins]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.session() as session:
        assert [user.role for user in users.list_users(session)].count("admin") == 1
    assert len(refused) == 1
