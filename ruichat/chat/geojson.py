"""Cited regions as a QuPath GeoJSON: level-0 pixels, origin top left."""

from __future__ import annotations

import json
import uuid

from ruichat.chat.answer import Answer, Citation
from ruichat.chat.labelling import file_metadata
from ruichat.histology import BY_KEY, Language

_NAMESPACE = uuid.UUID("6f1c9f0e-7b0c-5a8e-9a52-6d3f3a1d2c11")
"""Ours, at random; the same region of the same slide always gets the same id."""

UNCLASSIFIED_COLOR = (128, 128, 128)


def answer_geojson(answer: Answer) -> bytes:
    """A FeatureCollection with one unlocked annotation per cited region, UTF-8.

    QuPath reads `classification` only with a colour, measurements only as numbers and metadata
    only as strings. The AI state is "proposed": a person accepts or rejects it.
    """
    collection = {
        "type": "FeatureCollection",
        "metadata": file_metadata(answer) | {"question": answer.question, "answer": answer.text},
        "features": [_feature(answer, citation) for citation in answer.citations],
    }
    return (json.dumps(collection, ensure_ascii=False, indent=1) + "\n").encode()


def citation_color(citation: Citation) -> tuple[int, int, int]:
    """Colour of the tissue that a region is cited for."""
    return UNCLASSIFIED_COLOR if citation.shows is None else BY_KEY[citation.shows].color


def citation_class(citation: Citation, language: Language) -> str:
    """Name of the tissue that a region is cited for."""
    if citation.shows is None:
        return "未分类" if language == "zh" else "unclassified"
    return BY_KEY[citation.shows].name(language)


def _feature(answer: Answer, citation: Citation) -> dict[str, object]:
    box = citation.box0
    left, top, right, bottom = box.x, box.y, box.x + box.width, box.y + box.height
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    color = list(citation_color(citation))
    key = f"{answer.slide.digest}/{citation.name}/{left},{top},{right},{bottom}"
    claims = [claim.text for claim in answer.claims if citation.name in claim.citations]
    measurements = {BY_KEY[s.key].en: round(s.fraction, 4) for s in citation.classes}
    if answer.confidence is not None:
        measurements["AI confidence"] = round(answer.confidence, 4)
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, key)),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "objectType": "annotation",
            "name": citation.name,
            "color": color,
            "classification": {"name": citation_class(citation, "en"), "color": color},
            "isLocked": False,
            "measurements": measurements,
            "metadata": file_metadata(answer) | {"ruichat:claim": " ".join(claims)},
        },
    }
