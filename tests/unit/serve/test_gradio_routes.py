from __future__ import annotations

import json
import re

import pytest
from fastapi.testclient import TestClient
from served import ADDRESS
from starlette.routing import Mount

from ruichat.serve.access.gradio_routes import OPEN, close_gradio, page_policy
from ruichat.serve.app import create_app
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import users

SMALL = "/small"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A server with a small page of Gradio's beside the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        import gradio as gr

        app = create_app(ServeSettings(data_dir=tmp_path_factory.mktemp("d"), single_user=False))
        with gr.Blocks() as demo:
            box = gr.Textbox()
            box.submit(lambda text: text, box, box)
        gr.mount_gradio_app(app, demo, SMALL, ssr_mode=False, run_history=False)
        close_gradio(app, SMALL)
        with TestClient(app, base_url=ADDRESS + SMALL, follow_redirects=False) as client:
            yield client


@pytest.fixture(scope="module")
def readers(page):
    """What two people's programs send."""
    found = []
    with page.app.state.services.database.session() as session:
        for name in ("one", "other"):
            user = users.create_user(session, name=name, role="reader")
            token = users.create_token(session, user.id, name="t").token
            found.append({"Authorization": f"Bearer {token}"})
    return found


def gradio_routes(app):
    """Method and path of every route of Gradio's, with something for each parameter."""
    mounts = (route for route in app.routes if isinstance(route, Mount))
    gradio = next(route for route in mounts if route.path == SMALL).app._app
    for route in gradio.routes:
        for inner in getattr(route, "effective_route_contexts", lambda route=route: [route])():
            path = re.sub(r"{[^}]*}", "x", inner.path)
            for method in inner.methods or ():
                yield method, path


def test_nothing_of_the_page_is_there_without_a_login(page):
    routes = [*gradio_routes(page.app), ("GET", "/"), ("GET", "/gradio_api/file=/etc/passwd")]
    assert len(routes) > 60
    for method, path in routes:
        assert page.request(method, path).status_code == 401, (method, path)


def test_of_the_routes_of_gradio_only_the_named_ones_are_open(page, readers):
    routes = set(gradio_routes(page.app))
    closed = {route for route in routes if not OPEN.fullmatch(" ".join(route))}
    for method, path in closed:
        assert page.request(method, path, headers=readers[0]).status_code in (404, 405), (
            method,
            path,
        )
    # Whoever updates Gradio looks at this list again.
    assert {path for _, path in routes - closed} == {
        "/",
        "/assets/x",
        "/config",
        "/config/",
        "/favicon.ico",
        "/gradio_api/app_id",
        "/gradio_api/app_id/",
        "/gradio_api/cancel",
        "/gradio_api/heartbeat/x",
        "/gradio_api/info",
        "/gradio_api/info/",
        "/gradio_api/queue/data",
        "/gradio_api/queue/join",
        "/gradio_api/reset",
        "/gradio_api/reset/",
        "/gradio_api/startup-events",
        "/gradio_api/theme.css",
        "/manifest.json",
        "/static/x",
        "/theme.css",
    }


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://169.254.169.254/",
        "/gradio_api/upload",
        "/gradio_api/stream/a/b/c/playlist.m3u8",
        "/file=/etc/passwd",
        "/assets/../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/static//etc/passwd",
        "/GRADIO_API/file=/etc/passwd",
        "/./gradio_api/file=/etc/passwd",
        "//gradio_api/file=/etc/passwd",
    ],
)
def test_no_file_leaves_through_gradio(page, readers, path):
    for method in ("GET", "HEAD", "POST"):
        answer = page.request(method, path, headers=readers[0])
        assert answer.status_code in (404, 405), (method, answer.status_code)
        assert "root:" not in answer.text


def test_a_tab_belongs_to_whoever_opened_it(page, readers):
    one, other = readers
    stream = "/gradio_api/queue/data?session_hash=tab1"
    join = {"fn_index": 0, "session_hash": "tab1", "data": ["x"]}
    assert page.post("/gradio_api/queue/join", json=join, headers=one).status_code == 200
    assert "process_completed" in page.get(stream, headers=one).text
    assert page.get(stream, headers=other).status_code == 404
    assert page.get("/gradio_api/heartbeat/tab1", headers=other).status_code == 404


def test_nobody_writes_into_anothers_tab(page, readers):
    one, other = readers
    join = {"fn_index": 0, "session_hash": "tab3", "data": ["x"]}
    assert page.post("/gradio_api/queue/join", json=join, headers=one).status_code == 200
    for path, body in (
        ("queue/join", join),
        ("cancel", {"session_hash": "tab3", "fn_index": 0, "event_id": "e"}),
        ("reset", {"session_hash": "tab3", "event_id": "e"}),
    ):
        answer = page.post(f"/gradio_api/{path}", json=body, headers=other)
        assert answer.status_code == 404, path
    assert (
        "process_completed"
        in page.get("/gradio_api/queue/data?session_hash=tab3", headers=one).text
    )
    for body in (b"", b"[", b"[1]", b'{"session_hash": 5}', b"[" * 100_000):
        answer = page.post("/gradio_api/queue/join", content=body, headers=other)
        assert answer.status_code in (404, 422), body[:20]


JOIN = {"fn_index": 0, "session_hash": "tab4", "data": ["x"]}
STOP = {"fn_index": 0, "session_hash": "tab4", "event_id": "e"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *(("queue/join", JOIN | {"fn_index": index}) for index in (9, -1, "0", None, True, 0.5)),
        *(("queue/join", JOIN | {"fn_index": index}) for index in (float("inf"), 10**30)),
        *(("queue/join", JOIN | {"session_hash": tab}) for tab in ("", None, 5, "a b", "a" * 65)),
        *(("queue/join", JOIN | {"data": data}) for data in ("x", None, {}, float("nan"))),
        *(("queue/join", JOIN | {key: float("inf")}) for key in ("event_id", "trigger_id")),
        *(("queue/join", JOIN | {key: 1}) for key in ("batched", "request", "oauth_token")),
        *(("queue/join", {key: JOIN[key]}) for key in JOIN),
        *(("queue/join", body) for body in ([], [JOIN], "x", 5, None)),
        *(("cancel", STOP | {key: float("inf")}) for key in STOP),
        ("cancel", STOP | {"fn_index": 9}),
        ("reset", {"event_id": float("inf")}),
        ("reset/", {"event_id": "e" * 65}),
    ],
)
def test_what_the_page_does_not_send_is_refused_plainly(page, readers, path, body):
    answer = page.post(f"/gradio_api/{path}", content=json.dumps(body), headers=readers[0])
    assert answer.status_code in (404, 422), answer.text
    assert set(answer.json()["error"]) == {"type", "message", "hint"}


def test_who_has_read_nothing_yet_may_begin_an_event_anew(page, readers):
    for reader in readers:
        answer = page.post("/gradio_api/reset", json={"event_id": "e"}, headers=reader)
        assert answer.status_code == 200


@pytest.mark.parametrize("tab", ["", "a" * 65, "%00", "a/b"])
def test_a_tab_has_a_short_plain_name(page, readers, tab):
    stream = f"/gradio_api/queue/data?session_hash={tab}"
    assert page.get(stream, headers=readers[0]).status_code == 404


def test_a_page_of_another_site_can_not_use_the_queue(page, readers):
    join = {"fn_index": 0, "session_hash": "tab2", "data": ["x"]}
    evil = readers[0] | {"Origin": "https://evil.example"}
    assert page.post("/gradio_api/queue/join", json=join, headers=evil).status_code == 403


def test_the_pages_own_scripts_run_and_no_others(page, readers):
    answer = page.get("/", headers=readers[0] | {"Accept-Encoding": "gzip"})
    policy = answer.headers["content-security-policy"]
    inline = re.findall(r"<script(?![^>]*\bsrc=)", answer.text)
    assert policy.count("sha256-") == len(inline) > 0
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    asset = re.search(r'src="\./(assets/[^"]+)"', answer.text).group(1)
    assert "immutable" in page.get(f"/{asset}", headers=readers[0]).headers["cache-control"]


def test_a_policy_names_each_inline_script_by_its_digest():
    policy = page_policy(b'<script src="/a.js"></script><script>alert(1)</script>')
    assert policy.count("sha256-") == 1
    # printf 'alert(1)' | openssl dgst -sha256 -binary | base64
    assert "'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='" in policy
