"""Stage (e): how far the model's answers can be trusted, on slides of source groups kept apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ruichat.chat.calibration import Calibration, CalibrationRecord, fit_calibration
from ruichat.chat.facts import KNOWN_SCORE
from ruichat.chat.question import question_kind
from ruichat.chat.sentences import split_sentences
from ruichat.chat.support import WrittenPiece, read_signal
from ruichat.config import Config
from ruichat.features.encoder import Encoder
from ruichat.features.tile_classifier import TileClassifier
from ruichat.histology import Language
from ruichat.model.chat_model import ChatModel
from ruichat.model.vocabulary import CANNOT, SPECIAL_PIECES
from ruichat.truth.bags import BagMaker
from ruichat.truth.dialogues import Balance, write_dialogue
from ruichat.truth.opening import open_laid
from ruichat.truth.scoring import score_answer

CANNOT_ID = SPECIAL_PIECES.index(CANNOT)


class CalibrateConfig(Config):
    """Settings of the calibration stage."""

    seed: int = 0
    num_slides: int = 200
    turns: int = 4


def calibrate(
    config: CalibrateConfig,
    model: ChatModel,
    classifier: TileClassifier,
    encoder: Encoder,
    bags: BagMaker,
    folder: Path,
) -> Calibration:
    """Ask about held-out slides and fit confidence on what came back; writes into `folder`."""
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
            pieces = [
                WrittenPiece(CANNOT if p.token_id == CANNOT_ID else p.text, p.logprob)
                for p in opened.session.fork().stream(qa.question)
            ]
            answer = "".join(piece.text for piece in pieces)
            correct = score_answer(qa, answer).correct
            if correct is None or not answer.strip() or answer.startswith(CANNOT):
                continue
            first = split_sentences(answer)[0]
            signal = read_signal(_first_pieces(pieces, len(first)), opened.region_classes)
            records.append(CalibrationRecord(question_kind(qa.question), signal, correct))
    calibration = fit_calibration(records, known_fractions=known)
    calibration.save(folder)
    return calibration


def _first_pieces(pieces: list[WrittenPiece], length: int) -> list[WrittenPiece]:
    """Pieces that spell the first `length` characters."""
    ends = np.cumsum([len(piece.text) for piece in pieces])
    return pieces[: int(np.searchsorted(ends, length)) + 1]
