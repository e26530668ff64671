"""Questions that a slide can't answer, and questions that need none."""

from __future__ import annotations

from ruichat.model.vocabulary import NUM_REGION_IDS
from ruichat.truth.dialogues.answers import Reason
from ruichat.truth.dialogues.asker import Asker
from ruichat.truth.dialogues.grammar import pick
from ruichat.truth.dialogues.qa import QA
from ruichat.truth.dialogues.reading import TOPICS

_SLIDE_REASONS: tuple[Reason, ...] = (
    "ihc",
    "molecular",
    "outcome",
    "clinical",
    "identity",
    "modality",
    "beyond",
    "beyond",
    "offtopic",
    "attack",
    "region",
)
_BORROWED: tuple[str, ...] = ("presence", "where", "presence_where")
"""Questions about tissue that are also asked about what no H&E slide shows, so that what is asked
about decides, not how."""

_ABOUT_SLIDE: tuple[str, ...] = (
    "presence",
    "presence.tumour",
    "where.tumour",
    "type",
    "dominant",
    "describe",
    "quality",
)


def _refuse(asker: Asker, question: str, reason: Reason) -> QA:
    return asker.answer("cannot", question, asker.words.cannot(reason), reason)


def ask_cannot(asker: Asker) -> QA | None:
    """Something that can't be told from this slide."""
    if asker.slide is None:
        return _ask_without_slide(asker)
    reason = pick(asker.rng, _SLIDE_REASONS)
    if reason == "region":
        return _ask_region(asker)
    things = asker.book.things.get(reason, ())
    name = f"cannot.{reason}"
    if things and asker.rng.random() < 0.3:
        name = pick(asker.rng, _BORROWED)
    if not things:
        return _refuse(asker, asker.pose(name), reason)
    slots = dict.fromkeys(("M", "X", "aX"), pick(asker.rng, things))
    return _refuse(asker, asker.fill(name, {**slots, "is": "is"}), reason)


def _ask_region(asker: Asker) -> QA | None:
    """Ask about a region that the slide hasn't."""
    k = asker.reading.k
    if k >= NUM_REGION_IDS:
        return None
    region = int(asker.rng.integers(k + 1, NUM_REGION_IDS + 1))
    other = int(asker.rng.integers(1, k + 1))
    names = [f"[R{region}]", f"[R{other}]"]
    if asker.rng.random() < 0.5:
        names.reverse()
    topic = pick(asker.rng, tuple(TOPICS.values()))
    name = pick(asker.rng, ("content", "region_presence", "compare.kind", "compare.amount"))
    if name.startswith("compare"):
        return _refuse(asker, asker.pose(name, topic, R=names[0], Q=names[1]), "region")
    return _refuse(asker, asker.pose(name, topic, R=f"[R{region}]"), "region")


def _ask_without_slide(asker: Asker) -> QA:
    """A question about a slide where none is open, or one that none would answer."""
    if asker.rng.random() < 0.6:
        topic = pick(asker.rng, tuple(TOPICS.values()))
        return _refuse(asker, asker.pose(pick(asker.rng, _ABOUT_SLIDE), topic), "noslide")
    reason: Reason = pick(asker.rng, ("offtopic", "attack"))
    return _refuse(asker, asker.pose(f"cannot.{reason}"), reason)


def ask_help(asker: Asker) -> QA | None:
    """About RuiChat, its citations, or the meaning of a word."""
    name = pick(asker.rng, tuple(asker.book.replies))
    return asker.answer("help", asker.pose(f"help.{name}"), asker.book.replies[name], name)
