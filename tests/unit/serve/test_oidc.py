from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

pytest.importorskip("authlib")
from joserfc import jwk, jwt

from ruichat.serve.access.identity import COOKIE
from ruichat.serve.app import create_app
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import users

PUBLIC_URL = "https://rui.example"


class Provider:
    """A small OpenID Connect provider: real signatures, one person, codes used once."""

    def __init__(self) -> None:
        self.key = jwk.RSAKey.generate_key(2048, {"kid": "k1"})
        self.signing_key = self.key
        self.algorithm = "RS256"
        self.changed: dict[str, object] = {}
        self.person = {"sub": "4711", "preferred_username": "Li.Wei"}
        self.begun: dict[str, dict[str, str]] = {}
        self.slash = ""
        self.broken: dict[str, int] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/.well-known/openid-configuration":
                    self.answer(provider.description())
                else:
                    self.answer({"keys": [provider.key.as_dict(private=False)]})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                self.answer(*provider.token(form, self.headers.get("Authorization", "")))

            def answer(self, body: object, status: int = 200) -> None:
                status = provider.broken.get(self.path, status)
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *values: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def description(self) -> dict[str, str]:
        return {
            "issuer": self.issuer + self.slash,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }

    def log_in(self, address: str) -> dict[str, str]:
        """What the browser brings back after the person has logged in at the provider."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["redirect_uri"] == f"{PUBLIC_URL}/login/oidc/callback"
        assert asked["code_challenge_method"] == "S256" and "openid" in asked["scope"]
        self.begun["a-code"] = asked
        return {"code": "a-code", "state": asked["state"]}

    def token(self, form: dict[str, str], authorization: str) -> tuple[object, int]:
        asked = self.begun.pop(form["code"], None)
        expected = base64.b64encode(b"ruichat:a client secret").decode()
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or asked["code_challenge"] != challenge:
            return {"error": "invalid_grant"}, 400
        if authorization != f"Basic {expected}":
            return {"error": "invalid_client"}, 401
        claims = {
            "iss": self.issuer + self.slash,
            "aud": "ruichat",
            "exp": int(time.time()) + 300,
            "iat": int(time.time()),
            "nonce": asked["nonce"],
            **self.person,
            **self.changed,
        }
        header = {"alg": self.algorithm, "kid": "k1"}
        token = jwt.encode(header, claims, self.signing_key, algorithms=[self.algorithm])
        return {"access_token": "x", "token_type": "Bearer", "id_token": token}, 200


@pytest.fixture(scope="module")
def running():
    provider = Provider()
    yield provider
    provider.server.shutdown()
    provider.server.server_close()


@pytest.fixture
def provider(running):
    running.changed, running.signing_key, running.algorithm = {}, running.key, "RS256"
    running.slash, running.broken = "", {}
    return running


@pytest.fixture
def client(tmp_path, provider):
    settings = ServeSettings(
        data_dir=tmp_path,
        public_url=PUBLIC_URL,
        oidc_issuer=provider.issuer,
        oidc_client_id="ruichat",
        oidc_client_secret="a client secret",
    )
    app = create_app(settings)
    with TestClient(app, base_url=PUBLIC_URL, follow_redirects=False) as client:
        yield client


def go(client, provider, next_path="/cases"):
    left = client.get("/login/oidc", params={"next": next_path})
    assert left.status_code == 303
    back = provider.log_in(left.headers["location"])
    return client.get("/login/oidc/callback", params=back)


def assert_form_leads_in(page, next_path):
    """Where the page stands no password can be sent: its form says where it goes."""
    assert '<form method="post" action="/login">' in page
    assert f'name="next" value="{next_path}"' in page


def whoever(client):
    return client.get("/api/v1/me").json()


def test_a_person_of_the_hospital_comes_in_as_a_reader(client, provider):
    assert "/login/oidc?next=" in client.get("/login").text
    answer = go(client, provider)
    assert answer.status_code == 200 and 'url=/cases"' in answer.text
    cookies = answer.headers.get_list("set-cookie")
    kept = next(cookie for cookie in cookies if cookie.startswith(COOKIE))
    assert "Secure" in kept and "HttpOnly" in kept and "SameSite=strict" in kept
    assert (whoever(client)["name"], whoever(client)["role"]) == ("li.wei", "reader")


def test_the_name_of_a_provider_may_end_in_a_slash(client, provider):
    provider.slash = "/"
    assert go(client, provider).status_code == 200 and whoever(client)["name"] == "li.wei"
    provider.changed = {"iss": provider.issuer}
    assert go(client, provider).status_code == 403


@pytest.mark.parametrize(("path", "status"), [("/token", 502), ("/keys", 500), ("/keys", 404)])
def test_a_provider_that_goes_away_in_between_is_told(client, provider, path, status):
    provider.broken = {path: status}
    answer = go(client, provider, "/page/#case=5")
    assert answer.status_code == 503 and "login service is away" in answer.text
    assert COOKIE not in client.cookies
    assert_form_leads_in(answer.text, "/page/#case=5")


def test_the_same_person_is_the_same_user_with_the_role_of_the_provider(client, provider):
    go(client, provider)
    first = whoever(client)["id"]
    provider.changed = {"preferred_username": "li.new", "ruichat_role": "pathologist"}
    go(client, provider)
    client.app.state.services.identities.forget_all()
    assert (whoever(client)["id"], whoever(client)["role"]) == (first, "pathologist")


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"aud": ["ruichat", "another"], "azp": "another"},
        {"nonce": "of another login"},
        {"exp": 1},
        {"sub": None},
        {"iat": int(time.time()) + 3600},
    ],
)
def test_a_token_that_is_not_for_us_lets_nobody_in(client, provider, changed):
    provider.changed = changed
    answer = go(client, provider)
    assert answer.status_code == 403 and "not accepted" in answer.text
    assert COOKIE not in client.cookies
    assert_form_leads_in(answer.text, "/cases")


def test_a_token_that_another_key_signed_lets_nobody_in(client, provider):
    provider.signing_key = jwk.RSAKey.generate_key(2048, {"kid": "k1"})
    assert go(client, provider).status_code == 403


def test_a_token_signed_with_the_shared_secret_lets_nobody_in(client, provider):
    provider.signing_key = jwk.OctKey.import_key("a client secret, made long enough for HS256")
    provider.algorithm = "HS256"
    assert go(client, provider).status_code == 403


def test_a_login_that_was_not_begun_here_lets_nobody_in(client, provider):
    left = client.get("/login/oidc")
    back = provider.log_in(left.headers["location"])
    wrong = client.get("/login/oidc/callback", params=back | {"state": "guessed"})
    assert wrong.status_code == 403
    client.cookies.clear()
    assert client.get("/login/oidc/callback", params=back).status_code == 403
    assert client.get("/login/oidc/callback").status_code == 403


@pytest.mark.parametrize("planted", ["https://evil.example/", "//evil.example", 5])
def test_a_planted_cookie_leads_to_no_other_site(client, provider, planted):
    left = client.get("/login/oidc?next=/cases")
    name = "ruichat_oidc"
    attempt = json.loads(base64.urlsafe_b64decode(client.cookies[name]))
    client.cookies.clear()
    told = base64.urlsafe_b64encode(json.dumps(attempt | {"next_path": planted}).encode())
    client.cookies.set(name, told.decode(), path="/login/oidc")
    answer = client.get("/login/oidc/callback", params=provider.log_in(left.headers["location"]))
    assert answer.status_code == (403 if planted == 5 else 200)
    assert "evil" not in answer.text


def test_nobody_takes_over_a_user_who_has_a_password_or_comes_back_after_being_kept_out(
    client, provider
):
    database = client.app.state.services.database
    with database.session() as session:
        users.create_user(session, name="li.wei", role="admin", password="a long password")
    assert go(client, provider).status_code == 403
    provider.changed = {"preferred_username": "li.other"}
    go(client, provider)
    with database.session() as session:
        user = users.find_user(session, name="li.other")
        users.set_active(session, user.id, is_active=False)
    client.cookies.clear()
    assert go(client, provider).status_code == 403


def test_without_a_provider_there_is_no_such_door(tmp_path):
    with TestClient(
        create_app(ServeSettings(data_dir=tmp_path, single_user=False)),
        base_url="http://localhost",
    ) as client:
        assert client.get("/login/oidc").status_code == 404
        assert "oidc" not in client.get("/login").text


def test_a_provider_that_is_away_is_told(tmp_path):
    settings = ServeSettings(
        data_dir=tmp_path,
        public_url=PUBLIC_URL,
        oidc_issuer="http://127.0.0.1:9",
        oidc_client_id="ruichat",
    )
    with TestClient(create_app(settings), base_url=PUBLIC_URL) as client:
        answer = client.get("/login/oidc", params={"next": "/cases"})
        assert answer.status_code == 503 and "login service is away" in answer.text
        assert_form_leads_in(answer.text, "/cases")
