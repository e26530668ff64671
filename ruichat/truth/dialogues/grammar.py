"""A small grammar for wordings: "(is|are) there <any> {X}" stands for all its expansions.

Parentheses hold alternatives, which may be empty and may nest; `<name>` inserts a shared part;
`{slot}` stays for the caller to fill.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ruichat.errors import ConfigError
from ruichat.truth.dialogues.qa import Split

HELD_OUT_SHARE = 0.15
"""Share of a kind's wordings that training never draws."""

_MACRO = re.compile(r"<([a-z_]+)>")
_IGNORED = re.compile(r"[\s.,;:!?。，；：！？、]+")


T = TypeVar("T")


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One item, each equally likely; much faster than `rng.choice`."""
    return items[int(rng.random() * len(items))]


def canonical(text: str) -> str:
    """Text without case, space and punctuation: equal for wordings that differ only in these."""
    return _IGNORED.sub("", text.lower())


@dataclass(frozen=True, slots=True)
class Choice:
    """Alternatives within a wording."""

    branches: tuple[Wording, ...]


@dataclass(frozen=True, slots=True)
class Wording:
    """One line of the grammar, parsed: texts and choices in order."""

    nodes: tuple[str | Choice, ...]

    def draw(self, rng: np.random.Generator) -> str:
        """One expansion, each alternative equally likely."""
        return "".join(
            node if isinstance(node, str) else pick(rng, node.branches).draw(rng)
            for node in self.nodes
        )

    def expand(self) -> list[str]:
        """Every expansion."""
        choices = [
            [node]
            if isinstance(node, str)
            else [text for branch in node.branches for text in branch.expand()]
            for node in self.nodes
        ]
        return ["".join(parts) for parts in itertools.product(*choices)]


def parse(line: str, macros: Mapping[str, str]) -> Wording:
    """Parse one line.

    Raises:
        ConfigError: an unknown shared part, or parentheses that don't match.
    """
    while match := _MACRO.search(line):
        if match[1] not in macros:
            raise ConfigError(f"unknown part <{match[1]}> in wording {line!r}")
        line = line[: match.start()] + f"({macros[match[1]]})" + line[match.end() :]
    wording, end = _parse_from(line, 0)
    if end != len(line):
        raise ConfigError(f"parentheses do not match in wording {line!r}")
    return wording


def _parse_from(line: str, at: int) -> tuple[Wording, int]:
    """The part of a line up to a "|", a ")" or the end, and where that is."""
    nodes: list[str | Choice] = []
    while at < len(line) and line[at] not in "|)":
        if line[at] == "(":
            branches: list[Wording] = []
            while at < len(line) and line[at] != ")":
                branch, at = _parse_from(line, at + 1)
                branches.append(branch)
            if at == len(line):
                raise ConfigError(f"parentheses do not match in wording {line!r}")
            nodes.append(Choice(tuple(branches)))
            at += 1
        else:
            end = min((i for c in "(|)" if (i := line.find(c, at)) >= 0), default=len(line))
            nodes.append(line[at:end])
            at = end
    return Wording(tuple(nodes)), at


class Wordings:
    """All wordings of one question, split into those to train on and those held out.

    Whole lines are held out, chosen by their digest so that adding a line moves few others. The
    first lines, which hold the plainest wordings, never are. What a held-out line spells like one
    to train on doesn't count as held out.
    """

    def __init__(self, lines: Sequence[str], macros: Mapping[str, str]) -> None:
        num_core = max(3, len(lines) // 4)
        rest = lines[num_core:]
        ranked = sorted(rest, key=lambda line: hashlib.sha256(line.encode()).digest())
        held = set(ranked[: max(1, round(HELD_OUT_SHARE * len(lines)))])
        self.test = tuple(parse(line, macros) for line in lines if line in held)
        self.train = tuple(parse(line, macros) for line in lines if line not in held)

    @functools.cached_property
    def trained(self) -> frozenset[str]:
        """Canonical form of every wording to train on."""
        return frozenset(canonical(text) for wording in self.train for text in wording.expand())

    @functools.cached_property
    def unseen(self) -> tuple[tuple[str, ...], ...]:
        """What each held-out line spells that no line to train on does."""
        lines = (
            tuple(text for text in wording.expand() if canonical(text) not in self.trained)
            for wording in self.test
        )
        return tuple(texts for texts in lines if texts)

    def draw(self, rng: np.random.Generator, split: Split) -> str:
        """One wording of that split; every line is equally likely."""
        if split == "test":
            return pick(rng, pick(rng, self.unseen))
        return pick(rng, self.train).draw(rng)
