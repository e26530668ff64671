"""What adaptation gained on the new site and cost on the old, beside controls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ruichat.align.adaptation.head import HeadConfig, fit_site_head
from ruichat.align.adaptation.site import SiteTiles
from ruichat.chat.facts import KNOWN_SCORE
from ruichat.config import Config, Seed
from ruichat.features.encoder import Encoder
from ruichat.features.tile_classifier import TileClassifier
from ruichat.histology import Language
from ruichat.model.chat_model import ChatModel, ChatSession
from ruichat.truth.bags import BagMaker, LaidSlide
from ruichat.truth.bank import TileBank
from ruichat.truth.dialogues import QA, Balance, write_dialogue
from ruichat.truth.opening import open_laid
from ruichat.truth.scoring import score_answer

Rows = NDArray[np.int64]
Tick = Callable[[int, int], None]


class ScoreConfig(Config):
    """What is measured before and after."""

    seed: Seed = 0
    per_label: tuple[int, ...] = (10, 50, 250)
    """Numbers of tiles of each label for the learning curve."""
    draws: int = Field(default=5, ge=1)
    """How often each number is drawn anew."""
    num_slides: int = Field(default=40, ge=0)
    """Slides laid from held-out tiles, of each site."""
    questions_per_slide: int = Field(default=4, ge=1)


@dataclass(frozen=True)
class TileScores:
    """Balanced accuracies of one classifier on tiles that nothing was learned from.

    Attributes:
        labels: over the site's own labels; None before there is a head for them.
        classes: over our classes, on the site's tiles; None where no classifier knows any.
        old: over our classes, on old tiles that aren't rehearsed; None without any.
        known: share of the site's tiles that count as familiar tissue; None as of `classes`.
    """

    labels: float | None
    classes: float | None
    old: float | None
    known: float | None


@dataclass(frozen=True)
class CurvePoint:
    """Scores after learning from so many tiles of each label, over several draws.

    Attributes:
        per_label: tiles of each label.
        labels: mean balanced accuracy over the site's labels.
        low, high: least and largest of the draws.
        colour: the same from statistics of colour alone.
        shuffled: the same after learning labels that were dealt out at random.
        old: mean on old tiles.
        seconds: mean time to learn one head.
    """

    per_label: int
    labels: float
    low: float
    high: float
    colour: float
    shuffled: float
    old: float | None
    seconds: float


@dataclass(frozen=True)
class QuestionScores:
    """Answers about slides laid from held-out tiles.

    Attributes:
        num: questions with a short answer.
        right: share answered rightly.
        low, high: 95 % interval over slides.
        blind: share answered rightly without seeing the tiles.
        cited: share of cited regions that show what is said; None if nothing is cited.
    """

    num: int
    right: float
    low: float
    high: float
    blind: float
    cited: float | None


def score_tiles(
    classifier: TileClassifier | None, site: SiteTiles, replay: TileBank | None
) -> TileScores:
    """Balanced accuracies of a classifier, with or without a site's head; of none, nothing."""
    if classifier is None:
        return TileScores(None, None, None, None)
    tiles, test = site.embeddings[site.test], site.test
    known = classifier.known_score(tiles) >= KNOWN_SCORE
    labels = None
    if classifier.site is not None:
        guess = classifier.site.label_probabilities(tiles).argmax(1)
        labels = _balanced(site.label[test], guess)
    guess = classifier.class_probabilities(tiles).argmax(1)
    classes = _balanced(site.classes[test], guess)
    return TileScores(labels, classes, _old(classifier, replay), float(known.mean()))


def least_tiles(site: SiteTiles) -> int:
    """Training tiles of the label that has the fewest."""
    return int(np.bincount(site.label[~site.test]).min())


def learning_curve(
    classifier: TileClassifier,
    site: SiteTiles,
    replay: TileBank | None,
    config: ScoreConfig,
    head: HeadConfig,
    tick: Tick | None = None,
) -> list[CurvePoint]:
    """Heads learned from more and more tiles; numbers that a label can't give are left out."""
    most = least_tiles(site)
    usable = [num for num in config.per_label if num <= most]
    points: list[CurvePoint] = []
    for at, per_label in enumerate(usable):
        points.append(_curve_point(classifier, site, replay, config, head, per_label))
        if tick is not None:
            tick(at + 1, len(usable))
    return points


def _curve_point(
    classifier: TileClassifier,
    site: SiteTiles,
    replay: TileBank | None,
    config: ScoreConfig,
    head: HeadConfig,
    per_label: int,
) -> CurvePoint:
    labels, colour, shuffled, old, seconds = [], [], [], [], []
    truth = site.label[site.test]
    for draw in range(config.draws):
        rng = np.random.default_rng((config.seed, per_label, draw))
        rows = site.draw(per_label, rng)
        began = time.perf_counter()
        fitted = fit_site_head(classifier, site, rows, replay, head)
        seconds.append(time.perf_counter() - began)
        scores = score_tiles(fitted, site, replay)
        labels.append(scores.labels)
        old.append(scores.old)
        colour.append(_balanced(truth, _linear(site.colour, site.label, rows, site.test)))
        dealt = site.label.copy()
        dealt[rows] = rng.permutation(dealt[rows])
        shuffled.append(_balanced(truth, _linear(site.embeddings, dealt, rows, site.test)))
    return CurvePoint(
        per_label,
        float(np.mean(labels)),
        float(np.min(labels)),
        float(np.max(labels)),
        float(np.mean(colour)),
        float(np.mean(shuffled)),
        None if replay is None else float(np.mean(old)),
        float(np.mean(seconds)),
    )


def _linear(
    features: NDArray[np.float32], label: Rows, rows: Rows, test: NDArray[np.bool_]
) -> Rows:
    """Guesses of a plain linear classifier on the held-out tiles."""
    from sklearn.linear_model import LogisticRegression

    scaled = (features - features.mean(0)) / (features.std(0) + 1e-6)
    fitted = LogisticRegression(C=0.1 if features.shape[1] > 32 else 1.0, max_iter=2000)
    fitted.fit(scaled[rows], label[rows])
    return np.asarray(fitted.predict(scaled[test]), np.int64)


def _old(classifier: TileClassifier, replay: TileBank | None) -> float | None:
    if replay is None or not (replay.split != "train").any():
        return None
    held = replay.split != "train"
    guess = classifier.class_probabilities(replay.embeddings[held, 0]).argmax(1)
    return _balanced(replay.target[held].argmax(1), guess)


def _balanced(truth: Rows, guess: Rows) -> float:
    """Mean recall over the classes that occur."""
    return float(np.mean([(guess[truth == c] == c).mean() for c in np.unique(truth)]))


def score_questions(
    model: ChatModel,
    classifier: TileClassifier | None,
    encoder: Encoder,
    bags: BagMaker,
    config: ScoreConfig,
    tick: Tick | None = None,
) -> QuestionScores:
    """Ask about slides laid from held-out tiles; the same questions before and after."""
    right: list[NDArray[np.float64]] = []
    balance = Balance()
    for number in range(config.num_slides):
        rng = np.random.default_rng((config.seed, 7, number))
        slide = bags.draw(rng)
        language: Language = "en" if number % 2 else "zh"
        asked = write_dialogue(
            slide.truth, rng, language, balance=balance, num_turns=config.questions_per_slide
        )
        blind = replace(slide, embeddings=np.zeros_like(slide.embeddings))
        state = rng.bit_generator.state
        marks: list[NDArray[np.float64]] = []
        for shown in (slide, blind):
            rng.bit_generator.state = state
            marks.append(_marks(shown, asked, model, classifier, encoder, rng))
        right.append(np.r_[marks[0], marks[1][1]])
        if tick is not None:
            tick(number + 1, config.num_slides)
    return _summary(np.array(right), config.seed)


def _marks(
    slide: LaidSlide,
    asked: Sequence[QA],
    model: ChatModel,
    classifier: TileClassifier | None,
    encoder: Encoder,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Questions with a short answer, right ones, regions cited, rightly cited: [4]."""
    session = open_laid(slide, model, classifier, encoder, rng).session
    scores = [score_answer(qa, _answer(session.fork(), qa.question)) for qa in asked]
    short = [score.correct for score in scores if score.correct is not None]
    cited = sum(len(score.cited) for score in scores)
    return np.array([len(short), sum(short), cited, sum(s.num_right for s in scores)], np.float64)


def _answer(session: ChatSession, question: str) -> str:
    return "".join(piece.text for piece in session.stream(question) if not piece.thought)


def _summary(counts: NDArray[np.float64], seed: int, draws: int = 1000) -> QuestionScores:
    """Shares over slides, and an interval of the main one by drawing slides anew."""
    rng = np.random.default_rng(seed)
    picks = counts[rng.integers(len(counts), size=(draws, len(counts)))].sum(1)
    shares = picks[:, 1] / np.maximum(picks[:, 0], 1)
    low, high = np.quantile(shares, (0.025, 0.975))
    num, right, cited, rightly, blind = counts.sum(0)
    return QuestionScores(
        int(num),
        float(right / max(num, 1)),
        float(low),
        float(high),
        float(blind / max(num, 1)),
        float(rightly / cited) if cited else None,
    )
