"""Sets of single questions in JSON: WSI-VQA, PathVQA and Quilt-VQA."""

from __future__ import annotations

from collections.abc import Mapping

from ruichat.truth.datasets.dialogue import Dialogue, is_polar
from ruichat.truth.datasets.fields import (
    Places,
    build,
    folded,
    optional,
    said,
    tcga_patient,
    text_of,
    turns_of,
)
from ruichat.truth.datasets.finding import Wrong, shown
from ruichat.truth.datasets.formats.card import FormatCard, Warn
from ruichat.truth.datasets.source import Raw

_WSI_VQA = Places("Question", "Choice", "Answer")
_TILE = Places("question", "question", "answer")


def _read_wsi_vqa(raw: Raw, warn: Warn) -> Dialogue:
    patient = tcga_patient(text_of(raw, "Id"))
    if patient is None:
        message = "it begins with no TCGA barcode of a patient"
        raise Wrong("Id", "no_patient", message, "Correct it, or take the record out")
    options = _choices(raw)
    answer = said(raw, "Answer")
    turns = turns_of(said(raw, "Question"), options, answer, _WSI_VQA)
    if options and turns[1].text != answer:
        message = f"{shown(answer)} stands for the option {shown(turns[1].text)}"
        warn(Wrong("Answer", "answer_reworded", message, "Nothing, if that is meant"))
    return build(raw, id=f"{patient}-{raw.record}", source="wsi-vqa", patient=patient, turns=turns)


def _choices(raw: Raw) -> tuple[str, ...]:
    value = raw.value.get("Choice")
    if value is None or value == []:
        return ()
    if not isinstance(value, list) or not all(isinstance(option, str) for option in value):
        message = f"it is {shown(value)}; a list of texts is wanted"
        raise Wrong("Choice", "bad_options", message, "Give the options as a list of texts")
    return tuple(value)


def _read_tile(raw: Raw, source: str, tags: Mapping[str, str]) -> Dialogue:
    image = raw.value.get("image")
    if not isinstance(image, str):
        message = f"it is {shown(type(image).__name__)}; the name of a picture's file is wanted"
        raise Wrong("image", "no_subject", message, "Write the pictures out and name their files")
    return build(
        raw,
        source=source,
        tiles=(text_of(raw, "image"),),
        turns=turns_of(said(raw, "question"), (), said(raw, "answer"), _TILE),
        tags=dict(tags),
    )


def _read_quilt_vqa(raw: Raw, warn: Warn) -> Dialogue:
    stated = text_of(raw, "answer_type").strip().upper()
    if stated not in ("OPEN", "CLOSED"):
        message = f"it is {shown(stated)}; known are OPEN and CLOSED"
        raise Wrong("answer_type", "unknown_value", message, "Correct it")
    context = optional(raw, "context")
    tags = {"answer_type": stated.lower()} | ({"context": context} if context else {})
    dialogue = _read_tile(raw, "quilt-vqa", tags)
    first = folded(dialogue.turns[1].text).split(" ")[0].rstrip(",.;:")
    if stated == "CLOSED" and first not in ("yes", "no"):
        message = "it is called CLOSED, but its answer doesn't begin with yes or no"
        warn(Wrong("answer_type", "doubtful_type", message, "Look at it"))
    return dialogue


def _read_path_vqa(raw: Raw, warn: Warn) -> Dialogue:
    del warn
    closed = is_polar(said(raw, "answer"))
    return _read_tile(raw, "pathvqa", {"answer_type": "closed" if closed else "open"})


def _has(raw: Raw, *names: str) -> bool:
    return all(name in raw.value for name in names)


WSI_VQA = FormatCard(
    name="wsi-vqa",
    title="WSI-VQA",
    fields='Id: "TCGA-LD-A74U", Question, Choice: [...]?, Answer',
    recognise=lambda raw: _has(raw, "Id", "Question", "Answer"),
    read=_read_wsi_vqa,
    patient="record",
)

PATH_VQA = FormatCard(
    name="pathvqa",
    title="PathVQA",
    fields="image, question, answer",
    recognise=lambda raw: _has(raw, "image", "question", "answer") and not _has(raw, "answer_type"),
    read=_read_path_vqa,
    patient="unknown",
)

QUILT_VQA = FormatCard(
    name="quilt-vqa",
    title="Quilt-VQA",
    fields="image, question, answer, answer_type: OPEN | CLOSED, context",
    recognise=lambda raw: _has(raw, "image", "question", "answer", "answer_type"),
    read=_read_quilt_vqa,
    patient="unknown",
)
