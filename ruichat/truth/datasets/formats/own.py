"""Our own format, as users write it."""

from __future__ import annotations

from pydantic import ValidationError

from ruichat.truth.datasets.dialogue import FORMAT, Dialogue
from ruichat.truth.datasets.fields import Records
from ruichat.truth.datasets.finding import wrongs_of
from ruichat.truth.datasets.formats.card import FormatCard, Warn
from ruichat.truth.datasets.source import Raw


def _recognise(raw: Raw) -> bool:
    return str(raw.value.get("format", "")).startswith("ruichat-dialogue")


def _read(raw: Raw, warn: Warn) -> Dialogue:
    del warn
    try:
        return Dialogue.model_validate(raw.value)
    except ValidationError as error:
        raise Records(list(wrongs_of(error))) from None


OWN = FormatCard(
    name="ruichat",
    title="RuiChat",
    fields=f'format: "{FORMAT}", id, patient, slides, regions, turns, ...',
    recognise=_recognise,
    read=_read,
    patient="record",
)
