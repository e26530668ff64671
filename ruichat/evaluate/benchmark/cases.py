"""The dialogues of a benchmark, each with its patient, its bag and the kinds of its questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ruichat.errors import ConfigError, InputError
from ruichat.evaluate.benchmark.config import BenchmarkConfig
from ruichat.evaluate.benchmark.pictures import PictureFolders
from ruichat.evaluate.benchmark.words import Note
from ruichat.evaluate.judging import Polarity, polarity
from ruichat.histology import Language
from ruichat.truth.datasets.bags import Bags
from ruichat.truth.datasets.check import Report, read_dialogues
from ruichat.truth.datasets.dialogue import Dialogue, Turn, is_polar
from ruichat.truth.datasets.finding import Wrong, name_of
from ruichat.truth.datasets.prepare import DataSource

Kind = Literal["choice", "closed", "open", "report", "caption"]
KINDS: tuple[Kind, ...] = ("choice", "closed", "open", "report", "caption")
"""With options; yes or no; in free words; a whole report; a description of a region or tile."""

Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Question:
    """One question of a dialogue with its truth.

    Attributes:
        case: key of the dialogue.
        turn: place among the dialogue's questions, from 0.
        kind: how it is scored.
        language: of the dialogue.
        unit: whom the tissue is from, for the bootstrap.
        file: that it stands in.
        text: without its options.
        options: without labels.
        right: index of the right option; None without options.
        answer: the reference.
    """

    case: str
    turn: int
    kind: Kind
    language: Language
    unit: str
    file: str
    text: str
    options: tuple[str, ...]
    right: int | None
    answer: str

    @property
    def right_polarity(self) -> Polarity | None:
        """Yes or no, of a closed question."""
        return polarity(self.answer) if self.kind == "closed" else None


@dataclass(frozen=True)
class Case:
    """One dialogue.

    Attributes:
        key: file and record, stable between runs on the same file.
        file: name of its file.
        unit: patient, else slide, tile or record.
        dialogue: whole.
        bag: of its slide, or the picture that it is about; None where the run is blind.
        questions: its user turns with their truth.
        num_bags: of its slide or, where it names none, of its patient.
    """

    key: str
    file: str
    unit: str
    dialogue: Dialogue
    bag: Path | None
    questions: tuple[Question, ...]
    num_bags: int = 0

    @property
    def cites(self) -> bool:
        """Whether a reference cites regions, so that citations can be scored."""
        return any("[R" in question.answer for question in self.questions)


@dataclass(frozen=True)
class Cases:
    """All dialogues of a benchmark, in the order in which a limit takes them.

    Attributes:
        all: the dialogues.
        digests: SHA-256 of each file by its name.
        notes: what was left out or couldn't be known, and why.
        blind: there are no bags and no pictures at all.
    """

    all: tuple[Case, ...]
    digests: Mapping[str, str]
    notes: tuple[Note, ...]
    blind: bool


def read_cases(
    config: BenchmarkConfig, root: Path, *, tick: Callable[[str], Tick] | None = None
) -> Cases:
    """Read every file, find bags, and put the dialogues in a seeded order.

    Args:
        config: names files and folders.
        root: folder that they are relative to.
        tick: gives a callback of bytes read for a file's name.

    Raises:
        BrokenRecordsError: a record can't be used, and none is to be left out.
        InputError: a file can't be read, is another version than pinned, or slides lack bags.
        ConfigError: a file is named twice, or its format can't be told.
    """
    bags = _sources(config, root)
    found: list[Case] = []
    digests: dict[str, str] = {}
    notes: list[Note] = []
    for source in config.data:
        report = source.report(root)
        name = name_of(report.file)
        if name in digests:
            raise ConfigError(f"two files are called {name}", hint="Rename one of them")
        digests[name] = report.sha256
        on_bytes = tick(f"reading {name}") if tick else None
        found += _read_file(source, report, root, bags, on_bytes)
        if not config.leave_out_broken:
            report.require_sound()
        elif report.num_broken:
            notes.append(Note("broken", {"file": name, "num": report.num_broken}))
    found = _with_bags(found, bags, config, notes)
    if not found:
        raise InputError(
            "no dialogue is left to ask: "
            + ("; ".join(note.say("en") for note in notes) or "the files hold none"),
            hint="Give files with dialogues whose slides have bags",
        )
    unknown = sum(case.dialogue.patient is None for case in found)
    if unknown:
        notes.append(Note("no_patient", {"num": unknown, "of": len(found)}))
    order = np.random.default_rng((config.seed, 1)).permutation(len(found))
    return Cases(tuple(found[i] for i in order), digests, tuple(notes), bags is None)


_Sources = Bags | PictureFolders | None


def _sources(config: BenchmarkConfig, root: Path) -> _Sources:
    """Where what is shown is looked for; None where nothing is."""
    if config.pictures:
        return PictureFolders([root / folder for folder in config.pictures])
    return Bags([root / folder for folder in config.bags]) if config.bags else None


def _read_file(
    source: DataSource, report: Report, root: Path, bags: _Sources, on_bytes: Tick | None
) -> Iterator[Case]:
    for placed in read_dialogues(report, patients=source.rule(root), on_bytes=on_bytes):
        dialogue = placed.dialogue
        names = (dialogue.patient, *dialogue.slides, *dialogue.tiles)
        key = f"{report.sha256[:12]}:{placed.record}"
        paths = _bags(dialogue, bags)
        unit = next((name for name in names if name), key)
        yield Case(
            key=key,
            file=placed.file,
            unit=unit,
            dialogue=dialogue,
            bag=paths[0] if paths else None,
            num_bags=len(paths),
            questions=tuple(_questions(dialogue, key, unit, placed.file)),
        )


def _bags(dialogue: Dialogue, bags: _Sources) -> tuple[Path, ...]:
    """A dialogue's picture; or the bag of its one slide, or those of its patient's, by name."""
    if isinstance(bags, PictureFolders):
        picture = bags.of(dialogue)
        return () if picture is None else (picture,)
    if bags is None or len(dialogue.slides) > 1:
        return ()
    try:
        return bags.of(dialogue)
    except Wrong:
        return ()


def _with_bags(
    cases: Sequence[Case], bags: _Sources, config: BenchmarkConfig, notes: list[Note]
) -> list[Case]:
    """The dialogues that can be asked; of a run without bags all of them, blind."""
    if bags is None:
        notes.append(Note("blind", {"num": len(cases)}))
        return list(cases)
    why = _why_no_picture if config.pictures else _why
    lacking = Counter(why(case.dialogue) for case in cases if case.bag is None)
    told = [Note(name, {"num": num}) for name, num in lacking.items()]
    if lacking and config.missing == "refuse":
        raise InputError(
            f"{lacking.total()} of {len(cases)} dialogues can't be shown what they are about: "
            + "; ".join(note.say("en") for note in told),
            hint="Name the folders of all pictures in pictures, or set missing: leave_out"
            if config.pictures
            else "Extract the slides, name their folders in bags, or set missing: leave_out",
        )
    notes += told
    several = sum(case.num_bags > 1 for case in cases)
    if several:
        notes.append(Note("several_bags", {"num": several}))
    return [case for case in cases if case.bag is not None]


def _why(dialogue: Dialogue) -> str:
    if len(dialogue.slides) > 1:
        return "several_slides"
    return "pictures" if dialogue.tiles else "no_bag"


def _why_no_picture(dialogue: Dialogue) -> str:
    return "no_picture" if len(dialogue.tiles) == 1 else "not_one_picture"


def _questions(dialogue: Dialogue, key: str, unit: str, file: str) -> Iterator[Question]:
    turns = dialogue.turns
    for at, (asked, said) in enumerate(zip(turns[::2], turns[1::2], strict=True)):
        yield Question(
            case=key,
            turn=at,
            kind=_kind(dialogue, asked, said),
            language=dialogue.language,
            unit=unit,
            file=file,
            text=asked.text,
            options=asked.options,
            right=None if said.choice is None else said.choice - 1,
            answer=said.text,
        )


def _kind(dialogue: Dialogue, asked: Turn, said: Turn) -> Kind:
    if asked.options:
        return "choice"
    if dialogue.kind != "question":
        return dialogue.kind
    stated = dialogue.tags.get("answer_type") == "closed" and polarity(said.text) is not None
    return "closed" if is_polar(said.text) or stated else "open"
