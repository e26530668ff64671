"""Reads the wordings of a language from its YAML file beside this module."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import yaml

from ruichat.histology import Language
from ruichat.truth.dialogues.grammar import Wordings


@dataclass(frozen=True, slots=True)
class Mention:
    """A way to name a topic in a question.

    Attributes:
        text: noun without article.
        subject: noun with the article it needs.
        verb: "is" or "are"; of no use in Chinese.
    """

    text: str
    subject: str
    verb: str

    @classmethod
    def parse(cls, spec: str) -> Mention:
        """Read "a|colorectal polyp", "+|carcinoma nests" (plural) or "fat"."""
        mark, bar, text = spec.rpartition("|")
        if not bar:
            return cls(text, text, "is")
        if mark == "+":
            return cls(text, text, "are")
        return cls(text, f"{mark} {text}", "is")


@dataclass(frozen=True)
class Phrasebook:
    """All wordings of one language.

    Attributes:
        questions: by name of the question, such as "where" or "cannot.ihc".
        mentions: ways to name each topic.
        things: names that fill "{M}" in questions that have no answer, by reason.
        replies: answers to questions about RuiChat and about words, by name.
    """

    questions: Mapping[str, Wordings]
    mentions: Mapping[str, tuple[Mention, ...]]
    things: Mapping[str, tuple[str, ...]]
    replies: Mapping[str, str]


@functools.cache
def load_phrasebook(language: Language) -> Phrasebook:
    """Read and parse the wordings of a language, once.

    Raises:
        ConfigError: a wording doesn't parse.
    """
    file = importlib.resources.files(__package__ or "") / f"{language}.yaml"
    loaded = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    table = cast(dict[str, dict[str, str]], loaded)
    parts = {name: "|".join(text.splitlines()) for name, text in table["parts"].items()}
    return Phrasebook(
        questions={
            name: Wordings(text.splitlines(), parts) for name, text in table["questions"].items()
        },
        mentions={
            key: tuple(Mention.parse(spec) for spec in text.splitlines())
            for key, text in table["mentions"].items()
        },
        things={reason: tuple(text.splitlines()) for reason, text in table["things"].items()},
        replies={name: text.strip() for name, text in table["replies"].items()},
    )
