"""Whose tissue a dialogue is about, where its record doesn't say."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ruichat.errors import ConfigError, InputError
from ruichat.truth.datasets.dialogue import Dialogue, plain
from ruichat.truth.datasets.fields import slide_name, tcga_patient
from ruichat.truth.datasets.finding import Wrong

Rule = Literal["record", "tcga", "slide", "unknown", "table"]
"""As the record or its format says; by the TCGA barcode of each slide; every slide or tile is a
patient of its own, unless its name begins with a TCGA barcode; as "record", and where that doesn't
say it nobody can; by a table of the user's."""

RULES: tuple[Rule, ...] = ("record", "tcga", "slide", "unknown")


class UnknownPatientError(InputError):
    """It can't be told whose tissue a record is about, and it must be."""


@dataclass(frozen=True)
class Patients:
    """How patients are told.

    Attributes:
        rule: which way.
        table: patient by slide or tile, for the rule "table".
    """

    rule: Rule = "record"
    table: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Patients:
        """From what a user gives: a rule's name, or the path of a CSV with slide and patient.

        Raises:
            ConfigError: it is neither.
            InputError: the table can't be used.
        """
        for rule in RULES:
            if text == rule:
                return cls(rule)
        if text.lower().endswith(".csv"):
            return cls("table", read_table(Path(text)))
        raise ConfigError(
            f"unknown rule for patients {text!r}",
            hint=f"Give one of {', '.join(RULES)}, or a .csv with columns slide and patient",
        )

    def of(self, dialogue: Dialogue) -> str | None:
        """The patient of a dialogue; None where it can't be told.

        Raises:
            Wrong: its slides are of several patients.
        """
        if self.rule in ("record", "unknown"):
            return dialogue.patient
        names = dialogue.slides or dialogue.tiles
        if not names:
            return dialogue.patient
        found = {self._of_name(name) for name in names}
        if len(found) > 1:
            raise Wrong(
                "slides",
                "several_patients",
                f"its slides are of {len(found)} patients",
                "Make one dialogue for each patient, or correct the table",
            )
        return found.pop()

    def require(self, dialogue: Dialogue, where: object) -> str | None:
        """The patient of a dialogue that has been read by this rule.

        Args:
            dialogue: its patient is filled in.
            where: it stands, for the message.

        Raises:
            UnknownPatientError: it isn't known, and nobody said that it can't be.
        """
        if dialogue.patient is None and self.rule != "unknown":
            raise UnknownPatientError(
                f"{where}: it can't be told whose tissue this is, so that it can't be kept apart",
                hint="Give --patients, in settings `patients` beside the file: tcga, slide, a .csv "
                "with columns slide and patient, or unknown where nobody can tell",
            )
        return dialogue.patient

    def _of_name(self, name: str) -> str | None:
        if self.rule == "tcga":
            return tcga_patient(name)
        if self.rule == "slide":
            # Other files name the same patient, as TCGA's barcodes tell.
            return tcga_patient(name) or name
        return self.table.get(slide_name(name, "slides"))


def read_table(path: Path) -> dict[str, str]:
    """Patient by slide, from a CSV with columns slide and patient.

    Raises:
        InputError: it can't be read, lacks a column, or gives a slide two patients.
    """
    table: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if not {"slide", "patient"} <= set(rows.fieldnames or ()):
                raise InputError(
                    f"{path.name} has columns {', '.join(rows.fieldnames or ())}; slide and "
                    "patient are wanted",
                    hint="Rename its columns",
                )
            for row in rows:
                name = slide_name(row["slide"] or "", "slide")
                patient = (row["patient"] or "").strip()
                if patient:
                    plain(patient)
                if not patient or table.setdefault(name, patient) != patient:
                    why = "gives a slide another patient" if patient else "names no patient"
                    raise InputError(
                        f"{path.name} line {rows.line_num} {why}", hint="Correct the line"
                    )
    except (OSError, UnicodeDecodeError, csv.Error, Wrong) as error:
        raise InputError(
            f"{path.name} can't be read ({error})", hint="Give a CSV in UTF-8"
        ) from error
    return table
