"""What every thought needs: the question with its answer, the slide, and the sentences so far."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import yaml

from ruichat.histology import Language
from ruichat.truth.dialogues.answers import Words, cite
from ruichat.truth.dialogues.asker import WORDS
from ruichat.truth.dialogues.grammar import Wording, parse, pick
from ruichat.truth.dialogues.qa import QA
from ruichat.truth.dialogues.reading import ALLOWED, Reading, Topic

TRACE_SHARE = 0.05
"""Smaller shares round to nothing; they are said to be under a tenth."""


@functools.cache
def load_wordings(language: Language) -> Mapping[str, tuple[Wording, ...]]:
    """Read and parse the sentences of thoughts, once.

    Raises:
        ConfigError: a wording doesn't parse.
    """
    file = importlib.resources.files(__package__ or "") / f"{language}.yaml"
    loaded = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    table = cast(dict[str, dict[str, str]], loaded)
    parts = {name: "|".join(text.splitlines()) for name, text in table["parts"].items()}
    return {
        name: tuple(parse(line, parts) for line in text.splitlines())
        for name, text in table["wordings"].items()
    }


@dataclass
class Thinker:
    """One thought while it is written."""

    qa: QA
    rng: np.random.Generator
    slide: Reading | None
    plain: bool = False
    sentences: list[str] = field(default_factory=list[str])
    words: Words = field(init=False)

    def __post_init__(self) -> None:
        self.words = WORDS[self.qa.language]

    @property
    def reading(self) -> Reading:
        """The slide; only for questions that are asked about one."""
        assert self.slide is not None
        return self.slide

    @property
    def text(self) -> str:
        """The sentences, joined as the language does."""
        return (" " if self.qa.language == "en" else "").join(self.sentences)

    def say(self, name: str, regions: Sequence[int] = (), **slots: str) -> None:
        """Add a sentence in one of the wordings of `name`."""
        wordings = load_wordings(self.qa.language)[name]
        if self.plain:
            text = wordings[0].draw(np.random.default_rng(0))
        else:
            text = pick(self.rng, wordings).draw(self.rng)
        slots |= {"R": cite(regions), "s": "s" if len(regions) == 1 else ""}
        for slot, value in slots.items():
            text = text.replace(f"{{{slot}}}", value)
        self.sentences.append(text[:1].upper() + text[1:])

    def names(self, topics: Sequence[Topic]) -> str:
        """Names in a row."""
        joint = " and " if self.qa.language == "en" else "和"
        return joint.join(self.words.name(topic) for topic in topics)

    def say_share(
        self, name: str, share: float, topic: Topic, regions: Sequence[int] = (), **slots: str
    ) -> None:
        """Say a share to the nearest tenth, in the words of `name`, or that it is less.

        Args:
            name: a wording with "{P}"; what says "under 10%" is called `traces` or `name`_little.
            share: 0 to 1.
            topic: fills "{X}".
            regions: fill "{R}".
        """
        if share < TRACE_SHARE:
            less = "traces" if name == "share" else f"{name}_little"
            self.say(less, regions, X=self.words.name(topic), **slots)
        else:
            percent = max(10, round(share * 10) * 10)
            self.say(name, regions, X=self.words.name(topic), P=str(percent), **slots)

    def say_absent(self, topic: Topic) -> None:
        """Say that a topic isn't seen, and what there is most of."""
        reading = self.reading
        self.say("absent", X=self.words.missing_name(topic))
        regions = reading.evidence(reading.dominant)[:3]
        if regions:
            self.say("instead", regions, N=self.words.name(reading.dominant))

    def say_present(self, topic: Topic, limit: int) -> None:
        """Say which regions count for a topic, and which hold too little of it."""
        evidence = self.reading.evidence(topic)
        little = [r for r in self.reading.allowed(topic) if r not in evidence]
        if evidence:
            self.say("present", evidence[:limit], X=self.words.name(topic))
        if little:
            self.say("little", little[:4], X=self.words.name(topic))

    def say_types(self) -> None:
        """Say which tumours there are, each beside regions that hold it."""
        parts = [
            f"{self.words.name(topic)} {cite(shown)}"
            for topic, regions in self.reading.tumour_regions.items()
            if (shown := [r for r in regions if self.reading.share(topic)[r] >= ALLOWED])
        ]
        if parts:
            self.say("subtype", N=("; " if self.qa.language == "en" else "；").join(parts))
