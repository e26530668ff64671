"""What the readers of other projects' records have in common: fields, names, options, patients."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ruichat.truth.datasets.dialogue import LETTERS, Dialogue, Turn
from ruichat.truth.datasets.finding import Wrong, shown, wrongs_of
from ruichat.truth.datasets.source import Raw

_SUFFIX = re.compile(
    r"\.(?:h5|hdf5|pt|pth|csv|npy|npz|svs|tiff?|ndpi|mrxs|scn|vms|bif|czi|svslide|dcm|kfb|sdpc"
    r"|tmap|isyntax)$",
    re.IGNORECASE,
)
_MARKER = re.compile(r"\s*<image>\s*")
_LABEL = re.compile(r"(?<!\S)([A-Z])(?:\)\s*|\.\s+)(?=[^\s,.;:?!)])")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_LETTER = re.compile(r"[A-Ja-j][.)]?")
_TCGA = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?![A-Z0-9])", re.IGNORECASE)
_FORMULA = re.compile(r"^\s*(?:=|[@+\-]\s*[A-Za-z_.]+\s*\()|^#(?:NAME\?|REF!|VALUE!|N/A|DIV/0!)$")


class Records(Exception):
    """Several things that are wrong with one record."""

    def __init__(self, wrongs: Sequence[Wrong]) -> None:
        super().__init__(f"{len(wrongs)} things are wrong")
        self.wrongs = tuple(wrongs)


def text_of(raw: Raw, *names: str) -> str:
    """A text field, under the first of its names that is there.

    Raises:
        Wrong: it is missing, empty, not a text, or said twice with different values.
    """
    found = [name for name in names if name in raw.value]
    if not found:
        raise Wrong(names[0], "missing_field", "the field is missing" + _near(raw, names), "Add it")
    value = raw.value[found[0]]
    if any(raw.value[name] != value for name in found[1:]):
        message = f"it and {found[1]!r} differ"
        raise Wrong(found[0], "field_twice", message, "Keep the right one")
    if not isinstance(value, str):
        message = f"it is {shown(value)}; a text is wanted"
        raise Wrong(found[0], "not_a_text", message, "Write it in quotes")
    if not value.strip():
        message = "it is empty"
        raise Wrong(found[0], "empty_text", message, "Fill it, or take the record out")
    return value


def said(raw: Raw, *names: str) -> str:
    """A text field with words of people, without space around; refuses what a spreadsheet made.

    Raises:
        Wrong: see `text_of`; or it is a formula or a spreadsheet's error.
    """
    text = text_of(raw, *names).strip()
    if _FORMULA.match(text):
        message = f"it is a spreadsheet's formula or error, {shown(text)}"
        raise Wrong(names[0], "formula", message, "Restore the words from the original file")
    return text


def optional(raw: Raw, name: str) -> str:
    """A text field, or "" where it is missing, null or empty."""
    value = raw.value.get(name)
    return value.strip() if isinstance(value, str) else ""


def slide_name(path: str, field: str) -> str:
    """The bare name of a slide from the path of its file or of its features.

    Raises:
        Wrong: nothing is left.
    """
    name = _SUFFIX.sub("", path.replace("\\", "/").rsplit("/", 1)[-1].strip())
    if not name:
        raise Wrong(field, "no_subject", "it names no slide", "Give the slide's name")
    return name


def without_marker(text: str) -> tuple[str, int]:
    """Text without `<image>`, and how often that stood there."""
    parts = _MARKER.split(text)
    return " ".join(part for part in parts if part).strip(), len(parts) - 1


def split_options(text: str) -> tuple[str, tuple[str, ...]]:
    """A question and the options that follow it as "A) ... B) ..."; none where there are none.

    The last "A)" that "B)" follows begins them. A letter counts where a space is before it and
    words come after it: not in "N.S.A.B.P. grade", "(R132H)" or "(Parts A and B)".
    """
    labels = list(_LABEL.finditer(text))
    for first in range(len(labels) - 1, -1, -1):
        run = _run(labels[first:])
        if len(run) >= 2:
            ends = [label.start() for label in run[1:]] + [len(text)]
            options = tuple(text[a.end() : b].strip() for a, b in zip(run, ends, strict=True))
            return text[: run[0].start()].strip(), options
    return text.strip(), ()


def _run(labels: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    """Labels A, B, C, ... in order, beginning with the first, which must be A."""
    run: list[re.Match[str]] = []
    for label in labels:
        if label[1] == LETTERS[len(run)]:
            run.append(label)
        elif not run:
            break
    return run


def choose(answer: str, options: Sequence[str], field: str, *, by_letter: bool) -> int:
    """Which option an answer gives, from 1.

    Args:
        answer: as the set has it.
        options: without letters.
        field: of the answer, for messages.
        by_letter: whether a single letter names an option; else only an option's words do, since
            an option may be a letter itself.

    Raises:
        Wrong: none, or it can't be told.
    """
    letter = answer.strip().removesuffix(".").removesuffix(")")
    if by_letter and len(letter) == 1 and letter in LETTERS[: len(options)]:
        return LETTERS.index(letter) + 1
    for alike in (str.strip, folded):
        found = [i for i, option in enumerate(options, 1) if alike(option) == alike(answer)]
        if len(found) == 1:
            return found[0]
    letters = f"a letter from A to {LETTERS[len(options) - 1]} or " if by_letter else ""
    raise Wrong(
        field,
        "answer_not_option",
        f"the answer {shown(answer)} is none of the options; {letters}an option's words are wanted",
        "Correct the answer, or take the record out",
    )


def folded(text: str) -> str:
    """Text without case, space and punctuation at its ends; signs inside stay."""
    return " ".join(text.casefold().split()).strip(" .;,:!?\"'`")


def tcga_patient(name: str) -> str | None:
    """The patient that a TCGA barcode begins with; None for other names."""
    found = _TCGA.match(name)
    return found[0].upper() if found else None


@dataclass(frozen=True, slots=True)
class Places:
    """Names that a set gives to the fields of a question, for messages."""

    question: str
    options: str
    answer: str

    def rename(self, error: ValidationError, *, answer: bool) -> Records:
        """What is wrong with a turn of ours, under the set's names."""
        text = self.answer if answer else self.question
        names = {"text": text, "options": self.options}
        wrongs = list(wrongs_of(error))
        for wrong in wrongs:
            wrong.field = names.get(wrong.field.split(".")[0], wrong.field)
        return Records(wrongs)


def turns_of(
    question: str, options: Sequence[str], answer: str, places: Places, *, by_letter: bool = False
) -> tuple[Turn, Turn]:
    """A question and its answer; with options the answer in the words of one.

    Args:
        question: without its options.
        options: in the set's order, without letters.
        answer: as the set has it.
        places: of all three.
        by_letter: see `choose`.

    Raises:
        Wrong: the answer is none of the options, or the letter of one that isn't there.
        Records: a text can't be trained on.
    """
    if not options and _LETTER.fullmatch(answer.strip()):
        message = f"the answer is the letter {shown(answer)}; the question lists no options"
        raise Wrong(places.answer, "no_options", message, "Restore them, or take the record out")
    try:
        asked = Turn(role="user", text=question, options=tuple(options))
    except ValidationError as error:
        raise places.rename(error, answer=False) from None
    number = choose(answer, options, places.answer, by_letter=by_letter) if options else None
    said = options[number - 1] if number else answer
    try:
        return asked, Turn(role="assistant", text=said, choice=number)
    except ValidationError as error:
        raise places.rename(error, answer=True) from None


def one_patient(slides: Sequence[str], field: str) -> str | None:
    """The patient whose TCGA barcode slides begin with; None where one has none.

    Raises:
        Wrong: they are of several.
    """
    found = {tcga_patient(name) for name in slides}
    if len(found) > 1:
        message = f"its slides are of {len(found)} patients"
        raise Wrong(field, "several_patients", message, "Make one dialogue for each patient")
    return found.pop() if found else None


def _language(turns: Sequence[Turn]) -> str:
    return "zh" if any(_HAN.search(turn.text) for turn in turns) else "en"


def build(raw: Raw, **fields: Any) -> Dialogue:
    """A dialogue of ours.

    Raises:
        Records: it breaks the format's rules.
    """
    own = {"id": f"record-{raw.record}", "split": raw.part, "language": _language(fields["turns"])}
    given: dict[str, Any] = own | fields
    try:
        return Dialogue(**given)
    except ValidationError as error:
        raise Records(list(wrongs_of(error))) from None


def _near(raw: Raw, names: Sequence[str]) -> str:
    """What a field may be called instead."""
    wanted = {_key(name) for name in names}
    near = [name for name in raw.value if _key(name) in wanted]
    return f"; there is {near[0]!r}" if near else ""


def _key(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.casefold())
