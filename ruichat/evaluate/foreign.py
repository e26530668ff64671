"""Anyone's slides with questions in JSONL, asked through the chat as a user would."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator, model_validator

from ruichat.chat.answer import Answer
from ruichat.chat.ask import AskConfig, SlideChat, open_chat
from ruichat.chat.backend import Backend
from ruichat.chat.sentences import is_abstention
from ruichat.chat.texts import without_qualifier
from ruichat.config import Config
from ruichat.errors import InputError, RuiChatError
from ruichat.evaluate.data import Counts
from ruichat.evaluate.judging import chosen_option, cover, fold, polarity
from ruichat.evaluate.metrics import Estimate
from ruichat.evaluate.report import Row
from ruichat.evaluate.tile_scores import Draws
from ruichat.truth.datasets.dialogue import pose

_LETTERS = "ABCDEFGHIJ"
_POLAR = {"yes": "yes", "是": "yes", "有": "yes", "no": "no", "否": "no", "无": "no", "没有": "no"}


class Box(Config):
    """A box on the slide, level-0 pixels."""

    x: int = Field(ge=0)
    y: int = Field(ge=0)
    width: int = Field(gt=0)
    height: int = Field(gt=0)


class Item(Config):
    """One line of a questions file."""

    slide: str
    """Path of the slide, relative to the file."""
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    """The right answer; with options, one of them or its letter."""
    options: tuple[str, ...] = Field(default=(), max_length=len(_LETTERS))
    """Choices; they are listed after the question with letters."""
    mpp: float | None = Field(default=None, gt=0)
    """Micrometres per pixel, where the slide doesn't state it."""
    regions: tuple[Box, ...] = ()
    """Where the answer shows, level-0 pixels: citations are scored against these."""

    @field_validator("options", mode="before")
    @classmethod
    def _by_letter(cls, value: object) -> object:
        return tuple(cast(dict[str, str], value).values()) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _answer_can_be_found(self) -> Item:
        if self.options and self.right_option is None:
            raise ValueError(f"answer {self.answer!r} is none of the options {self.options}")
        if not self.options and not fold(self.answer):
            raise ValueError(f"answer {self.answer!r} has neither letters nor digits")
        return self

    @property
    def right_option(self) -> int | None:
        """Index of the right option; None without options."""
        # As it stands first: options may differ in their signs alone, HER2+ and HER2-.
        for alike in (str.strip, fold):
            options = [alike(option) for option in self.options]
            if alike(self.answer) in options:
                return options.index(alike(self.answer))
        letter = self.answer.strip().rstrip(".)").upper()
        at = _LETTERS.find(letter) if len(letter) == 1 else -1
        return at if 0 <= at < len(self.options) else None

    @property
    def right_words(self) -> str:
        """The right answer in words, where an option's letter was given too."""
        at = self.right_option
        return self.answer if at is None else self.options[at]

    def posed(self, order: Sequence[int] | None = None) -> str:
        """The question as it is asked, options listed in that order."""
        return pose(self.question, self.options, order)


def read_items(path: Path) -> list[Item]:
    """Read a questions file.

    Raises:
        InputError: the file is missing, or a line isn't a question.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read ({error})", hint="Give a JSONL file") from None
    items: list[Item] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            items.append(Item.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "line"
            raise InputError(
                f"{path.name} line {number}: {where}: {first['msg']}",
                hint='A line is {"slide": ..., "question": ..., "answer": ...}, and may have '
                "options, mpp and regions",
            ) from None
    if not items:
        raise InputError(f"{path} holds no questions", hint="Write one JSON object to a line")
    return items


def is_right(item: Item, text: str, order: Sequence[int]) -> bool:
    """Whether an answer to an item is right; yes and no are read off how it begins."""
    if item.options:
        return chosen_option(text, item.options, order) == item.right_option
    right = _POLAR.get(fold(item.answer))
    if right is not None:
        return polarity(text) == right
    return fold(item.answer) in fold(text)


Name = tuple[str, float | None]
"""A slide of the file: its path and the resolution given for it."""


def score_questions(
    path: Path, backend: Backend, draws: Draws, counts: Counts, skipped: list[str]
) -> list[Row]:
    """Ask every question of a file, and score answers and citations.

    A slide that can't be opened is named in `skipped` and its questions are left out; so is a
    question that can't be asked.

    Raises:
        InputError: the file is wrong, or nothing in it can be asked.
    """
    items = read_items(path)
    names = list(dict.fromkeys((item.slide, item.mpp) for item in items))
    outcomes: dict[int, dict[str, Answer]] = {}
    tick = counts(f"asking {path.name}")
    opened: list[Name] = []
    for at, name in enumerate(names):
        tick(at, len(names))
        try:
            with _open(path.parent / name[0], name[1], backend) as chat:
                _ask_own(items, name, chat, outcomes, skipped)
                if opened:
                    _ask_other(items, opened[-1], chat, outcomes)
                opened.append(name)
        except RuiChatError as error:
            skipped.append(f"{name[0]}: {error.message}")
    if not outcomes:
        raise InputError(
            f"none of the slides in {path.name} could be asked: {skipped[-1]}",
            hint="Paths are relative to the file",
        )
    if len(opened) > 1:
        with _open(path.parent / opened[0][0], opened[0][1], backend) as chat:
            _ask_other(items, opened[-1], chat, outcomes)
    return _rows(path.name, [(items[i], given) for i, given in sorted(outcomes.items())], draws)


def _open(path: Path, mpp: float | None, backend: Backend) -> SlideChat:
    return open_chat(path, AskConfig(mpp=mpp), backend=backend)


def _ask_own(
    items: Sequence[Item],
    name: Name,
    chat: SlideChat,
    outcomes: dict[int, dict[str, Answer]],
    skipped: list[str],
) -> None:
    """Ask a slide its questions, and those that list options once more in another order."""
    for i, item in enumerate(items):
        if (item.slide, item.mpp) != name:
            continue
        try:
            given = {"true": _ask(chat, item.posed())}
            if item.options:
                given["reordered"] = _ask(chat, item.posed(_moved(item)))
        except InputError as error:
            skipped.append(f"{name[0]}, question {i + 1}: {error.message}")
            continue
        outcomes[i] = given


def _ask_other(
    items: Sequence[Item], name: Name, chat: SlideChat, outcomes: dict[int, dict[str, Answer]]
) -> None:
    """Ask a slide the questions about another, as a control."""
    for i, item in enumerate(items):
        if i in outcomes and (item.slide, item.mpp) == name:
            outcomes[i]["other"] = _ask(chat, item.posed())


def _moved(item: Item) -> list[int]:
    return [*range(1, len(item.options)), 0]


def _ask(chat: SlideChat, question: str) -> Answer:
    """Each question begins a dialogue of its own."""
    chat.forget()
    for event in chat.ask(question):
        if isinstance(event, Answer):
            return event
    raise AssertionError("an answer ends with an Answer")


def _rows(name: str, done: Sequence[tuple[Item, dict[str, Answer]]], draws: Draws) -> list[Row]:
    section = f"{name}: through the whole chat"
    boot = draws.over(np.array([item.slide for item, _ in done]))
    groups = {
        "with options": np.array([bool(item.options) for item, _ in done]),
        "yes or no": np.array(
            [not item.options and fold(item.answer) in _POLAR for item, _ in done]
        ),
    }
    groups["in words"] = ~(groups["with options"] | groups["yes or no"])
    groups["all"] = np.ones(len(done), bool)
    right = {way: _right(done, way) for way in ("true", "other", "reordered")}

    def share(way: str, here: NDArray[np.bool_]) -> Estimate:
        marks, use = right[way]
        return boot.ratio(here & use & marks, here & use)

    rows: list[Row] = []
    for group, here in groups.items():
        if here.any():
            controls = {
                way: share(way, here)
                for way in ("other", "reordered")
                if (here & right[way][1]).any()
            }
            rows.append(Row(section, f"answered rightly, {group}", share("true", here), controls))
    abstained = np.array([given["true"].abstained for _, given in done])
    rows.append(Row(section, "cannot determine", boot.ratio(abstained)))
    return rows + _citation_rows(section, done, draws)


def _right(
    done: Sequence[tuple[Item, dict[str, Answer]]], way: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which answers given that way are right, and which questions were asked that way.

    An answer that stays open is right only where that is the right answer: the leading
    alternatives that it lists are no choice among them.
    """
    marks = [
        way in given
        and (not given[way].abstained or is_abstention(item.right_words))
        and is_right(
            item,
            without_qualifier(given[way].text),
            _moved(item) if way == "reordered" else list(range(len(item.options))),
        )
        for item, given in done
    ]
    return np.array(marks), np.array([way in given for _, given in done])


def _citation_rows(
    section: str, done: Sequence[tuple[Item, dict[str, Answer]]], draws: Draws
) -> list[Row]:
    """Share of the cited area that is true, and of the true area that is cited."""
    located = [(item, given["true"]) for item, given in done if item.regions]
    if not located:
        return []
    areas = np.array(
        [cover([c.box0 for c in answer.citations], item.regions) for item, answer in located]
    )
    boot = draws.over(np.array([item.slide for item, _ in located]))
    # Every question counts alike, whatever the size of its slide.
    scale = areas[:, :2].max(1, keepdims=True)
    cited, true, shared = (areas / scale).T
    return [
        Row(section, "cited area that is true", _area(boot.ratio(shared, cited), len(located))),
        Row(section, "true area that is cited", _area(boot.ratio(shared, true), len(located))),
    ]


def _area(estimate: Estimate, n: int) -> Estimate:
    return Estimate(estimate.value, estimate.low, estimate.high, n)


def example() -> dict[str, Any]:
    """One line of a questions file, for the help text."""
    item = Item(slide="slide.svs", question="Is there tumour?", answer="yes")
    return json.loads(item.model_dump_json(exclude_defaults=True))
