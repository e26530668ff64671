"""Benchmarks in CSV: SlideBench-VQA and MultiPathQA."""

from __future__ import annotations

import ast
import re

from ruichat.truth.datasets.dialogue import LETTERS, Dialogue
from ruichat.truth.datasets.fields import (
    Places,
    build,
    optional,
    said,
    slide_name,
    tcga_patient,
    text_of,
    turns_of,
    without_marker,
)
from ruichat.truth.datasets.finding import Wrong, shown
from ruichat.truth.datasets.formats.card import FormatCard, Warn
from ruichat.truth.datasets.source import Raw

_BENCH = Places("Question", "A", "Answer")
_MULTI = Places("prompt", "options", "answer")
_BENCH_LETTERS = "ABCD"
_BENCH_TAGS = {
    "Tumor": "tumor",
    "Broad Category": "broad_category",
    "Narrow Category": "narrow_category",
    "Task": "task",
}
_NUMBERED = ("tcga", "tcga_expert_vqa", "tcga_slidebench")
"""Parts of MultiPathQA whose answer is an option's number, from 1."""

MAX_LITERAL_CHARS = 20_000
"""Longest list of options that is parsed; 20 organs take a few hundred."""


def _read_slidebench(raw: Raw, warn: Warn) -> Dialogue:
    del warn
    slide = slide_name(text_of(raw, "Slide"), "Slide")
    given = {letter: optional(raw, letter) for letter in _BENCH_LETTERS}
    filled = [letter for letter in _BENCH_LETTERS if given[letter]]
    answer = said(raw, "Answer").strip().rstrip(".)").upper()
    if answer not in given:
        message = f"it is {shown(answer)}; a letter from A to D is wanted"
        raise Wrong("Answer", "no_option_letter", message, "Give the letter of the right option")
    if answer not in filled:
        message = f"it is {answer}, whose option is empty"
        raise Wrong("Answer", "no_such_option", message, "Fill the option, or correct the letter")
    options = [said(raw, letter) for letter in filled]
    # Letters count the filled options: where B is empty, C is the second.
    letter = LETTERS[filled.index(answer)]
    number = optional(raw, "ID")
    return build(
        raw,
        id=f"slidebench-{number or raw.record}",
        source="slidebench",
        patient=tcga_patient(slide),
        slides=(slide,),
        turns=turns_of(said(raw, "Question"), options, letter, _BENCH, by_letter=True),
        split="test",
        tags={
            ours: value for theirs, ours in _BENCH_TAGS.items() if (value := optional(raw, theirs))
        },
    )


def _read_multipath(raw: Raw, warn: Warn) -> Dialogue:
    name = text_of(raw, "benchmark_name")
    slide = slide_name(text_of(raw, "image_path"), "image_path")
    options = _literal_options(raw)
    answer = said(raw, "answer")
    if options and name in _NUMBERED:
        answer = _numbered(answer, options)
    question = without_marker(said(raw, "prompt"))[0]
    question = question.replace("{options}", ", ".join(options))
    if "{" in question:
        message = "the prompt has a place to be filled that isn't {options}"
        warn(Wrong("prompt", "placeholder", message, "Nothing, if the question reads well"))
    if optional(raw, "is_valid").lower() in ("false", "0"):
        message = "its makers call it not valid"
        raise Wrong("is_valid", "not_valid", message, "Take the record out")
    return build(
        raw,
        id=f"{name}-{text_of(raw, 'benchmark_id')}-{raw.record}",
        source="multipathqa",
        patient=tcga_patient(slide),
        slides=(slide,),
        turns=turns_of(question, options, answer, _MULTI),
        split="test",
        tags={
            key: value
            for key in ("benchmark_name", "metric_type", "file_id")
            if (value := optional(raw, key))
        },
    )


def _literal_options(raw: Raw) -> tuple[str, ...]:
    """Options, which are written as a Python list; none where the cell is empty.

    Raises:
        Wrong: it is anything else. Nothing in it is ever run.
    """
    cell = optional(raw, "options")
    if cell.lower() in ("", "nan", "none", "[]"):
        return ()
    bad = Wrong(
        "options",
        "bad_options",
        f"it is {shown(cell)}; a list of texts is wanted, ['2', '3']",
        "Correct the list",
    )
    if len(cell) > MAX_LITERAL_CHARS:
        raise bad
    try:
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise bad from None
    if not isinstance(value, list) or not all(isinstance(option, str) for option in value):
        raise bad
    return tuple(value)


def _numbered(answer: str, options: tuple[str, ...]) -> str:
    """The words of the option that a number from 1 names."""
    number = int(answer) if re.fullmatch("[0-9]{1,4}", answer) else 0
    if not 1 <= number <= len(options):
        message = f"it is {shown(answer)}; a number from 1 to {len(options)} is wanted"
        raise Wrong("answer", "no_such_option", message, "Correct it")
    return options[number - 1]


SLIDE_BENCH = FormatCard(
    name="slidebench",
    title="SlideBench-VQA",
    fields="ID, Slide, Tumor, Broad Category, Narrow Category, Question, A, B, C, D, Answer",
    recognise=lambda raw: all(name in raw.value for name in ("Slide", "Question", "A", "Answer")),
    read=_read_slidebench,
    patient="tcga",
)

MULTI_PATH_QA = FormatCard(
    name="multipathqa",
    title="MultiPathQA",
    fields="benchmark_name, benchmark_id, image_path, answer, options, metric_type, file_id, "
    "prompt",
    recognise=lambda raw: "benchmark_name" in raw.value and "image_path" in raw.value,
    read=_read_multipath,
    patient="tcga",
)
