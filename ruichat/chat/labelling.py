"""Labels that AI-made files carry, for people and for machines."""

from __future__ import annotations

import hashlib
import json

from ruichat import __version__
from ruichat.chat.answer import Answer

PRODUCER = f"RuiChat {__version__}"

VISIBLE_LABEL = "AI生成 AI-generated"
"""On pictures, in both languages, since a picture outlives the language it was asked in."""

ANSWER_KIND = "ruichat.answer"
"""Marks a file as ours, so that it and no other may be replaced."""


def file_metadata(answer: Answer) -> dict[str, str]:
    """Strings that every file made from an answer holds: what made it, and from which slide.

    The "AIGC" entry has the fields of GB 45438-2025 for implicit labels; Label "1" says that
    the content is AI-made.
    """
    implicit = {
        "Label": "1",
        "ContentProducer": PRODUCER,
        "ProduceID": answer.slide.digest[:16],
        "ReservedCode1": "",
        "ContentPropagator": "",
        "PropagateID": "",
        "ReservedCode2": "",
    }
    return {
        "ruichat:kind": ANSWER_KIND,
        "ruichat:slide": answer.slide.digest,
        "ruichat:question": hashlib.sha256(answer.question.encode()).hexdigest()[:16],
        "ruichat:label": VISIBLE_LABEL,
        "ruichat:status": "proposed",
        "ruichat:model": answer.model,
        "ruichat:prompt": answer.prompt_version,
        "Software": PRODUCER,
        "AIGC": json.dumps(implicit, ensure_ascii=True),
    }
