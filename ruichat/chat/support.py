"""How sure the model was of its deciding words, and whether the tile classifier agrees."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from ruichat.chat.calibration import AnswerSignal
from ruichat.chat.sentences import CITATION, cited_names
from ruichat.histology import CLASSES, KEYS, MALIGNANT

NEUTRAL = 0.5
"""Support where the classifier has nothing to say about a sentence."""


@dataclass(frozen=True, slots=True)
class WrittenPiece:
    """A piece as the model wrote it: its text, and the log-probability of having chosen it."""

    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Mention:
    """Words of a text that name tissue.

    Attributes:
        start: of the words.
        end: of the words.
        keys: of the classes they mean; several for "squamous cell carcinoma" or "tumour".
    """

    start: int
    end: int
    keys: tuple[str, ...]


_SQUAMOUS = ("lung_squamous_carcinoma", "oral_squamous_carcinoma")
_ADENO = ("lung_adenocarcinoma", "carcinoma_glands")
_GENERIC: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"squamous(?: cell)? carcinoma|鳞状细胞癌|鳞癌", _SQUAMOUS),
    (r"adenocarcinoma|腺癌", _ADENO),
    (
        r"tumou?rs?|cancer(?:ous)?|carcinomas?|malignan\w*|neoplas\w*|肿瘤|癌|恶性",
        tuple(key for key in KEYS if key in MALIGNANT),
    ),
)
_NAMED = tuple((f"{re.escape(item.en)}|{re.escape(item.zh)}", (item.key,)) for item in CLASSES)
_MENTIONS = tuple(
    (f"m{i}", pattern, keys)
    for i, (pattern, keys) in enumerate(
        (*sorted(_NAMED, key=lambda rule: -len(rule[0])), *_GENERIC)
    )
)
_MENTION = re.compile("|".join(f"(?P<{n}>{pattern})" for n, pattern, _ in _MENTIONS), re.IGNORECASE)
_KEYS_OF = {name: keys for name, _, keys in _MENTIONS}

_DECIDING = re.compile(
    r"(?<![A-Za-z])(?:yes|no|not|none|neither|absent|present|left|right|upper|lower|top|bottom"
    r"|equal"
    r"|more|less|most|mainly|benign|normal|half|centre|center)(?![A-Za-z])"
    r"|<\|cannot\|>|没有|未见|不含|不是|是|否|有|无|左|右|上|下|更多|更少|相同|良性|正常|主要",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,;:.!?，；：。！？]|\band\b|(?<=\])和")
_NEGATION = re.compile(
    r"(?<![A-Za-z])(?:no|not|none|without|absent|lacks?|neither|free of)(?![A-Za-z])|没有|未见"
    r"|不含|无|不存在|未发现",
    re.IGNORECASE,
)


def read_signal(
    pieces: Sequence[WrittenPiece], region_classes: Float32[NDArray[np.float32], "k c"] | None
) -> AnswerSignal:
    """What speaks for one sentence of an answer.

    Args:
        pieces: the sentence as the model wrote it.
        region_classes: mean class probabilities of each region, [k, c]; None if unknown.
    """
    sentence = "".join(piece.text for piece in pieces)
    logprobs = _deciding_logprobs(pieces, sentence)
    pointers = [p.logprob for p in pieces if CITATION.fullmatch(p.text.strip())]
    return AnswerSignal(
        decision=_probability(min(logprobs)) if logprobs else 0.0,
        wording=_probability(float(np.mean(logprobs))) if logprobs else 0.0,
        pointing=_probability(float(np.mean(pointers))) if pointers else 1.0,
        support=classifier_support(sentence, region_classes),
    )


def classifier_support(
    sentence: str, region_classes: Float32[NDArray[np.float32], "k c"] | None
) -> float:
    """Probability (0-1) that the classifier gives to the tissues a sentence names.

    Clause by clause, since "no fat; the tissue is mainly stroma [R5]" denies one tissue and
    states another. A tissue is looked up in the regions its clause cites, else where it is
    likeliest; a denied one is supported by its absence everywhere. `NEUTRAL` if none is named, or
    without a classifier.
    """
    if region_classes is None:
        return NEUTRAL
    scores: list[float] = []
    for clause in _CLAUSE.split(sentence):
        denies = _NEGATION.search(clause) is not None
        cited = [int(name[1:]) - 1 for name in cited_names(clause)]
        cited = [index for index in cited if 0 <= index < len(region_classes)]
        for match in _MENTION.finditer(clause):
            columns = [KEYS.index(key) for key in _KEYS_OF[str(match.lastgroup)]]
            per_region = region_classes[:, columns].sum(axis=1)
            if denies:
                scores.append(1 - float(per_region.max()))
            else:
                scores.append(float(per_region[cited].mean() if cited else per_region.max()))
    return min(1.0, max(0.0, float(np.mean(scores)))) if scores else NEUTRAL


def cited_for(text: str) -> dict[str, tuple[str, ...]]:
    """Keys of the tissue that each region is first cited for; regions cited for none are missing.

    In "tumour: carcinoma nests [R1]; also fat [R2]" R1 stands for nests, R2 for fat.
    """
    found: dict[str, tuple[str, ...]] = {}
    for clause in _CLAUSE.split(text):
        named = [_KEYS_OF[str(match.lastgroup)] for match in _MENTION.finditer(clause)]
        for name in cited_names(clause):
            if named:
                found.setdefault(name, named[-1])
    return found


def denies(sentence: str, key: str) -> bool:
    """Whether a clause of the sentence says that tissue of that class isn't there."""
    return any(
        _NEGATION.search(clause) is not None
        and any(_KEYS_OF[str(m.lastgroup)] == (key,) for m in _MENTION.finditer(clause))
        for clause in _CLAUSE.split(sentence)
    )


def names_tissue_class(text: str) -> bool:
    """Whether a text is the name of a tissue class or a word for tumour, and nothing else."""
    return _MENTION.fullmatch(text.strip()) is not None


def mentions(text: str) -> tuple[Mention, ...]:
    """Every tissue class, or group of them, that a text names, in the order of its words."""
    return tuple(
        Mention(*found.span(), _KEYS_OF[str(found.lastgroup)]) for found in _MENTION.finditer(text)
    )


def tissue_keys(text: str) -> tuple[str, ...]:
    """Keys of the tissue classes that a text names, those of its first name only."""
    match = _MENTION.search(text)
    return _KEYS_OF[str(match.lastgroup)] if match else ()


def _deciding_logprobs(pieces: Sequence[WrittenPiece], sentence: str) -> list[float]:
    """Log-probability of each deciding word; of all words if none decides.

    The choice between two wordings of one answer lowers a sentence's probability without
    making it less right, so only words that carry the decision count.
    """
    spans = [match.span() for match in _MENTION.finditer(sentence)]
    spans += [match.span() for match in _DECIDING.finditer(sentence)]
    edges = np.cumsum([0, *(len(piece.text) for piece in pieces)])
    sums: list[float] = []
    for start, end in spans:
        touched = (edges[:-1] < end) & (edges[1:] > start)
        sums.append(float(sum(p.logprob for p, hit in zip(pieces, touched, strict=True) if hit)))
    return sums or [p.logprob for p in pieces if p.text.strip()]


def _probability(logprob: float) -> float:
    return min(1.0, math.exp(min(0.0, logprob)))
