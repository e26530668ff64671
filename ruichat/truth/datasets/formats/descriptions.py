"""Reports of slides and captions of regions: HistGen, PathGen, and a table of one's own."""

from __future__ import annotations

import re

from ruichat.truth.datasets.dialogue import Box, Dialogue, Turn
from ruichat.truth.datasets.fields import (
    build,
    optional,
    said,
    slide_name,
    tcga_patient,
    text_of,
)
from ruichat.truth.datasets.finding import Wrong, shown
from ruichat.truth.datasets.formats.card import FormatCard, Warn
from ruichat.truth.datasets.source import Raw

REPORT_QUESTION = "Write the microscopic report of this slide."
REPORT_QUESTION_ZH = "请写出这张切片的镜下报告。"
CAPTION_QUESTION = "What does [R1] show?"
"""For texts that their sets give without a question; by `kind` training can word it otherwise."""

PATHGEN_PX = 672
"""Side of PathGen's crops, level-0 pixels, by its own script."""

_HAN = re.compile(r"[\u4e00-\u9fff]")
_PIXELS = re.compile(r"[0-9]{1,9}")


def _read_histgen(raw: Raw, warn: Warn) -> Dialogue:
    del warn
    split = raw.value.get("split", raw.part)
    if not isinstance(split, str) or (raw.part and split != raw.part):
        message = f"it is {shown(split)} in the list of {shown(raw.part)}"
        raise Wrong("split", "wrong_split", message, "Move the record, or correct it")
    slide = slide_name(text_of(raw, "id"), "id")
    turns = (
        Turn(role="user", text=REPORT_QUESTION),
        Turn(role="assistant", text=said(raw, "report")),
    )
    return build(
        raw,
        id=slide,
        source="histgen",
        patient=tcga_patient(slide),
        slides=(slide,),
        turns=turns,
        kind="report",
        split=split,
    )


def _read_report(raw: Raw, warn: Warn) -> Dialogue:
    del warn
    slide = slide_name(text_of(raw, "slide"), "slide")
    report = said(raw, "report")
    question = REPORT_QUESTION_ZH if _HAN.search(report) else REPORT_QUESTION
    return build(
        raw,
        id=f"{slide}-{raw.record}",
        source=optional(raw, "source"),
        patient=optional(raw, "patient") or None,
        slides=(slide,),
        turns=(Turn(role="user", text=question), Turn(role="assistant", text=report)),
        kind="report",
        split=optional(raw, "split"),
    )


def _read_pathgen(raw: Raw, warn: Warn) -> Dialogue:
    del warn
    slide = slide_name(text_of(raw, "wsi_id", "WSI_id"), "wsi_id")
    x, y = _position(raw)
    turns = (
        Turn(role="user", text=CAPTION_QUESTION),
        Turn(role="assistant", text=said(raw, "caption")),
    )
    return build(
        raw,
        id=f"{slide}-{x}-{y}",
        source="pathgen",
        patient=tcga_patient(slide),
        slides=(slide,),
        regions=(Box(x=x, y=y, width=PATHGEN_PX, height=PATHGEN_PX),),
        turns=turns,
        kind="caption",
    )


def _position(raw: Raw) -> tuple[int, int]:
    """Top left corner, which the files write as two texts of digits."""
    value = raw.value.get("position")
    if isinstance(value, list) and len(value) == 2:
        digits = [str(part) if type(part) in (int, str) else "" for part in value]
        if all(_PIXELS.fullmatch(part) for part in digits) and max(map(int, digits)) < 2**31:
            return int(digits[0]), int(digits[1])
    message = f'it is {shown(value)}; two whole numbers are wanted, ["21408", "27328"]'
    raise Wrong("position", "bad_position", message, "Correct it, or take the record out")


HISTGEN = FormatCard(
    name="histgen",
    title="HistGen",
    fields='{"train": [{id, report, image_path, split}], "val": ..., "test": ...}',
    recognise=lambda raw: "report" in raw.value and "id" in raw.value and "slide" not in raw.value,
    read=_read_histgen,
    patient="tcga",
)

PATHGEN = FormatCard(
    name="pathgen",
    title="PathGen-1.6M",
    fields='wsi_id (or WSI_id), position: ["x", "y"], caption, file_id',
    recognise=lambda raw: "position" in raw.value and "caption" in raw.value,
    read=_read_pathgen,
    patient="tcga",
)

REPORTS = FormatCard(
    name="reports",
    title="A table of reports",
    fields="slide, report; and, where known, patient, split, source",
    recognise=lambda raw: "slide" in raw.value and "report" in raw.value,
    read=_read_report,
    patient="record",
)
