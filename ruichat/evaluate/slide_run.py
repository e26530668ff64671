"""The part of an evaluation that asks about slides: every question under every condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ruichat.chat.backend import Backend
from ruichat.errors import InputError
from ruichat.evaluate.answering import Answerer, BatchAnswerer, Prompt, SessionAnswerer, Written
from ruichat.evaluate.config import SlideSuite
from ruichat.evaluate.controls import (
    CONDITIONS,
    ColourReader,
    Condition,
    Shown,
    answer_all_by_rule,
    pair_slides,
    show_blind,
    show_permuted,
    show_true,
)
from ruichat.evaluate.data import Counts, EvaluationData
from ruichat.evaluate.product import product_answers, view_slide
from ruichat.evaluate.questions import Asked, draw_questions, reorder_options
from ruichat.evaluate.reading import EncodedTiles
from ruichat.evaluate.report import Row
from ruichat.evaluate.rules import RuleAnswer
from ruichat.evaluate.slide_scores import Answers, SlideScorer
from ruichat.evaluate.slides import TestSlide, bank_of, draw_slides, lay_slides
from ruichat.evaluate.tile_scores import Draws
from ruichat.truth.bags import PURE
from ruichat.truth.bank import TileBank, join_banks
from ruichat.truth.tiles import TilePool


@dataclass(frozen=True)
class SlideResult:
    """Rows, and how they came about."""

    rows: list[Row]
    details: Mapping[str, Any]


def score_slides(
    config: SlideSuite, data: EvaluationData, backend: Backend, draws: Draws, counts: Counts
) -> SlideResult:
    """Lay and draw slides, ask about them, and score the answers."""
    bank, colour = _read_bank(config, data)
    if bank is None:
        return SlideResult([], {})
    try:
        slides = lay_slides(bank, config, backend.classifier, seed=draws.seed)
    except InputError as error:
        data.skipped.append(f"slides laid from tiles: {error.message}")
        slides = []
    phantoms = config.phantoms
    slides += draw_slides(
        phantoms,
        data.reader,
        backend.classifier,
        first_number=len(slides),
        max_regions=backend.max_regions,
        tick=counts("drawing slides"),
    )
    asked = draw_questions(slides, config, seed=draws.seed)
    if not asked:
        data.skipped.append("slide questions: no slide to ask about")
        return SlideResult([], {})
    answerer = choose_answerer(backend, config)
    return ask_slides(asked, slides, answerer, backend, config, draws, counts, colour)


def ask_slides(
    asked: Sequence[Asked],
    slides: Sequence[TestSlide],
    answerer: Answerer,
    backend: Backend,
    config: SlideSuite,
    draws: Draws,
    counts: Counts,
    colour: ColourReader | None,
) -> SlideResult:
    """Ask every question under every condition, and score what comes back."""
    written = answer_conditions(asked, slides, answerer, config, draws.seed, counts)
    texts: dict[Condition, Sequence[str | None]] = {
        name: [w.text if w is not None else None for w in given] for name, given in written.items()
    }
    shown = {slide.number: show_true(slide) for slide in slides}
    calibration = backend.thinking_calibration if config.think else backend.calibration
    views = {
        slide.number: view_slide(slide, backend.classifier, backend.name, calibration)
        for slide in slides
    }
    true = {
        (item.slide.number, item.qa.question): given
        for item, given in zip(asked, written["true"], strict=True)
        if given is not None
    }
    product = product_answers(
        asked, shown, views, answerer, true, max_tokens=config.max_tokens, tick=counts("guarding")
    )
    answers = Answers(asked, texts, _by_rule(asked, slides, backend, colour), product)
    scorer = SlideScorer(answers, draws)
    details = {
        "decoding": answerer.how,
        "think": config.think,
        "guard": "off for accuracy and citations; on where a row says product",
        "num_slides": len(slides),
        "num_questions": len(asked),
        "wordings": {w: int((scorer.wording == w).sum()) for w in ("train", "test")},
        "same_through_chat": _check(asked, shown, texts["true"], backend, answerer, config),
    }
    return SlideResult(scorer.rows(), details)


def answer_conditions(
    asked: Sequence[Asked],
    slides: Sequence[TestSlide],
    answerer: Answerer,
    config: SlideSuite,
    seed: int,
    counts: Counts,
) -> dict[Condition, list[Written | None]]:
    """The model's answers under each condition; None where it doesn't apply to a question."""
    pairs = pair_slides(slides, seed=seed)
    shown: dict[Condition, dict[int, Shown]] = {
        "true": {s.number: show_true(s) for s in slides},
        "blind": {s.number: show_blind(s) for s in slides},
        "other": {s.number: show_true(pairs[s.number]) for s in slides if s.number in pairs},
        "permuted": {s.number: show_permuted(s, seed=seed) for s in slides if len(s.regions) > 1},
    }
    shown["reordered"] = shown["true"]
    answers: dict[Condition, list[Written | None]] = {}
    for condition in CONDITIONS:
        prompts: dict[int, Prompt] = {}
        for i, item in enumerate(asked):
            qa = reorder_options(item.qa) if condition == "reordered" else item.qa
            seen = shown[condition].get(item.slide.number)
            if qa is not None and seen is not None:
                prompts[i] = Prompt(seen, qa.question)
        given = answerer.answer(
            list(prompts.values()),
            max_tokens=config.max_tokens,
            tick=counts(f"asking, {condition}"),
        )
        by_row = dict(zip(prompts, given, strict=True))
        answers[condition] = [by_row.get(i) for i in range(len(asked))]
    return answers


def choose_answerer(backend: Backend, config: SlideSuite) -> Answerer:
    """Batches for checkpoints of ours, the chat session for any other model."""
    from ruichat.model.checkpoint import load_checkpoint
    from ruichat.model.native import NativeChatModel

    model = backend.model
    if isinstance(model, NativeChatModel) and model.folder is not None:
        batches = load_checkpoint(model.folder, "torch")
        if config.think and batches.thinker is not None:
            batches = batches.thinker
        return BatchAnswerer(batches, config.batch, think=config.think)
    return _through_chat(backend, config)


def _through_chat(backend: Backend, config: SlideSuite) -> SessionAnswerer:
    encoder = backend.encoder
    assert encoder is not None, "slides are laid from embeddings"
    return SessionAnswerer(backend.model, encoder.card.name, encoder.digest, think=config.think)


def _check(
    asked: Sequence[Asked],
    shown: Mapping[int, Shown],
    texts: Sequence[str | None],
    backend: Backend,
    answerer: Answerer,
    config: SlideSuite,
) -> str:
    """How many of a few answers the chat itself gives word for word."""
    if isinstance(answerer, SessionAnswerer):
        return "all answers come through the chat"
    rows = np.linspace(0, len(asked) - 1, min(config.num_checked, len(asked))).astype(int)
    chat = _through_chat(backend, config)
    prompts = [Prompt(shown[asked[i].slide.number], asked[i].qa.question) for i in rows]
    again = chat.answer(prompts, max_tokens=config.max_tokens)
    same = sum(w.text == texts[i] for i, w in zip(rows, again, strict=True))
    return f"{same} of {len(rows)}"


def _by_rule(
    asked: Sequence[Asked],
    slides: Sequence[TestSlide],
    backend: Backend,
    colour: ColourReader | None,
) -> dict[str, Sequence[RuleAnswer | None]]:
    """The controls that answer by rule."""
    classes: dict[str, Callable[[TestSlide], NDArray[np.int64]]] = {}
    classifier = backend.classifier
    if classifier is not None:
        classes["rules"] = lambda s: classifier.class_probabilities(s.embeddings).argmax(1)
    if colour is not None:
        classes["colour"] = lambda s: colour.classes(s.colour)
    return {
        name: answer_all_by_rule(asked, {s.number: read(s) for s in slides})
        for name, read in classes.items()
    }


def _read_bank(
    config: SlideSuite, data: EvaluationData
) -> tuple[TileBank | None, ColourReader | None]:
    """Held-out tiles to lay, and the colour-only control fitted on the others."""
    parts: list[tuple[TilePool, EncodedTiles]] = []
    for name in data.source_names:
        found = data.pool(name)
        if found is not None:
            parts.append(found)
    control: list[tuple[TilePool, EncodedTiles]] = list(parts)
    if config.phantoms.num_fields:
        parts.append(data.phantoms(config.phantoms, for_control=False))
    if config.phantoms.num_control_fields:
        control.append(data.phantoms(config.phantoms, for_control=True))
    if not parts:
        data.skipped.append("slide questions: neither sources nor phantoms to make slides of")
        return None, None
    return join_banks([bank_of(*part) for part in parts]), _fit_colour(control, data)


def _fit_colour(
    parts: Sequence[tuple[TilePool, EncodedTiles]], data: EvaluationData
) -> ColourReader | None:
    """The colour-only control, from the groups that training may use."""
    colour: list[NDArray[np.float32]] = []
    target: list[NDArray[np.int64]] = []
    for pool, tiles in parts:
        use = (pool.split != "test") & (pool.target.max(1) >= PURE)
        colour.append(tiles.colour[use])
        target.append(pool.target[use].argmax(1))
    joined = np.concatenate(target) if target else np.zeros(0, np.int64)
    if len(np.unique(joined)) < 2:
        data.skipped.append("colour-only control of slides: no tiles to fit it on")
        return None
    return ColourReader(np.concatenate(colour), joined)
