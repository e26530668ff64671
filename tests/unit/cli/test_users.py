from __future__ import annotations

import io
import json

import pytest

from ruichat.cli import main
from ruichat.serve.access.identity import SINGLE_USER
from ruichat.storage.database import users
from ruichat.storage.database.connect import open_database

pytestmark = pytest.mark.usefixtures("quick_passwords")

PASSWORD = "correct horse battery"


@pytest.fixture
def ruichat(tmp_path, monkeypatch, capsys):
    def run(*arguments: str, typed: str = PASSWORD + "\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        code = main.run(["users", *arguments, "--data", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def kept(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'ruichat.db'}")
    yield database
    database.close()


def test_a_user_is_added_listed_changed_and_kept_out(ruichat, kept, tmp_path):
    assert ruichat("add", "Chef", "--role", "admin")[0] == 0
    where = f"database {tmp_path / 'ruichat.db'}\n"
    assert ruichat("add", "Li", "--role", "reader") == (0, "li may log in as reader\n", where)
    assert ruichat("role", "li", "pathologist")[0] == 0
    listed = json.loads(ruichat("list", "--json")[1])
    assert [(row["name"], row["role"]) for row in listed] == [
        ("chef", "admin"),
        ("li", "pathologist"),
    ]
    assert ruichat("disable", "li")[0] == 0
    with kept.session() as session:
        assert users.check_password(session, name="li", password=PASSWORD) is None
    assert ruichat("disable", "li", "--undo")[0] == 0
    assert ruichat("password", "li", typed="another long password\n")[0] == 0
    with kept.session() as session:
        assert users.check_password(session, name="li", password=PASSWORD) is None
        assert users.check_password(session, name="li", password="another long password")


def test_a_token_is_printed_alone_and_works(ruichat, kept):
    ruichat("add", "li")
    code, out, err = ruichat("token", "li", "--label", "scripts", "--days", "1")
    assert code == 0 and "ruichat.db" in err
    with kept.session() as session:
        found = users.find_token(session, out.strip())
        assert found is not None and found[1].name == "li" and found[0].expires_at is not None


def test_the_single_user_becomes_a_person_who_keeps_the_cases(ruichat, kept):
    kept.migrate()
    with kept.session() as session:
        single = users.create_user(session, name=SINGLE_USER, role="admin").id
    assert ruichat("add", "li", "--role", "admin", "--take-over")[0] == 0
    with kept.session() as session:
        user = users.check_password(session, name="li", password=PASSWORD)
        assert user is not None and (user.id, user.role) == (single, "admin")


def test_the_language_is_the_one_given_then_the_servers(ruichat, kept, monkeypatch):
    monkeypatch.setenv("RUICHAT_SERVE_LANGUAGE", "zh")
    ruichat("add", "li")
    ruichat("add", "ann", "--language", "en")
    with kept.session() as session:
        users.create_user(session, name=SINGLE_USER, role="admin", language="en")
    ruichat("add", "bo", "--role", "admin", "--take-over")
    with kept.session() as session:
        languages = {user.name: user.language for user in users.list_users(session)}
    assert languages == {"li": "zh", "ann": "en", "bo": "en"}, "who takes over keeps theirs"


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("role", "li", "admin"),
        ("password", "li"),
        ("disable", "li"),
        ("token", "li"),
        ("add", "li", "--take-over"),
    ],
)
def test_only_who_is_added_may_make_a_database(ruichat, tmp_path, arguments):
    code, _, err = ruichat(*arguments)
    assert code == 3 and "there is no database at" in err
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_is_told_with_a_code(ruichat):
    assert ruichat("add", "li", typed="")[0] == 4
    assert ruichat("add", "li", typed="short\n")[0] == 4
    assert ruichat("add", "li", "--take-over")[0] == 4
    code, _, err = ruichat("role", "nobody", "admin")
    assert code == 4 and "nobody" in err
    assert ruichat("add", "li", "--role", "king")[0] == 2
