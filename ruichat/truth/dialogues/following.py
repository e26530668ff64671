"""Questions that need the one before: "and where is it?", "what about fat?"."""

from __future__ import annotations

from ruichat.truth.dialogues.asker import Asker
from ruichat.truth.dialogues.inspecting import ask_content, ask_region_again
from ruichat.truth.dialogues.qa import QA
from ruichat.truth.dialogues.seeing import ask_in_words, choose_topic, note


def ask_follow_up(asker: Asker) -> QA | None:
    """A short question after one about presence, place or a region; None after others."""
    if asker.topic is not None and asker.kind == "presence" and asker.rng.random() < 0.6:
        return ask_in_words(asker, "where", "where.follow", asker.topic)
    if asker.kind in ("presence", "where", "presence_where"):
        kind = asker.kind
        topic = choose_topic(asker, f"{kind}.follow")
        if topic is None or topic is asker.topic:
            return None
        return note(asker, f"{kind}.follow", topic, ask_in_words(asker, kind, "follow", topic))
    if asker.kind == "region_presence":
        return ask_region_again(asker)
    if asker.kind == "content":
        return ask_content(asker, name="content.follow")
    return None
