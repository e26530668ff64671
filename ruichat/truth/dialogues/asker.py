"""What every kind of question needs: slide, wordings, balance and what was said before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ruichat.histology import Language
from ruichat.truth.dialogues.answers import Cited, Words
from ruichat.truth.dialogues.answers_en import English
from ruichat.truth.dialogues.answers_zh import Chinese
from ruichat.truth.dialogues.balance import Balance
from ruichat.truth.dialogues.grammar import pick
from ruichat.truth.dialogues.phrasebook import Phrasebook, load_phrasebook
from ruichat.truth.dialogues.qa import QA, Kind, Split
from ruichat.truth.dialogues.reading import PURE, Reading, Topic
from ruichat.truth.dialogues.surface import vary

MAX_CITED = 8
"""Regions cited for a finding; answers that say where it is cite all."""

MAX_BACKGROUND = 3
"""Regions cited for the tissue that is there instead of what was asked for."""


WORDS: dict[Language, Words] = {"en": English(), "zh": Chinese()}


@dataclass
class Asker:
    """State of one dialogue while it is written."""

    rng: np.random.Generator
    language: Language
    split: Split
    balance: Balance
    slide: Reading | None
    topic: Topic | None = None
    """What the last question was about: what "it" means in the next."""
    kind: Kind | None = None
    """Kind of the last question."""
    book: Phrasebook = field(init=False)
    words: Words = field(init=False)

    def __post_init__(self) -> None:
        self.book = load_phrasebook(self.language)
        self.words = WORDS[self.language]

    @property
    def reading(self) -> Reading:
        """The slide; only for questions that are asked about one."""
        assert self.slide is not None
        return self.slide

    def slot(self, name: str) -> str:
        """Name under which answers are balanced."""
        return f"{self.language}:{name}"

    def pose(self, name: str, topic: Topic | None = None, **slots: str) -> str:
        """A wording of the question `name`, filled and varied as users type."""
        if topic is not None:
            mention = pick(self.rng, self.book.mentions[topic.key])
            slots |= {"aX": mention.subject, "X": mention.text, "is": mention.verb}
        return self.fill(name, slots)

    def fill(self, name: str, slots: Mapping[str, str]) -> str:
        """As `pose`, with every slot given."""
        text = self.book.questions[name].draw(self.rng, self.split)
        for slot, value in slots.items():
            text = text.replace(f"{{{slot}}}", value)
        return vary(text, self.language, self.rng)

    def cited(self, topic: Topic, limit: int = MAX_CITED) -> Cited:
        """A topic with the first regions that support it."""
        return Cited(topic, self.reading.support(topic)[:limit])

    def tumours(self, limit: int = MAX_CITED) -> list[Cited]:
        """Types of tumour with the first of their regions."""
        groups = self.reading.tumour_regions.items()
        return [Cited(topic, regions[:limit]) for topic, regions in groups]

    @property
    def background(self) -> Cited:
        """The dominant tissue, with a few of its regions."""
        return self.cited(self.reading.dominant, MAX_BACKGROUND)

    @property
    def is_pure(self) -> bool:
        """Whether nearly all tissue is of the dominant class."""
        return self.reading.overall(self.reading.dominant) >= PURE

    def missing(self, topic: Topic) -> str:
        """The answer that a topic isn't seen, and what is."""
        return self.words.missing(topic, self.words.tissue(self.background, pure=self.is_pure))

    def answer(
        self,
        kind: Kind,
        question: str,
        answer: str,
        key: str,
        *,
        topic: Topic | None = None,
        evidence: Sequence[int] = (),
        allowed: Sequence[int] = (),
        options: Mapping[str, str] | None = None,
    ) -> QA:
        """Put a question and its answer together, and remember the topic."""
        self.topic, self.kind = topic, kind
        options = options or {}
        return QA(
            question=question,
            answer=answer,
            language=self.language,
            kind=kind,
            key=key,
            evidence=tuple(sorted(evidence)),
            allowed=tuple(sorted({*evidence, *allowed})),
            options=tuple(options),
            markers=tuple(options.values()),
            topic=topic.key if topic else "",
            split=self.split,
        )

    def found_or_not(
        self,
        kind: Kind,
        question: str,
        topic: Topic,
        *,
        found: str,
        marker: str = "",
    ) -> QA:
        """Answer whether (or where) a topic is seen: `found` if it is present."""
        reading = self.reading
        yes, no = self.words.yes
        options = {"yes": marker or yes, "no": no}
        if reading.is_present(topic):
            evidence, allowed = reading.evidence(topic), reading.allowed(topic)
            return self.answer(
                kind, question, found, "yes",
                topic=topic, evidence=evidence, allowed=allowed, options=options,
            )  # fmt: skip
        evidence = reading.support(reading.dominant)
        allowed = reading.allowed(reading.dominant)
        return self.answer(
            kind, question, self.missing(topic), "no",
            topic=topic, evidence=evidence, allowed=allowed, options=options,
        )  # fmt: skip


Question = Callable[[Asker], QA | None]
"""Writes one question about the asker's slide, or None where this slide doesn't allow it."""
