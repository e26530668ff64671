"""Every record of a file as a dialogue or as a finding, and the sum of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ruichat.errors import ConfigError, InputError
from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.truth.datasets.fields import Records
from ruichat.truth.datasets.finding import Finding, Severity, Wrong, name_of, wrongs_of
from ruichat.truth.datasets.formats import FORMATS
from ruichat.truth.datasets.formats.card import FormatCard
from ruichat.truth.datasets.patients import Patients
from ruichat.truth.datasets.source import OnBytes, Raw, Unreadable, file_digest, read_raw

NUM_TRIED = 20
"""Records by which a format is recognised."""

NUM_KEPT = 1000
"""Findings that a report keeps, beside the first of each kind; all are counted."""

Extra = Callable[[Dialogue], Iterable[tuple[Wrong, Severity]]]
"""Looks for more that is wrong with a dialogue, such as a bag that isn't there."""


class BrokenRecordsError(InputError):
    """A file holds records that can't be used; `report` has them all."""

    def __init__(self, report: Report) -> None:
        first = next(one for one in report.findings if one.severity == "error")
        more = f" ({report.num_errors - 1} more)" if report.num_errors > 1 else ""
        super().__init__(
            f"{first}{more}",
            hint=f"{first.remedy}. All are listed by: ruichat align data check {report.file}",
        )
        self.report = report


class EmptySplitError(InputError):
    """A file, or a part of it, holds nothing to train or to score on."""


@dataclass
class Report:
    """What a file holds.

    Attributes:
        file: its path.
        sha256: digest over its bytes.
        format: name of the format.
        num_records: whole and broken ones.
        num_broken: records that can't be used.
        counts: findings by code.
        findings: the first `NUM_KEPT`, and the first of each kind.
        num_errors: findings that break a record.
        parts: records by the part of the set that they say they are in.
    """

    file: Path
    sha256: str
    format: str
    num_records: int = 0
    num_broken: int = 0
    num_errors: int = 0
    counts: Counter[str] = field(default_factory=Counter[str])
    findings: list[Finding] = field(default_factory=list[Finding])
    parts: Counter[str] = field(default_factory=Counter[str])
    _kinds: set[tuple[str, Severity]] = field(default_factory=set[tuple[str, Severity]], repr=False)

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it while there is room."""
        self.counts[finding.code] += 1
        self.num_errors += finding.severity == "error"
        kind = finding.code, finding.severity
        if len(self.findings) < NUM_KEPT or kind not in self._kinds:
            self.findings.append(finding)
        self._kinds.add(kind)

    def require_sound(self) -> Report:
        """Return self.

        Raises:
            BrokenRecordsError: a record can't be used.
            EmptySplitError: there is none.
        """
        if self.num_errors:
            raise BrokenRecordsError(self)
        if self.num_records == 0:
            raise EmptySplitError(
                f"{name_of(self.file)} holds no dialogues", hint="Give a file that holds some"
            )
        return self

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "file": str(self.file.parent / name_of(self.file)),
            "sha256": self.sha256,
            "format": self.format,
            "records": self.num_records,
            "broken": self.num_broken,
            "parts": dict(self.parts),
            "counts": dict(self.counts.most_common()),
            "findings": [one.to_json() for one in self.findings],
            "findings_not_listed": self.counts.total() - len(self.findings),
        }


@dataclass(frozen=True, slots=True)
class Placed:
    """A dialogue and where it stands.

    Attributes:
        dialogue: with its patient filled in.
        file: name of the file.
        line: where its record begins, from 1.
        record: its number, from 1.
    """

    dialogue: Dialogue
    file: str
    line: int
    record: int

    def __str__(self) -> str:
        return f"{self.file} line {self.line}, record {self.record}"


def find_format(path: Path) -> FormatCard:
    """The format of a file, by its first records.

    Raises:
        InputError: the file can't be read.
        ConfigError: the records are of no known format, or of several.
    """
    tried = [raw for raw in islice(read_raw(path), NUM_TRIED) if isinstance(raw, Raw)]
    cards = [FORMATS.get(name) for name in FORMATS]
    found = [card for card in cards if any(card.recognise(raw) for raw in tried)]
    if len(found) == 1:
        return found[0]
    if found:
        what = f"may be of {' or '.join(card.name for card in found)}"
    elif tried:
        fields = ", ".join(list(tried[0].value)[:12])
        what = f"is of no known format; its first record has the fields {fields}"
    else:
        what = f"has no readable record among its first {NUM_TRIED}"
    raise ConfigError(
        f"{path.name} {what}",
        hint=f"Say which with --format, in settings `format`: {', '.join(FORMATS)}",
    )


def open_report(path: Path, card: FormatCard | None = None, *, sha256: str = "") -> Report:
    """An empty report on a file, its format found and its digest compared.

    Args:
        path: of the file.
        card: its format, where that is known.
        sha256: digest that it must have; "" for any.

    Raises:
        InputError: the file can't be read, or its digest is another.
        ConfigError: its format can't be told.
    """
    digest = file_digest(path)
    if sha256 and sha256.lower() != digest:
        raise InputError(
            f"{path.name} has the digest {digest[:16]}; pinned is {sha256[:16].lower()}: it is "
            "another version of the set",
            hint="Fetch the pinned version, or pin this one and compare no scores across the two",
        )
    return Report(path, digest, (card or find_format(path)).name)


def read_dialogues(
    report: Report,
    *,
    patients: Patients | None = None,
    extra: Extra | None = None,
    on_bytes: OnBytes | None = None,
) -> Iterator[Placed]:
    """The sound dialogues of a file; what is wrong with the others goes into the report.

    Args:
        report: on the file, from `open_report`; filled while this goes on.
        patients: how they are told; as the format says if None.
        extra: what else to look for in sound dialogues; an error of it breaks the record.
        on_bytes: told how far the file was read.

    Raises:
        InputError: the file can't be read any more.
    """
    card = FORMATS.get(report.format)
    patients = patients or Patients()
    seen: set[int] = set()
    for raw in read_raw(report.file, on_bytes):
        warnings: list[Wrong] = []
        if raw.record:
            report.num_records += 1
        try:
            if isinstance(raw, Unreadable):
                raise raw.wrong
            dialogue = _owned(card.read(raw, warnings.append), patients)
        except (Wrong, Records, ValidationError, RecursionError) as error:
            report.num_broken += raw.record > 0
            for wrong in _wrongs(error):
                report.add(_finding(report, raw, wrong, "error"))
            continue
        finally:
            for wrong in warnings:
                report.add(_finding(report, raw, wrong, "warning"))
        if hash(dialogue.id) in seen:
            twice = Wrong("id", "id_twice", "an earlier record has that id", "Give each its own")
            report.add(_finding(report, raw, twice, "warning"))
        seen.add(hash(dialogue.id))
        more = list(extra(dialogue)) if extra else []
        for wrong, severity in more:
            report.add(_finding(report, raw, wrong, severity))
        if any(severity == "error" for _, severity in more):
            report.num_broken += 1
            continue
        report.parts[dialogue.split] += 1
        yield Placed(dialogue, name_of(report.file), raw.line, raw.record)


def check_file(
    path: Path,
    *,
    card: FormatCard | None = None,
    sha256: str = "",
    patients: Patients | None = None,
    extra: Extra | None = None,
    on_bytes: OnBytes | None = None,
) -> Report:
    """Read a file to its end and say what is wrong with it.

    Args and errors are those of `open_report` and `read_dialogues`.
    """
    report = open_report(path, card, sha256=sha256)
    for _ in read_dialogues(report, patients=patients, extra=extra, on_bytes=on_bytes):
        pass
    return report


def _owned(dialogue: Dialogue, patients: Patients) -> Dialogue:
    patient = patients.of(dialogue)
    if patient == dialogue.patient:
        return dialogue
    return dialogue.model_copy(update={"patient": patient})


def _wrongs(error: Wrong | Records | ValidationError | RecursionError) -> tuple[Wrong, ...]:
    if isinstance(error, Wrong):
        return (error,)
    if isinstance(error, RecursionError):
        message = "lists and objects lie too deep in each other"
        return (Wrong("", "too_deep", message, "Flatten the record"),)
    return error.wrongs if isinstance(error, Records) else tuple(wrongs_of(error))


def _finding(report: Report, raw: Raw | Unreadable, wrong: Wrong, severity: Severity) -> Finding:
    return Finding(
        file=name_of(report.file),
        line=raw.line,
        record=raw.record,
        field=wrong.field,
        code=wrong.code,
        message=wrong.message,
        remedy=wrong.remedy,
        severity=severity,
    )
