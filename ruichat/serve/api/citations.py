"""Regions that a kept answer cites, as the GeoJSON that QuPath opens."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response
from starlette.requests import Request

from ruichat.chat.geojson import UNCLASSIFIED_COLOR
from ruichat.chat.labelling import PRODUCER, VISIBLE_LABEL
from ruichat.errors import InputError, NotFoundError
from ruichat.histology import BY_KEY
from ruichat.serve.access.routes import Reader
from ruichat.serve.api.geojson import MEDIA_TYPE
from ruichat.serve.api.shapes import NOT_FOUND, IdPath, problems
from ruichat.serve.services import services_of
from ruichat.storage.database import chats

router = APIRouter(tags=["chats"])

_NAMESPACE = uuid.UUID("0d2f6a55-64a2-5c44-8a9f-1f6b7d0c3e90")
"""Ours, at random; the same citation of the same message always gets the same id."""


@router.get(
    "/chats/{chat_id}/messages/{message_id}/citations.geojson",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}}, **problems(NOT_FOUND)},
)
def citations(
    request: Request,
    user: Reader,
    chat_id: IdPath,
    message_id: IdPath,
    slide_id: str | None = None,
) -> Response:
    """What an answer cites, level-0 pixels; of one slide where it is about several."""
    with services_of(request).database.session() as session:
        message = chats.get_message(session, chat_id, message_id, user_id=user.id)
        answer, slide_ids = message.answer, message.slide_ids
    if answer is None:
        raise InputError("this message is no whole answer", hint="Choose one that was finished")
    parts = _by_slide(answer, slide_ids)
    if slide_id is None and len(parts) == 1:
        slide_id = next(iter(parts))
    if slide_id is None or slide_id not in parts:
        raise NotFoundError(
            f"the answer is about {len(parts)} slides, and this is none of them",
            hint="Say which: slide_id",
        )
    data = write_citations(parts[slide_id], message_id)
    saved_as = f'attachment; filename="{message_id}.geojson"'
    return Response(data, media_type=MEDIA_TYPE, headers={"Content-Disposition": saved_as})


def _by_slide(answer: Mapping[str, Any], slide_ids: list[str]) -> dict[str, Mapping[str, Any]]:
    """The answer about each slide; see `Answer.to_json` and `CaseAnswer.to_json`."""
    if "slides" in answer:
        return {part["slide"]: part["answer"] for part in answer["slides"]}
    return {slide_ids[0] if slide_ids else "": answer}


def write_citations(answer: Mapping[str, Any], message_id: str) -> bytes:
    """A FeatureCollection with one unlocked annotation per cited region, UTF-8.

    Args:
        answer: about one slide, as `Answer.to_json` gives it.
        message_id: that it belongs to.
    """
    features = [_feature(answer, citation, message_id) for citation in answer["citations"]]
    collection = {"type": "FeatureCollection", "features": features}
    return (json.dumps(collection, ensure_ascii=False) + "\n").encode()


def _feature(
    answer: Mapping[str, Any], citation: Mapping[str, Any], message_id: str
) -> dict[str, Any]:
    box, shows, name = citation["box0"], citation["shows"], citation["name"]
    left, top = box["x"], box["y"]
    right, bottom = left + box["width"], top + box["height"]
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    color = list(UNCLASSIFIED_COLOR if shows is None else BY_KEY[shows].color)
    claims = [claim["text"] for claim in answer["claims"] if name in claim["citations"]]
    measurements = {share["en"]: share["fraction"] for share in citation["classes"]}
    if answer["confidence"] is not None:
        measurements["AI confidence"] = answer["confidence"]
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{message_id}/{answer['slide']['digest']}/{name}")),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "objectType": "annotation",
            "name": name,
            "color": color,
            "classification": {
                "name": "unclassified" if shows is None else BY_KEY[shows].en,
                "color": color,
            },
            "isLocked": False,
            "measurements": measurements,
            "metadata": {
                "ruichat:status": "proposed",
                "ruichat:label": VISIBLE_LABEL,
                "ruichat:model": answer["model"],
                "ruichat:claim": " ".join(claims),
                "Software": PRODUCER,
            },
        },
    }
