"""What programs ask for, on either database."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from served import ADDRESS, SQUARE, draw_world

from ruichat.serve.app import create_app
from ruichat.serve.services import services_of_app
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import users

API = "/api/v1"


@pytest.fixture
def settings(tmp_path, database_url):
    return ServeSettings(data_dir=tmp_path, database_url=database_url, single_user=False)


@pytest.fixture
def li(join):
    return join("pathologist", "li")


@pytest.fixture
def world(services, li):
    with services.database.session() as session:
        user = users.find_user(session, name="li")
    return draw_world(services.database, owner_id=user.id)


def test_a_case_is_made_found_changed_shared_and_removed(li, join):
    made = li.post(f"{API}/cases", json={"title": "S-1", "organ": "colon"})
    assert made.status_code == 201
    case = made.json()
    assert li.get(f"{API}/cases").json()["items"] == [case]
    changed = li.patch(f"{API}/cases/{case['id']}", json={"context": "男，62 岁", "organ": ""})
    assert (changed.json()["context"], changed.json()["organ"]) == ("男，62 岁", None)
    guest = join("reader", "guest")
    assert guest.get(f"{API}/cases").json()["total"] == 0
    member = li.post(f"{API}/cases/{case['id']}/members", json={"name": "Guest"})
    assert member.status_code == 201 and member.json()["name"] == "guest"
    assert guest.get(f"{API}/cases").json()["total"] == 1
    assert guest.get(f"{API}/cases/{case['id']}/members").json()["items"] == [member.json()]
    left = guest.delete(f"{API}/cases/{case['id']}/members/{member.json()['id']}")
    assert left.status_code == 204
    assert guest.get(f"{API}/cases/{case['id']}").status_code == 404
    assert li.delete(f"{API}/cases/{case['id']}").status_code == 204
    assert li.get(f"{API}/cases/{case['id']}").status_code == 404


def test_lists_come_in_parts(li):
    for number in range(5):
        li.post(f"{API}/cases", json={"title": f"S-{number}"})
    part = li.get(f"{API}/cases", params={"offset": 1, "limit": 2}).json()
    assert [case["title"] for case in part["items"]] == ["S-3", "S-2"]
    assert (part["total"], part["offset"]) == (5, 1)
    assert li.get(f"{API}/cases", params={"limit": 0}).status_code == 422
    assert li.get(f"{API}/cases", params={"offset": 100}).json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": ""},
        {"title": " \t "},
        {"title": "a\x00b"},
        {"title": "x" * 201},
        {"title": "x", "owner_id": "0" * 32},
        {"title": 7},
        {"title": "x", "context": "x" * 100_001},
    ],
)
def test_what_does_not_fit_is_told_without_repeating_it(li, body):
    answer = li.post(f"{API}/cases", json=body)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert set(error) == {"type", "message", "hint"} and error["message"]
    assert "xxx" not in answer.text


def test_slides_are_described_and_their_order_changed(li, world):
    slide = li.get(world.fill(f"{API}/slides/{{slide_id}}")).json()
    assert (slide["width0"], slide["mpp"], slide["stain"]) == (5000, 0.5, "HE")
    assert "path" not in slide and "root" not in slide
    path = world.fill(f"{API}/slides/{{slide_id}}")
    assert li.patch(path, json={"block": "A"}).json()["block"] == "A"
    assert li.patch(path, json={"given_mpp": 0.25}).status_code == 409
    assert li.patch(path, json={"given_mpp": 0}).status_code == 422
    assert li.patch(path, json={"position": 3}).status_code == 422
    jobs = li.get(f"{path}/jobs").json()["items"]
    assert [job["id"] for job in jobs] == [world.ids["job_id"]]
    of_case = world.fill(f"{API}/cases/{{case_id}}/jobs")
    assert li.get(of_case).json()["items"] == li.get(f"{path}/jobs").json()["items"]
    cancelled = li.post(world.fill(f"{API}/jobs/{{job_id}}/cancel"))
    assert cancelled.json()["state"] == "cancelled"
    assert li.get(of_case).json()["total"] == 0
    assert li.delete(path).status_code == 204
    assert li.get(path).status_code == 404


def test_a_change_of_what_was_seen_otherwise_is_refused(li, world):
    case, slide = (world.fill(f"{API}/{kind}") for kind in ("cases/{case_id}", "slides/{slide_id}"))
    shown = li.get(case).json()
    seen = {name: shown[name] for name in ("title", "organ", "context")}
    assert li.patch(case, json={"context": "Male, 62", "seen": seen}).status_code == 200
    late = li.patch(case, json={"context": "Male, 26", "seen": seen})
    assert (late.status_code, late.json()["error"]["type"]) == (409, "ConflictError")
    assert li.patch(case, json={"title": "S-2", "seen": {"title": "S-4711"}}).status_code == 200
    assert li.get(case).json()["context"] == "Male, 62"
    assert li.patch(slide, json={"stain": "IHC", "seen": {"stain": "HE"}}).status_code == 200
    assert li.patch(slide, json={"stain": "PAS", "seen": {"stain": "HE"}}).status_code == 409
    assert li.patch(slide, json={"stain": "PAS", "seen": {"stian": "IHC"}}).status_code == 422


def test_regions_are_drawn_renamed_and_removed(li, world):
    path = world.fill(f"{API}/slides/{{slide_id}}/regions")
    drawn = li.post(path, json={"shape": "rectangle", "points": [[10, 10], [20, 30]], "name": "a"})
    assert drawn.status_code == 201
    assert drawn.json()["points"] == [[10, 10], [20, 10], [20, 30], [10, 30]]
    assert li.get(path).json()["total"] == 2
    region = f"{API}/regions/{drawn.json()['id']}"
    assert li.patch(region, json={"name": "b"}).json()["name"] == "b"
    assert li.delete(region).status_code == 204
    for points in ([[0, 0], [0, 9]], [[9000, 0], [9900, 90]], [[0, 0]], [[0, 1e300], [1, 1]]):
        body = {"shape": "rectangle", "points": points}
        assert li.post(path, json=body).status_code == 422, points


def test_a_chat_is_begun_and_an_answer_rated(li, world):
    begun = li.post(world.fill(f"{API}/cases/{{case_id}}/chats"), json={"language": "zh"})
    assert (begun.status_code, begun.json()["language"]) == (201, "zh")
    chat = f"{API}/chats/{begun.json()['id']}"
    assert li.patch(chat, json={"title": "边缘"}).json()["title"] == "边缘"
    assert li.delete(chat).status_code == 204
    messages = li.get(world.fill(f"{API}/chats/{{chat_id}}/messages")).json()["items"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    path = world.fill(f"{API}/chats/{{chat_id}}/messages/{{message_id}}/feedback")
    rated = li.put(path, json={"feedback": -1, "reason": "wrong region"})
    assert (rated.json()["feedback"], rated.json()["feedback_reason"]) == (-1, "wrong region")
    assert li.put(path, json={"feedback": 2}).status_code == 422


def test_a_finding_is_decided_on_by_whoever_saw_it(li, world):
    path = world.fill(f"{API}/findings/{{finding_id}}")
    accepted = li.post(f"{path}/accept", json={"revision": 1, "note": "clear"}).json()
    assert (accepted["status"], accepted["note"]) == ("accepted", "clear")
    assert accepted["decided_by"] == world.ids["user_id"] and accepted["decided_at"]
    stale = li.post(f"{path}/reject", json={"revision": 1})
    assert stale.status_code == 409 and "revision 2" in stale.json()["error"]["message"]
    undone = li.post(f"{path}/undo", json={"revision": 2}).json()
    assert (undone["status"], undone["decided_by"]) == ("proposed", None)
    assert li.post(f"{path}/undo", json={"revision": 3}).status_code == 409
    li.post(f"{path}/reject", json={"revision": 3})
    renamed = li.patch(path, json={"revision": 4, "classification": "Stroma"}).json()
    assert (renamed["status"], renamed["revision"]) == ("proposed", 5)
    listed = li.get(world.fill(f"{API}/cases/{{case_id}}/findings"), params={"status": "proposed"})
    assert [finding["id"] for finding in listed.json()["items"]] == [world.ids["finding_id"]]
    assert li.delete(path, params={"revision": 4}).status_code == 409
    assert li.delete(path, params={"revision": 5}).status_code == 204


def test_a_person_points_something_out(li, world):
    path = world.fill(f"{API}/slides/{{slide_id}}/findings")
    made = li.post(path, json={"geometry": SQUARE, "name": "mitosis"})
    assert made.status_code == 201
    assert (made.json()["origin"], made.json()["status"]) == ("person", "proposed")
    assert made.json()["made_by"] == world.ids["user_id"]
    bad = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2]]]}
    assert li.post(path, json={"geometry": bad}).status_code == 422


def test_you_choose_your_language_and_make_tokens(li, browser):
    me = li.get(f"{API}/me").json()
    assert (me["name"], me["means"], me["csrf_token"]) == ("li", "token", "")
    assert li.patch(f"{API}/me", json={"language": "zh"}).json()["language"] == "zh"
    assert li.get(f"{API}/me").json()["language"] == "zh"
    made = li.post(f"{API}/me/tokens", json={"name": "script", "days": 1}).json()
    program = {"Authorization": f"Bearer {made['token']}"}
    assert li.get(f"{API}/me", headers=program).status_code == 200
    listed = li.get(f"{API}/me/tokens").json()
    assert listed["total"] == 2 and made["token"] not in str(listed)
    assert li.delete(f"{API}/me/tokens/{made['id']}").status_code == 204
    assert li.get(f"{API}/me", headers=program).status_code == 401
    tab = browser("reader")
    assert tab.get(f"{API}/me").json()["csrf_token"] == tab.headers["X-CSRF-Token"]


def test_an_admin_manages_users(client, join):
    chief = join("admin", "chief")
    new = {"name": "Wang", "role": "reader", "password": "a long password"}
    # The first client runs the server's event loop, on which passwords wait for each other.
    client.headers = chief.headers
    made = client.post(f"{API}/users", json=new)
    assert made.status_code == 201 and "password" not in made.text
    assert client.post(f"{API}/users", json=new).status_code == 409
    assert made.json()["language"] == "en"
    path = f"{API}/users/{made.json()['id']}"
    assert client.patch(path, json={"role": "pathologist"}).json()["role"] == "pathologist"
    assert client.patch(path, json={"password": "short"}).status_code == 422
    assert client.patch(path, json={"password": "another long one"}).status_code == 200
    assert client.patch(path, json={"is_active": False}).json()["is_active"] is False
    assert [user["name"] for user in client.get(f"{API}/users").json()["items"]] == [
        "chief",
        "wang",
    ]
    me = client.get(f"{API}/me").json()["id"]
    assert client.patch(f"{API}/users/{me}", json={"role": "reader"}).status_code == 409


def test_a_new_user_has_the_servers_language_unless_another_is_given(tmp_path):
    app = create_app(ServeSettings(data_dir=tmp_path, single_user=False, language="zh"))
    new = {"role": "reader", "password": "a long password"}
    with TestClient(app, base_url=ADDRESS) as client:
        with services_of_app(app).database.session() as session:
            chief = users.create_user(session, name="chief", role="admin")
            token = users.create_token(session, chief.id, name="test").token
        client.headers["Authorization"] = f"Bearer {token}"
        for name, given, kept in (("a", {}, "zh"), ("b", {"language": "en"}, "en")):
            made = client.post(f"{API}/users", json=new | {"name": name} | given)
            assert made.json()["language"] == kept


def test_the_description_is_complete(li):
    described = li.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    operations = [
        (path, method, operation)
        for path, item in described["paths"].items()
        for method, operation in item.items()
        if path.startswith("/api/v1")
    ]
    assert len(operations) > 35
    for path, method, operation in operations:
        answers = set(operation["responses"])
        assert {"401", "403", "422", "429", "503"} <= answers, (path, method)
        assert ("404" in answers) == ("{" in path), (path, method)
        if method != "get":
            assert "507" in answers, (path, method)
        assert operation["summary"] and operation["description"]
        error = operation["responses"]["422"]["content"]["application/json"]["schema"]
        assert error["$ref"].endswith("/ErrorBody")
