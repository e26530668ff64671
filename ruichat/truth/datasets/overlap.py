"""Training and evaluation kept apart: by patient, slide, tile, and by what is asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from ruichat.errors import InputError
from ruichat.truth.datasets.check import Placed, Report, read_dialogues
from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.truth.datasets.fields import slide_name, tcga_patient
from ruichat.truth.datasets.likeness import ALIKE, TextIndex, likeness, pieces_of, plain_words
from ruichat.truth.datasets.patients import Patients
from ruichat.truth.datasets.source import OnBytes

Sharing = Literal["patient", "slide", "tile", "question"]

MIN_CHARS = 24
"""Characters from which a question is evidence; "is there tumour" is asked everywhere."""

_NUMBERED = re.compile(r"[a-z]*[ _-]?[0-9]{1,8}\.[a-z]+")
"""Names of tiles that any set may give: a number, or a word and a number."""

NUM_EXAMPLES = 3
"""Of each kind, in the message."""


class OverlapError(InputError):
    """Training data holds what evaluation asks about; `overlap` has the counts and examples."""

    def __init__(self, overlap: Overlap) -> None:
        counted = ", ".join(f"{kind} {n}" for kind, n in overlap.counts.items())
        shown = "; ".join(str(meeting) for meeting in overlap.examples)
        super().__init__(
            f"training and evaluation overlap in {overlap.num_dialogues} training dialogues "
            f"(sharing {counted}). For example: {shown}",
            hint="Leave them out with: ruichat align data overlap TRAIN --with EVALUATION --out "
            "CLEAN.jsonl",
        )
        self.overlap = overlap


@dataclass(frozen=True, slots=True)
class Meeting:
    """A training dialogue and one of the evaluation that share something.

    Attributes:
        sharing: what.
        train: where the one stands.
        evaluation: where the other stands.
    """

    sharing: Sharing
    train: str
    evaluation: str

    def __str__(self) -> str:
        same = "ask nearly the same" if self.sharing == "question" else f"share a {self.sharing}"
        return f"{self.train} and {self.evaluation} {same}"


@dataclass
class Overlap:
    """What training and evaluation share.

    Attributes:
        counts: training dialogues by what they share.
        examples: the first few of each kind.
        records: file (its place in the list) and record of each training dialogue that shares
            anything, with what it shares.
        num_train: training dialogues in all.
        num_evaluation: dialogues of the evaluation.
    """

    counts: Counter[Sharing] = field(default_factory=Counter[Sharing])
    examples: list[Meeting] = field(default_factory=list[Meeting])
    records: dict[tuple[int, int], set[Sharing]] = field(
        default_factory=dict[tuple[int, int], set[Sharing]]
    )
    num_train: int = 0
    num_evaluation: int = 0

    @property
    def num_dialogues(self) -> int:
        """Training dialogues that share anything."""
        return len(self.records)

    def add(self, source: int, record: int, meeting: Meeting) -> None:
        """Count a training dialogue that shares something."""
        known = self.records.setdefault((source, record), set())
        if meeting.sharing in known:
            return
        known.add(meeting.sharing)
        self.counts[meeting.sharing] += 1
        if self.counts[meeting.sharing] <= NUM_EXAMPLES:
            self.examples.append(meeting)

    def require_none(self) -> Overlap:
        """Return self.

        Raises:
            OverlapError: something is shared.
        """
        if self.records:
            raise OverlapError(self)
        return self

    def to_json(self) -> dict[str, Any]:
        """Counts and examples as plain values."""
        return {
            "train": self.num_train,
            "evaluation": self.num_evaluation,
            "overlapping": self.num_dialogues,
            "sharing": dict(self.counts),
            "examples": [str(meeting) for meeting in self.examples],
        }


@dataclass(frozen=True, slots=True)
class _Text:
    """What is asked and what is answered; of reports and captions, what they say."""

    asked: str
    answer: str


@dataclass(frozen=True, slots=True)
class _Met:
    """A training dialogue that asks what the evaluation asks."""

    source: int
    record: int
    place: str
    answer: str
    has_patient: bool


@dataclass
class _Asked:
    """A question of the evaluation: where it stands and what it is asked about."""

    place: str
    subject: str
    answer: str
    has_patient: bool
    is_template: bool = False
    met: dict[str, list[_Met]] = field(default_factory=dict[str, list[_Met]])
    """By what they are asked about; of three or more subjects two are kept."""

    def meet(self, subject: str, one: _Met) -> None:
        """Keep who asks this in training, as long as it may be evidence."""
        if len(self.met) < 2:
            self.met.setdefault(subject, []).append(one)

    def leaked(self) -> Iterator[_Met]:
        """The training dialogues that give it away.

        A question that either side asks about several slides is a template: meeting it proves
        nothing. Where both patients are known, and so differ, the answer must be alike too.
        """
        if self.is_template or len(self.met) != 1:
            return
        (met,) = self.met.values()
        for one in met:
            patients_differ = self.has_patient and one.has_patient
            if not patients_differ or likeness(*map(pieces_of, (self.answer, one.answer))) >= ALIKE:
                yield one


class Held:
    """What the evaluation is about: all of it is added before anything is compared to it.

    Memory grows with it, not with what is compared to it.
    """

    def __init__(self) -> None:
        self._keys: dict[tuple[Sharing, str], str] = {}
        self._texts = TextIndex()
        self._asked: list[_Asked] = []
        self._exact: dict[str, int] = {}
        # Sets ask the same of many slides; what a text meets is looked up once.
        self._find = lru_cache(maxsize=4096)(self._texts.find)

    def add(self, placed: Placed) -> None:
        """Take a dialogue of the evaluation in."""
        for key in _keys(placed.dialogue, held=True):
            self._keys.setdefault(key, str(placed))
        subject = _subject(placed.dialogue)
        has_patient = placed.dialogue.patient is not None
        for text in _texts(placed.dialogue):
            number = self._exact.get(text.asked)
            if number is None:
                self._exact[text.asked] = self._texts.add(text.asked)
                self._asked.append(_Asked(str(placed), subject, text.answer, has_patient))
            elif self._asked[number].subject != subject:
                self._asked[number].is_template = True

    def meet(self, placed: Placed, source: int, overlap: Overlap) -> None:
        """Count what a training dialogue shares; its questions are judged by `finish`."""
        found: dict[Sharing, str] = {}
        for key in _keys(placed.dialogue, held=False):
            if key in self._keys:
                found.setdefault(key[0], self._keys[key])
        for sharing, place in found.items():
            overlap.add(source, placed.record, Meeting(sharing, str(placed), place))
        subject = _subject(placed.dialogue)
        has_patient = placed.dialogue.patient is not None
        for text in _texts(placed.dialogue):
            for number in self._find(text.asked):
                one = _Met(source, placed.record, str(placed), text.answer, has_patient)
                self._asked[number].meet(subject, one)

    def finish(self, overlap: Overlap) -> None:
        """Count the training dialogues that give a question of the evaluation away."""
        for asked in self._asked:
            for met in asked.leaked():
                meeting = Meeting("question", met.place, asked.place)
                overlap.add(met.source, met.record, meeting)


Read = tuple[Report, Patients]
"""A fresh report on a file, from `open_report`, and how its patients are told."""


def find_overlap(
    train: Sequence[Read],
    evaluation: Sequence[Read],
    *,
    questions: bool = True,
    on_bytes: OnBytes | None = None,
) -> Overlap:
    """What training files share with those of the evaluation.

    Args:
        train: files of the training.
        evaluation: files of the evaluation.
        questions: whether nearly identical questions count.
        on_bytes: told how far each file was read.

    Raises:
        UnknownPatientError: a patient can't be told, and nobody said that this is so.
        BrokenRecordsError: a record can't be used.
        EmptySplitError: a file holds nothing.
        InputError: a file can't be read.
    """
    overlap, held = Overlap(), Held()
    for _, placed in _sound(evaluation, on_bytes):
        overlap.num_evaluation += 1
        held.add(placed)
    for source, placed in _sound(train, on_bytes):
        overlap.num_train += 1
        held.meet(placed, source, overlap)
    if questions:
        held.finish(overlap)
    return overlap


def _sound(files: Sequence[Read], on_bytes: OnBytes | None) -> Iterator[tuple[int, Placed]]:
    for source, (report, patients) in enumerate(files):
        for placed in read_dialogues(report, patients=patients, on_bytes=on_bytes):
            patients.require(placed.dialogue, placed)
            yield source, placed
        report.require_sound()


def _keys(dialogue: Dialogue, *, held: bool) -> Iterator[tuple[Sharing, str]]:
    """What a dialogue is about; whoever shares one of them with the other side overlaps it."""
    if dialogue.patient:
        yield "patient", dialogue.patient.strip().casefold()
    for name in dialogue.slides:
        key = name.casefold()
        # TCGA names its slides with and without the identifier after the first dot.
        yield "slide", key.split(".")[0] if tcga_patient(name) else key
    for path in dialogue.tiles:
        for key in _tile_keys(path, held=held):
            yield "tile", key


def _tile_keys(path: str, *, held: bool) -> tuple[str, ...]:
    """The names by which a tile is known to the other side.

    A name says which tile it is wherever its folder was copied to, unless it is a mere number:
    each set has its 0001.jpg. Then the folder counts, where both sides name one.
    """
    *above, name = path.replace("\\", "/").casefold().split("/")
    folders = [one for one in above if one not in ("", ".")]
    if not _NUMBERED.fullmatch(name):
        return (name,)
    # Sides that name a folder know each other by it, and those that name none by a key of theirs.
    bare = "held without" if held != bool(folders) else "train without"
    return (f"{folders[-1]}/{name}" if folders else name, f"{bare}/{name}")


def _subject(dialogue: Dialogue) -> str:
    names: Iterable[str] = dialogue.slides or dialogue.tiles or (dialogue.patient or "",)
    return "\0".join(slide_name(name, "slides").casefold() for name in names)


def _texts(dialogue: Dialogue) -> Iterator[_Text]:
    """What a dialogue asks, with its options; of reports and captions, what they say."""
    for asked, said in zip(dialogue.turns[::2], dialogue.turns[1::2], strict=True):
        words = (asked.text, *asked.options) if dialogue.kind == "question" else (said.text,)
        text = plain_words(" ".join(words))
        if len(text) >= MIN_CHARS:
            yield _Text(text, said.text)
