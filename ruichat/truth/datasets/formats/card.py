"""What is known of a format of dialogues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.truth.datasets.finding import Wrong
from ruichat.truth.datasets.source import Raw

Warn = Callable[[Wrong], None]
"""Takes what deserves a look but leaves the record usable."""

PatientSource = Literal["tcga", "record", "unknown"]
"""Where the patient stands: in a slide's TCGA barcode, in the record itself, nowhere."""


@dataclass(frozen=True)
class FormatCard:
    """One format.

    Attributes:
        name: as users give it.
        title: as its makers call it.
        fields: what its records look like, for the list of formats.
        recognise: whether a record is of this format; no record is of two.
        read: a record as a dialogue of ours. Raises Wrong, Records or ValidationError.
        patient: where the patient stands.
    """

    name: str
    title: str
    fields: str
    recognise: Callable[[Raw], bool]
    read: Callable[[Raw, Warn], Dialogue]
    patient: PatientSource
