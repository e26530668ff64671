"""LLaVA's layout, in which SlideInstruction, WSI-Bench and Quilt-Instruct are published.

WSI-Bench's test set has a second layout: {question_id, image, question, T-answer, metadata}.
"""

from __future__ import annotations

from typing import Any, cast

from ruichat.truth.datasets.dialogue import Dialogue, Turn
from ruichat.truth.datasets.fields import (
    Places,
    build,
    one_patient,
    optional,
    said,
    slide_name,
    split_options,
    text_of,
    turns_of,
    without_marker,
)
from ruichat.truth.datasets.finding import Wrong, shown
from ruichat.truth.datasets.formats.card import FormatCard, Warn
from ruichat.truth.datasets.source import Raw

_BENCH = Places("question", "question", "T-answer")
_ROLES = {"human": "user", "gpt": "assistant"}


def _turns(raw: Raw, warn: Warn, num_images: int) -> tuple[Turn, ...]:
    """Question and answer by turns, without image markers.

    Raises:
        Wrong: a turn has no known role or text, speaks out of turn, or the markers don't fit.
        Records: a text can't be trained on.
    """
    spoken = raw.value.get("conversations")
    if not isinstance(spoken, list) or not spoken:
        message = f"it is {shown(spoken)}; a list of turns is wanted"
        raise Wrong("conversations", "no_turns", message, "Add the turns, or take the record out")
    if len(spoken) % 2:
        message = f"there are {len(spoken)} turns, so a question has no answer"
        raise Wrong("conversations", "no_answer", message, "Add it, or take both out")
    words = [_words(turn, at, raw) for at, turn in enumerate(spoken)]
    num_markers = sum(count for _, count in words)
    if num_markers != num_images:
        wrong = Wrong(
            "conversations",
            "image_markers",
            f"<image> stands {num_markers} times for {num_images} images",
            "Check that the record is whole",
        )
        if num_markers > num_images:
            raise wrong
        warn(wrong)
    turns: list[Turn] = []
    for at in range(0, len(words), 2):
        question, options = split_options(words[at][0])
        if not question:
            question, options = words[at][0], ()
        asked, said_at = f"conversations.{at}.value", f"conversations.{at + 1}.value"
        places = Places(asked, asked, said_at)
        turns += turns_of(question, options, words[at + 1][0], places, by_letter=True)
    return tuple(turns)


def _words(turn: Any, at: int, raw: Raw) -> tuple[str, int]:
    """What a turn says, without image markers, and how many those were."""
    where = f"conversations.{at}"
    if not isinstance(turn, dict):
        message = f"it is {shown(turn)}; a turn is wanted"
        raise Wrong(where, "not_a_record", message, 'Write {"from": ..., "value": ...}')
    inner = Raw(turn, raw.record, raw.line)
    try:
        role, value = text_of(inner, "from"), said(inner, "value")
    except Wrong as wrong:
        raise Wrong(f"{where}.{wrong.field}", wrong.code, wrong.message, wrong.remedy) from None
    if role not in _ROLES:
        raise Wrong(
            f"{where}.from",
            "unknown_role",
            f"the role is {shown(role)}; known are {', '.join(_ROLES)}",
            "Rename it, or take the turn out",
        )
    wanted = tuple(_ROLES)[at % 2]
    if role != wanted:
        raise Wrong(
            f"{where}.from",
            "wrong_order",
            f"{role} speaks in turn {at + 1}; it is {wanted}'s",
            "Put question before answer, one of each",
        )
    text, num_markers = without_marker(value)
    if not text:
        message = "it says nothing but <image>"
        raise Wrong(f"{where}.value", "empty_text", message, "Add the words")
    return text, num_markers


def _images(raw: Raw) -> list[str]:
    """Paths under `image`, which is one or a list of them.

    Raises:
        Wrong: there is none, or one isn't a text.
    """
    value = raw.value.get("image")
    paths = cast(list[Any], value if isinstance(value, list) else [value])
    if not paths or any(not isinstance(path, str) or not path.strip() for path in paths):
        message = f"it is {shown(value)}; the name of a file is wanted"
        raise Wrong("image", "no_subject", message, "Name the slide or tile of the record")
    return paths


def _kind(turns: tuple[Turn, ...], question: str) -> str:
    """Whether one report is asked for; by the words that the sets use for it."""
    asks = any(word in question.lower() for word in ("report", "whole slide histopathology image"))
    return "report" if len(turns) == 2 and asks and not turns[0].options else "question"


def _read_slides(raw: Raw, warn: Warn, source: str) -> Dialogue:
    paths = _images(raw)
    slides = tuple(slide_name(path, "image") for path in paths)
    turns = _turns(raw, warn, len(paths))
    return build(
        raw,
        id=text_of(raw, "id"),
        source=source,
        patient=one_patient(slides, "image"),
        slides=slides,
        turns=turns,
        kind=_kind(turns, turns[0].text),
        tags=_project(paths[0]),
    )


def _project(path: str) -> dict[str, str]:
    """The folder that a slide's features lie in, which names its TCGA project."""
    folders = [part for part in path.replace("\\", "/").split("/")[:-1] if part not in ("", ".")]
    return {"project": folders[-1]} if folders else {}


def _read_bench(raw: Raw, warn: Warn) -> Dialogue:
    if "conversations" in raw.value:
        return _read_slides(raw, warn, "wsi-bench")
    path, *more = _images(raw)
    if more:
        raise Wrong(
            "image",
            "too_many",
            f"it names {len(more) + 1} slides; a question of this form is about one",
            "Put a question about several slides into `conversations`",
        )
    slide = slide_name(path, "image")
    question, options = split_options(without_marker(said(raw, "question"))[0])
    task = optional(raw, "metadata")
    return build(
        raw,
        id=text_of(raw, "question_id"),
        source="wsi-bench",
        patient=one_patient((slide,), "image"),
        slides=(slide,),
        turns=turns_of(question, options, said(raw, "T-answer"), _BENCH, by_letter=True),
        split="test",
        tags={**_project(path), **({"task": task} if task else {})},
    )


def _read_tiles(raw: Raw, warn: Warn) -> Dialogue:
    paths = _images(raw)
    return build(
        raw,
        id=text_of(raw, "id"),
        source="quilt-instruct",
        tiles=tuple(paths),
        turns=_turns(raw, warn, len(paths)),
    )


def _image_ends(raw: Raw, *suffixes: str) -> bool:
    value = raw.value.get("image")
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, str) and first.lower().endswith(suffixes)


def _is_talk(raw: Raw) -> bool:
    return "conversations" in raw.value


SLIDE_INSTRUCTION = FormatCard(
    name="slideinstruction",
    title="SlideInstruction (SlideChat)",
    fields='id, image: ["<slide>.csv"], conversations: [{from, value}]',
    recognise=lambda raw: _is_talk(raw) and _image_ends(raw, ".csv"),
    read=lambda raw, warn: _read_slides(raw, warn, "slideinstruction"),
    patient="tcga",
)

WSI_BENCH = FormatCard(
    name="wsi-bench",
    title="WSI-Bench (WSI-LLaVA)",
    fields='id, image: "TCGA-LUSC/<slide>.pt", conversations; or question_id, question, '
    "T-answer, metadata",
    recognise=lambda raw: (_is_talk(raw) and _image_ends(raw, ".pt")) or "T-answer" in raw.value,
    read=_read_bench,
    patient="tcga",
)

QUILT_INSTRUCT = FormatCard(
    name="quilt-instruct",
    title="Quilt-Instruct (Quilt-LLaVA)",
    fields='id, image: "<tile>.jpg", conversations: [{from, value}]',
    recognise=lambda raw: _is_talk(raw) and _image_ends(raw, ".jpg", ".jpeg", ".png"),
    read=_read_tiles,
    patient="unknown",
)
