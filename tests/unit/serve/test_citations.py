"""Citations of kept answers as GeoJSON: the same boxes and claims, and whose they are."""

from __future__ import annotations

import pytest
from fakes_chat import make_view, scripted
from served import draw_world

from ruichat.chat.answer import Answer
from ruichat.chat.ask import AskConfig
from ruichat.chat.labelling import VISIBLE_LABEL
from ruichat.chat.reply import answer_question
from ruichat.storage.database import chats, users


@pytest.fixture
def answer() -> Answer:
    session = scripted("It shows lung adenocarcinoma [R1][R2].")
    *_, last = answer_question(
        "What does it show?", make_view(), session, config=AskConfig(), opening_s={}
    )
    assert isinstance(last, Answer) and last.citations
    return last


@pytest.fixture
def kept(services, join, answer):
    """A program of the owner, and addresses of an answer about one slide and of one about two."""
    client = join(name="ada")
    with services.database.session() as session:
        owner = users.find_user(session, name="ada")
    world = draw_world(services.database, owner_id=owner.id)
    slide_id = world.ids["slide_id"]
    both = {
        "slides": [
            {"letter": letter, "slide": each, "answer": answer.to_json()}
            for letter, each in (("A", slide_id), ("B", "b"))
        ]
    }
    addresses = []
    for stored in (answer.to_json(), both):
        with services.database.session() as session:
            chat = chats.create_chat(
                session, user_id=owner.id, case_id=world.ids["case_id"], language="en"
            )
            chats.add_question(
                session, chat.id, user_id=owner.id, text="What?", slide_ids=[slide_id]
            )
            message = chats.add_answer(
                session,
                chat.id,
                user_id=owner.id,
                text=answer.text,
                answer=stored,
                slide_ids=[slide_id],
            )
            addresses.append(f"/api/v1/chats/{chat.id}/messages/{message.id}/citations.geojson")
    return client, slide_id, addresses


def test_each_citation_is_an_annotation_that_qupath_reads(kept, answer):
    client, _, (address, _) = kept
    found = client.get(address)
    assert found.headers["content-type"].startswith("application/geo+json")
    features = found.json()["features"]
    assert [each["properties"]["name"] for each in features] == [c.name for c in answer.citations]
    for feature, citation in zip(features, answer.citations, strict=True):
        box = citation.box0
        ring = feature["geometry"]["coordinates"][0]
        assert ring[0] == ring[-1] == [box.x, box.y]
        assert ring[2] == [box.x + box.width, box.y + box.height]
        properties = feature["properties"]
        assert properties["metadata"]["ruichat:label"] == VISIBLE_LABEL
        assert properties["metadata"]["ruichat:status"] == "proposed"
        assert citation.name in properties["metadata"]["ruichat:claim"]
        assert properties["classification"]["color"] == properties["color"]
        assert all(isinstance(value, float) for value in properties["measurements"].values())
    assert client.get(address).json() == found.json()


def test_of_an_answer_about_several_slides_one_is_chosen(kept, answer):
    client, slide_id, (_, address) = kept
    assert client.get(address).status_code == 404
    assert client.get(address, params={"slide_id": "c"}).status_code == 404
    found = client.get(address, params={"slide_id": slide_id}).json()
    assert len(found["features"]) == len(answer.citations)


def test_an_answer_that_was_stopped_has_none_and_others_see_nothing(services, join, kept):
    client, _, (address, _) = kept
    assert join(name="eve").get(address).status_code == 404
    with services.database.session() as session:
        owner = users.find_user(session, name="ada")
    world = draw_world(services.database, owner_id=owner.id)
    stopped = world.fill("/api/v1/chats/{chat_id}/messages/{message_id}/citations.geojson")
    assert client.get(stopped).status_code == 422


def test_regions_kept_as_findings_twice_are_there_once(kept, answer):
    client, slide_id, (address, _) = kept
    keep, listed = address.replace("citations.geojson", "findings"), f"/api/v1/slides/{slide_id}"
    before = client.get(f"{listed}/findings").json()["total"]
    count = len(answer.citations)
    assert client.post(keep).json() == {"added": count, "gone": 0}
    assert client.post(keep).json() == {"added": 0, "gone": 0}
    assert client.get(f"{listed}/findings").json()["total"] == before + count


def test_regions_are_kept_of_those_slides_that_are_still_there(kept, answer):
    client, slide_id, (_, address) = kept
    keep, count = address.replace("citations.geojson", "findings"), len(answer.citations)
    assert client.post(keep).json() == {"added": count, "gone": count}
    assert client.delete(f"/api/v1/slides/{slide_id}").status_code == 204
    assert client.post(keep).json() == {"added": 0, "gone": 2 * count}
