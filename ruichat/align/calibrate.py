"""Stage (e): how far the model's answers can be trusted, on slides of source groups kept apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ruichat.align.laid_settings import CalibrateConfig
from ruichat.chat.calibration import Calibration, CalibrationRecord, fit_calibration
from ruichat.chat.draft import Draft
from ruichat.chat.facts import KNOWN_SCORE
from ruichat.chat.question import question_kind
from ruichat.chat.support import read_signal
from ruichat.features.encoder import Encoder
from ruichat.features.tile_classifier import TileClassifier
from ruichat.histology import Language
from ruichat.model.chat_model import ChatModel
from ruichat.truth.bags import SlideMaker
from ruichat.truth.dialogues import Balance, write_dialogue
from ruichat.truth.opening import open_laid
from ruichat.truth.scoring import score_answer


def calibrate(
    config: CalibrateConfig,
    model: ChatModel,
    classifier: TileClassifier,
    encoder: Encoder,
    bags: SlideMaker,
    folder: Path,
    *,
    thinking: bool = False,
) -> Calibration:
    """Ask about held-out slides and fit confidence on what came back; writes into `folder`.

    Args:
        config: settings.
        model: answers.
        classifier: reads tissue classes off tiles.
        encoder: of the bags.
        bags: held-out slides.
        folder: of the checkpoint.
        thinking: let the model think before it answers.
    """
    records: list[CalibrationRecord] = []
    known: list[float] = []
    balance = Balance()
    for number in range(config.num_slides):
        rng = np.random.default_rng((config.seed, 4, number))
        slide = bags.draw(rng)
        opened = open_laid(slide, model, classifier, encoder, rng)
        known.append(float((classifier.known_score(slide.embeddings) >= KNOWN_SCORE).mean()))
        language: Language = "en" if number % 2 else "zh"
        for qa in write_dialogue(
            slide.truth, rng, language, balance=balance, num_turns=config.turns
        ):
            draft = Draft()
            for piece in opened.session.fork().stream(qa.question, think=thinking):
                if not piece.thought:
                    draft.add(piece.text, piece.logprob)
            correct = score_answer(qa, draft.raw).correct
            if correct is None or not draft.raw.strip() or draft.abstains:
                continue
            first = draft.first_sentence(ended=True) or ""
            signal = read_signal(draft.pieces_of(0, len(first)), opened.region_classes)
            records.append(CalibrationRecord(question_kind(qa.question), signal, correct))
    calibration = fit_calibration(records, known_fractions=known, thinking=thinking)
    calibration.save(folder)
    return calibration
