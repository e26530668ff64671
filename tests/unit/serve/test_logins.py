from __future__ import annotations

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from served import ADDRESS, PASSWORD

from ruichat.serve.access import identity, login_gate
from ruichat.serve.access.identity import COOKIE
from ruichat.serve.access.login_page import own_path
from ruichat.serve.access.tokens import same
from ruichat.serve.app import create_app
from ruichat.serve.page.files import assets_version
from ruichat.serve.problems import AccessError
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import users


@pytest.fixture
def li(services):
    with services.database.session() as session:
        return users.create_user(session, name="li", role="reader", password=PASSWORD)


@pytest.fixture
def impatient(monkeypatch):
    """The database is asked on every request."""
    monkeypatch.setattr(identity, "REMEMBERED_S", -1.0)


def log_in(client, name="li", password=PASSWORD, **more):
    form = {"name": name, "password": password, **more}
    return client.post("/login", data=form, headers={"Origin": ADDRESS})


def test_who_knows_the_password_gets_a_cookie_and_goes_on(client, li):
    answer = log_in(client, next="/somewhere")
    assert (answer.status_code, answer.headers["location"]) == (303, "/somewhere")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert client.get("/nothing").status_code == 404


@pytest.mark.parametrize(("name", "password"), [("li", "wrong"), ("nobody", PASSWORD)])
def test_who_does_not_stays_out_and_is_told_the_same(client, li, name, password):
    answer = log_in(client, name, password)
    assert answer.status_code == 401
    assert "Name or password is wrong" in answer.text
    assert COOKIE not in answer.cookies and client.get("/nothing").status_code == 401


def test_a_cookie_planted_before_the_login_is_worthless_after_it(client, li, impatient):
    log_in(client)
    planted = client.cookies[COOKIE]
    log_in(client)
    assert client.cookies[COOKIE] != planted
    for value in (planted, "chosen-by-somebody-else"):
        client.cookies.clear()
        client.cookies.set(COOKIE, value)
        assert client.get("/nothing").status_code == 401
    assert "chosen-by-somebody-else" not in log_in(client).headers["set-cookie"]


def test_logging_out_ends_the_login_at_once(client, li, services):
    log_in(client)
    token = client.cookies[COOKIE]
    with services.database.session() as session:
        csrf = users.find_login(session, token)[0].csrf_token
    headers = {"Origin": ADDRESS, "X-CSRF-Token": csrf}
    assert client.post("/logout", headers=headers).status_code == 303
    assert COOKIE not in client.cookies
    client.cookies.set(COOKIE, token)
    assert client.get("/nothing").status_code == 401


def test_a_login_that_has_ended_is_out(client, services, li, impatient):
    with services.database.session() as session:
        login = users.start_login(session, li.id, lifetime=timedelta(seconds=0.2))
    client.cookies.set(COOKIE, login.token)
    assert client.get("/nothing").status_code == 404
    time.sleep(0.25)
    assert client.get("/nothing").status_code == 401


def test_a_user_who_is_kept_out_is_out(client, services, li, impatient):
    log_in(client)
    with services.database.session() as session:
        users.create_user(session, name="chef", role="admin")
        token = users.create_token(session, li.id, name="x").token
    bearer = {"Authorization": f"Bearer {token}"}
    program = TestClient(client.app, base_url=ADDRESS, headers=bearer)
    assert program.get("/nothing").status_code == 404
    with services.database.session() as session:
        users.set_active(session, li.id, is_active=False)
    assert program.get("/nothing").status_code == 401
    assert client.get("/nothing").status_code == 401


def test_guessing_is_slowed_and_the_right_password_does_not_help(tmp_path):
    app = create_app(ServeSettings(data_dir=tmp_path, single_user=False, login_failures=2))
    with TestClient(app, base_url=ADDRESS, follow_redirects=False) as client:
        with app.state.services.database.session() as session:
            users.create_user(session, name="li", role="reader", password=PASSWORD)
        assert [log_in(client).status_code for _ in range(3)] == [303, 303, 303]
        assert [log_in(client, password="x").status_code for _ in range(2)] == [401, 401]
        answer = log_in(client)
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 0
        assert "Too many" in answer.text


def test_a_name_has_no_more_tries_for_being_spelled_in_other_ways(tmp_path, monkeypatch):
    monkeypatch.setattr(login_gate, "PER_NAME", 1)
    app = create_app(ServeSettings(data_dir=tmp_path, single_user=False, login_failures=3))
    spellings = ["li", " LI", "ｌｉ", "Li "]
    with TestClient(app, base_url=ADDRESS, follow_redirects=False) as client:
        gate = app.state.services.login_gate

        async def guess(number: int) -> str:
            return await gate.check(name=spellings[number], password="x", address=str(number))

        assert [asyncio.run(guess(number)) for number in range(3)] == ["", "", ""]
        with pytest.raises(AccessError):
            asyncio.run(guess(3))
        assert log_in(client, "\0").status_code == 401


def test_a_department_that_logs_in_at_once_is_no_guesser(tmp_path):
    app = create_app(ServeSettings(data_dir=tmp_path, single_user=False, login_failures=2))
    with TestClient(app, base_url=ADDRESS, follow_redirects=False) as client:
        with app.state.services.database.session() as session:
            users.create_user(session, name="li", role="reader", password=PASSWORD)
        with ThreadPoolExecutor(8) as people:
            statuses = [answer.status_code for answer in people.map(log_in, [client] * 8)]
        assert statuses == [303] * 8


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": ADDRESS},
    ],
)
def test_another_sites_page_can_not_log_a_browser_in(client, li, headers):
    form = {"name": "li", "password": PASSWORD}
    assert client.post("/login", data=form, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "given",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/x\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "",
        "/\t/evil.example",
        "/ü",
    ],
)
def test_the_login_leads_nowhere_else(client, li, given):
    assert own_path(given) == "/"
    answer = log_in(client, next=given)
    assert answer.headers["location"] == "/"
    assert set(answer.headers.get_list("set-cookie")[0].split("=", 1)[0].split()) == {COOKIE}


def test_what_is_written_into_the_page_is_text(client):
    page = client.get("/login", params={"next": '/"><script>alert(1)</script>'}).text
    assert page.count("<script") == 1 and "alert" not in page.split("<script")[1]
    page = client.get("/login", params={"next": "/a&b='c"}).text
    assert "/a&amp;b=&#x27;c" in page


def test_the_page_speaks_both_languages_and_fetches_one_script_of_ours(client):
    chinese = client.get("/login", headers={"Accept-Language": "zh-CN,en;q=0.5"}).text
    english = client.get("/login", params={"language": "en"}).text
    assert "用户名" in chinese and "Password" in english
    fetched = re.findall(r'src="([^"]*)"', chinese + english)
    assert "http" not in chinese + english and len(fetched) == 2
    assert set(fetched) == {f"/assets/web/login.js?v={assets_version()}"}
    assert client.get(fetched[0]).status_code == 200


FROM_OUTSIDE = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site"}


def test_a_link_of_another_site_goes_on_from_a_page_of_ours(client, li):
    """Browsers withhold the strict cookie from the link, not from what our own page asks."""
    log_in(client)
    login = dict(client.cookies)
    client.cookies.clear()
    page = client.get("/page/", headers=FROM_OUTSIDE)
    assert page.status_code == 200 and "content-security-policy" in page.headers
    onward = re.findall(r'<a href="([^"]*)" data-onward>', page.text)
    assert onward == ["/login?next=%2Fpage%2F"]
    client.cookies.update(login)
    answer = client.get(onward[0], headers=FROM_OUTSIDE | {"Sec-Fetch-Site": "same-origin"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/page/")


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/page/", {"Sec-Fetch-Site": "same-origin"}),
        ("/page/", {"Sec-Fetch-Site": "none"}),
        ("/page/", {"Cookie": f"{COOKIE}=ended"}),
        ("/api/v1/cases", {}),
        ("/page/config", {}),
    ],
)
def test_nothing_but_a_page_that_another_site_links_to_goes_on(client, path, more):
    answer = client.get(path, headers=FROM_OUTSIDE | more)
    assert answer.status_code == 303 and answer.headers["location"].startswith("/login?next=")


def test_names_and_passwords_are_not_logged(client, li, caplog):
    caplog.set_level("DEBUG")
    log_in(client, password="a wrong secret")
    log_in(client)
    client.get("/nothing?question=Zhang")
    ours = "".join(r.getMessage() for r in caplog.records if r.name.startswith("ruichat"))
    assert "POST /login" in ours
    for secret in ("a wrong secret", PASSWORD, client.cookies[COOKIE], "Zhang"):
        assert secret not in ours


def test_secrets_are_compared_whole():
    assert same("a", "a") and not same("a", "b") and not same("", "") and not same("ä", "a")
