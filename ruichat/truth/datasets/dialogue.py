"""Our own dialogue format: one JSON object to a line, checked as a whole when it is made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, StrictInt, StrictStr, model_validator

from ruichat.config import Config
from ruichat.model.vocabulary import NUM_REGION_IDS
from ruichat.truth.datasets.finding import Wrong

FORMAT = "ruichat-dialogue-1"
"""First field of every line; a later schema counts up."""

MAX_TEXT_CHARS = 32_768
"""Longest text of a turn. Ours: about ten pages; the longest of WSI-Bench has 1,195."""

MAX_OPTIONS = 64
"""Most options of a question. Ours: GTEx in MultiPathQA lists 20 organs."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Role = Literal["user", "assistant"]
Kind = Literal["question", "report", "caption"]

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CITED = re.compile(r"\[R([0-9]{1,9})\]")


def _sound(text: str) -> str:
    """Text that can be written and read again.

    Raises:
        Wrong: it holds control characters or broken ones.
    """
    found = _CONTROL.search(text)
    if found and "\ud800" <= found[0] <= "\udfff":
        raise Wrong("", "bad_text", "it holds bytes that aren't UTF-8", "Save the file as UTF-8")
    if found:
        raise Wrong(
            "",
            "control_character",
            f"it holds the control character U+{ord(found[0]):04X}",
            "Remove it",
        )
    return text


def plain(text: str) -> str:
    """Text that says something, without what can't be trained on.

    Raises:
        Wrong: it holds control characters, broken ones, or nothing.
    """
    if not _sound(text).strip():
        raise Wrong("", "empty_text", "it is empty", "Fill it, or take the record out")
    return text


def _bare(name: str) -> str:
    """A name that names no folder: bags are looked for by it."""
    if "/" in name or "\\" in name or name in (".", ".."):
        raise Wrong("", "path_in_name", "it names a folder", "Give the bare name of the slide")
    return plain(name)


def _inside(path: str) -> str:
    """A path that stays under its folder."""
    parts = path.replace("\\", "/").split("/")
    if ".." in parts or path.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", path):
        raise Wrong("", "path_outside", "it leaves its folder", "Give a path below the folder")
    return plain(path)


Text = Annotated[StrictStr, Field(max_length=MAX_TEXT_CHARS), AfterValidator(plain)]
Name = Annotated[StrictStr, Field(max_length=255), AfterValidator(_bare)]
Label = Annotated[StrictStr, Field(max_length=2048), AfterValidator(plain)]
Note = Annotated[StrictStr, Field(max_length=MAX_TEXT_CHARS), AfterValidator(_sound)]
RelativePath = Annotated[StrictStr, Field(max_length=1024), AfterValidator(_inside)]


class Box(Config):
    """A region of a slide, level-0 pixels."""

    slide: StrictInt = Field(default=0, ge=0)
    """Which of the dialogue's slides, from 0."""
    x: StrictInt = Field(ge=0, lt=2**31)
    y: StrictInt = Field(ge=0, lt=2**31)
    width: StrictInt = Field(gt=0, lt=2**31)
    height: StrictInt = Field(gt=0, lt=2**31)


class Turn(Config):
    """What one side says."""

    role: Role
    text: Text
    """Regions are written [R7]. With options: the words of the right one, without its letter."""
    options: tuple[Text, ...] = Field(default=(), max_length=MAX_OPTIONS)
    """What a user's question offers, without letters: whoever asks puts them in an order."""
    choice: StrictInt | None = Field(default=None, ge=1)
    """The assistant's: number of the right option, from 1."""
    thought: Text | None = None
    """The assistant's reasoning before its answer."""

    @model_validator(mode="after")
    def _each_says_its_own(self) -> Turn:
        if self.role == "assistant" and self.options:
            raise Wrong(
                "options", "misplaced", "an assistant offers no options", "Move them to the user"
            )
        if self.role == "user" and (self.choice is not None or self.thought is not None):
            field = "thought" if self.choice is None else "choice"
            raise Wrong(field, "misplaced", f"a user has no {field}", "Move it to the assistant")
        _check_options(self.options)
        return self


class Dialogue(Config):
    """One line of a file: a talk about the slides of one patient, or about single tiles."""

    format: Literal["ruichat-dialogue-1"] = FORMAT
    id: Label
    """Names the record within its file."""
    source: Note = ""
    """Set that it comes from."""
    patient: Label | None = None
    """Whoever the tissue is from; splits are made by it."""
    slides: tuple[Name, ...] = Field(default=(), max_length=64)
    """Names without folder and suffix, as their bags are called."""
    tiles: tuple[RelativePath, ...] = Field(default=(), max_length=64)
    """Pictures, where the dialogue isn't about slides; paths below a folder given elsewhere."""
    regions: tuple[Box, ...] = Field(default=(), max_length=NUM_REGION_IDS)
    """What [R1], [R2], ... mean here."""
    num_regions: StrictInt | None = Field(default=None, ge=1, le=NUM_REGION_IDS)
    """Instead of `regions`: how many the slide is cut into, named in RuiChat's own order."""
    turns: tuple[Turn, ...] = Field(min_length=2)
    """User and assistant by turns."""
    kind: Kind = "question"
    language: Literal["en", "zh"] = "en"
    split: Note = ""
    """Part of the set as its makers divided it: train, val, test."""
    tags: dict[Note, Note] = Field(default_factory=dict)
    """What else its makers say, for scores by group."""

    @model_validator(mode="after")
    def _fits_together(self) -> Dialogue:
        _check_subject(self)
        _check_order(self.turns)
        for at, (asked, said) in enumerate(zip(self.turns[::2], self.turns[1::2], strict=True)):
            _check_choice(asked, said, f"turns.{2 * at + 1}")
        _check_regions(self)
        return self

    @property
    def closed(self) -> bool:
        """Whether every answer is one of a few: an option, or yes or no."""
        pairs = zip(self.turns[::2], self.turns[1::2], strict=True)
        return all(bool(asked.options) or is_polar(said.text) for asked, said in pairs)

    def to_line(self) -> bytes:
        """As it stands in a file; what is at its default is left out."""
        plain = self.model_copy(update={"format": FORMAT})
        text = plain.model_dump_json(exclude_defaults=True)
        return f'{{"format":"{FORMAT}",{text[1:]}\n'.encode()


def labels(num: int) -> tuple[str, ...]:
    """What options are called by: letters, or numbers from 1 where there are more than letters."""
    return tuple(LETTERS[:num]) if num <= len(LETTERS) else tuple(map(str, range(1, num + 1)))


def pose(question: str, options: Sequence[str], order: Sequence[int] | None = None) -> str:
    """A question as it is asked, its options listed after it.

    Args:
        question: without its options.
        options: without letters; none for an open question.
        order: indices of the options as they are listed; as they are if None.
    """
    order = range(len(options)) if order is None else order
    listed = (
        f"{label}. {options[i]}" for label, i in zip(labels(len(options)), order, strict=True)
    )
    return " ".join((question, *listed))


def is_polar(answer: str) -> bool:
    """Whether an answer is yes or no and nothing else."""
    return answer.strip().rstrip(".。").lower() in ("yes", "no", "是", "否")


def cited_numbers(text: str) -> Iterator[int]:
    """Numbers of the regions that a text names, as often as it does."""
    return (int(number) for number in _CITED.findall(text))


def _check_subject(dialogue: Dialogue) -> None:
    if not (dialogue.slides or dialogue.tiles or dialogue.patient):
        raise Wrong(
            "slides",
            "no_subject",
            "the dialogue is about no slide, no tile and no patient",
            "Name the slide in `slides`",
        )
    if dialogue.slides and dialogue.tiles:
        raise Wrong(
            "tiles",
            "two_subjects",
            "the dialogue is about slides and about tiles",
            "Leave out one of both, or make two dialogues of it",
        )
    if len(set(dialogue.slides)) < len(dialogue.slides):
        raise Wrong("slides", "twice", "a slide is named twice", "Name each slide once")


def _check_order(turns: tuple[Turn, ...]) -> None:
    roles: tuple[Role, ...] = get_args(Role)
    for at, turn in enumerate(turns):
        if turn.role != roles[at % 2]:
            raise Wrong(
                f"turns.{at}.role",
                "wrong_order",
                f"the {turn.role} speaks in turn {at + 1}; it is the {roles[at % 2]}'s",
                "Put question before answer, one of each",
            )
    if len(turns) % 2:
        raise Wrong(
            "turns", "no_answer", "the last question has no answer", "Add it, or take both out"
        )


def _check_options(options: tuple[str, ...]) -> None:
    if len(options) == 1:
        raise Wrong("options", "one_option", "there is a single option", "Give two or more")
    if len({option.strip() for option in options}) < len(options):
        raise Wrong("options", "twice", "two options are the same", "Give each option once")


def _check_choice(asked: Turn, said: Turn, where: str) -> None:
    if not asked.options:
        if said.choice is not None:
            raise Wrong(
                f"{where}.choice", "misplaced", "the question has no options", "Remove `choice`"
            )
        return
    if said.choice is None:
        raise Wrong(
            f"{where}.choice",
            "no_choice",
            "the question has options and the answer doesn't say which is right",
            f"Give the number of the right one, 1 to {len(asked.options)}",
        )
    if said.choice > len(asked.options):
        raise Wrong(
            f"{where}.choice",
            "no_such_option",
            f"option {said.choice} is chosen of {len(asked.options)}",
            f"Give a number from 1 to {len(asked.options)}",
        )
    if said.text.strip() != asked.options[said.choice - 1].strip():
        raise Wrong(
            f"{where}.text",
            "answer_not_option",
            f"the answer isn't in the words of option {said.choice}",
            "Repeat the option's words, without letter",
        )


def _check_regions(dialogue: Dialogue) -> None:
    if dialogue.regions and dialogue.num_regions is not None:
        raise Wrong(
            "num_regions",
            "regions_twice",
            "both `regions` and `num_regions` say what [R1] means",
            "Keep one of them",
        )
    for at, box in enumerate(dialogue.regions):
        if box.slide >= len(dialogue.slides):
            raise Wrong(
                f"regions.{at}.slide",
                "no_such_slide",
                f"it lies on slide {box.slide} of {len(dialogue.slides)}, counted from 0",
                "Give the place of the slide in `slides`",
            )
    most = dialogue.num_regions or len(dialogue.regions)
    for at, turn in enumerate(dialogue.turns):
        for field, text in (("text", turn.text), ("thought", turn.thought or "")):
            for number in cited_numbers(text):
                if not 1 <= number <= most:
                    raise _no_such_region(f"turns.{at}.{field}", number, most)


def _no_such_region(field: str, number: int, most: int) -> Wrong:
    there = f"this record has R1 to R{most}" if most else "this record states no regions"
    return Wrong(
        field,
        "no_such_region",
        f"it cites [R{number}]; {there}",
        "Correct the number, or state the regions in `regions` or `num_regions`",
    )
