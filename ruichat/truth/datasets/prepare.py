"""All that can be known of training data before the first step: sound, kept apart, with bags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from pydantic import Field

from ruichat.config import Config
from ruichat.errors import InputError
from ruichat.truth.datasets.bags import Bags, looking_for
from ruichat.truth.datasets.check import Extra, Report, open_report, read_dialogues
from ruichat.truth.datasets.convert import Converted, convert
from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.truth.datasets.finding import Finding, Severity, Wrong, name_of
from ruichat.truth.datasets.formats import FORMATS
from ruichat.truth.datasets.overlap import find_overlap
from ruichat.truth.datasets.patients import Patients
from ruichat.truth.datasets.source import OnBytes
from ruichat.truth.datasets.store import DialogueFile, write_lines


class MissingBagsError(InputError):
    """Slides that dialogues are about have no bag; `findings` names the first of them."""

    def __init__(self, report: Report, num: int, findings: tuple[Finding, ...]) -> None:
        first = findings[0]
        super().__init__(
            f"{num} dialogues of {name_of(report.file)} have no bag, the first in line "
            f"{first.line}, record {first.record}",
            hint="Extract the slides, name their folder, or list them with: ruichat align data "
            f"check {report.file} --bags DIR",
        )
        self.findings = findings


class DataSource(Config):
    """A file of dialogues."""

    file: str
    """Path, relative to the config's folder or absolute."""
    format: str = ""
    """Name of its format; found by its records if empty."""
    sha256: str = ""
    """Digest that it must have; any if empty."""
    patients: str = "record"
    """How patients are told: record, tcga, slide, unknown, or a .csv with slide and patient."""

    def report(self, root: Path) -> Report:
        """A fresh report on the file.

        Raises:
            InputError: it can't be read, or is another version than pinned.
            ConfigError: its format can't be told or isn't known.
        """
        card = FORMATS.get(self.format) if self.format else None
        return open_report(root / self.file, card, sha256=self.sha256)

    def rule(self, root: Path) -> Patients:
        """How its patients are told."""
        is_table = self.patients.lower().endswith(".csv")
        return Patients.parse(str(root / self.patients) if is_table else self.patients)


class EvaluationSource(DataSource):
    """A file that scores are made on: sets change after publication, so its digest is pinned."""

    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$")
    """As `ruichat align data check` prints it."""


class DataConfig(Config):
    """What is trained on, what must be kept apart from it, and where the bags lie."""

    train: tuple[DataSource, ...] = Field(min_length=1)
    evaluation: tuple[EvaluationSource, ...] = ()
    bags: tuple[str, ...] = ()
    """Folders of bags; none where training needs no slides."""
    questions: bool = True
    """Whether nearly identical questions count as overlap."""


def prepare(
    config: DataConfig,
    root: Path,
    out: Path,
    *,
    more: Extra | None = None,
    on_bytes: OnBytes | None = None,
) -> tuple[DialogueFile, ...]:
    """Check all data of a training and convert it, one file for each source.

    Args:
        config: what to train on.
        root: folder that its paths are relative to.
        out: folder for the converted files.
        more: what else makes a record one that can't be used.
        on_bytes: told how far each file was read.

    Returns:
        The converted sources in their order.

    Raises:
        BrokenRecordsError: a record can't be used, or cites a region that its bag can't have.
        MissingBagsError: a slide has no bag.
        OverlapError: training holds what evaluation asks about.
        UnknownPatientError: it can't be told whether it does.
        EmptySplitError: a file holds nothing.
        InputError, ConfigError, ArtifactError: a file or a setting can't be used.
    """
    looks = [looking_for(Bags([root / one for one in config.bags]))] if config.bags else []
    looks += [more] if more is not None else []
    for source in config.train:
        _check(source, looks, root, on_bytes)
    if config.evaluation:
        find_overlap(
            [(source.report(root), source.rule(root)) for source in config.train],
            [(held.report(root), held.rule(root)) for held in config.evaluation],
            questions=config.questions,
            on_bytes=on_bytes,
        ).require_none()
    paths = [out / f"{at:02d}.jsonl" for at in range(len(config.train))]
    for source, path in zip(config.train, paths, strict=True):
        write_lines(path, _converted(source, root, path, on_bytes).lines)
    return tuple(map(DialogueFile, paths))


def _check(
    source: DataSource, looks: Sequence[Extra], root: Path, on_bytes: OnBytes | None
) -> None:
    report = source.report(root)

    def look(dialogue: Dialogue) -> Iterator[tuple[Wrong, Severity]]:
        return chain.from_iterable(one(dialogue) for one in looks)

    for _ in read_dialogues(report, patients=source.rule(root), extra=look, on_bytes=on_bytes):
        pass
    report.require_sound()
    num = report.counts["no_bag"]
    if num:
        missing = tuple(one for one in report.findings if one.code == "no_bag")
        raise MissingBagsError(report, num, missing)


def _converted(source: DataSource, root: Path, out: Path, on_bytes: OnBytes | None) -> Converted:
    card = FORMATS.get(source.format) if source.format else None
    return convert(
        [root / source.file],
        out,
        card=card,
        sha256=source.sha256,
        patients=source.rule(root),
        on_bytes=on_bytes,
    )
