"""Answers in free words against reference texts: shared words, BLEU, ROUGE-L, METEOR."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from ruichat.chat.sentences import CITATION
from ruichat.histology import Language
from ruichat.registry import require

EXTRA = "scores"
"""Ours that brings sacrebleu, rouge-score and nltk."""

MAX_ORDER = 4
NUM_COUNTS = 2 * MAX_ORDER + 2
"""Numbers that BLEU needs of a text: n-grams found and there are, 1 to 4, and both lengths."""

_TOKEN = re.compile(
    r"[\u3400-\u4dbf\u4e00-\u9fff]|\d+(?:\.\d+)?|[^\W\d_\u3400-\u4dbf\u4e00-\u9fff]+"
)
_ARTICLES = frozenset({"a", "an", "the"})


def tokens(text: str) -> list[str]:
    """Words and numbers in small letters, Chinese by characters; no punctuation, no citations."""
    return _TOKEN.findall(CITATION.sub(" ", text).lower())


@dataclass(frozen=True, slots=True)
class Shared:
    """Words that an answer shares with its reference, 0 to 1 each.

    Attributes:
        recall: share of the reference's words that the answer has.
        precision: share of the answer's words that the reference has.
        exact: whether both are the same words in the same order.
    """

    recall: float
    precision: float
    exact: bool

    @property
    def f1(self) -> float:
        """Harmonic mean of both shares."""
        both = self.recall + self.precision
        return 2 * self.recall * self.precision / both if both else 0.0


def shared_words(answer: str, reference: str) -> Shared:
    """Compare words without articles, each as often as it stands there.

    Source:
        Recall of the answer's words is how LLaVA-Med (Li et al. 2023, arXiv:2306.00890) and
        Quilt-LLaVA (Seyfioglu et al. 2023, arXiv:2312.04746) score open questions, exact match
        and F1 how PathVQA does (He et al. 2020, arXiv:2003.10286). Ours: a word of the reference
        is found at most as often as it stands there, and number words stay words.
    """
    ours = [word for word in tokens(answer) if word not in _ARTICLES]
    theirs = [word for word in tokens(reference) if word not in _ARTICLES]
    both = sum((Counter(ours) & Counter(theirs)).values())
    return Shared(
        recall=both / len(theirs) if theirs else 0.0,
        precision=both / len(ours) if ours else 0.0,
        exact=bool(theirs) and ours == theirs,
    )


@cache
def _bleu(language: Language) -> Any:
    sacrebleu = require("sacrebleu", extra=EXTRA)
    tokenize = "zh" if language == "zh" else "13a"
    return sacrebleu.metrics.BLEU(
        lowercase=True, tokenize=tokenize, smooth_method="none", effective_order=True
    )


def bleu_counts(answer: str, reference: str, language: Language) -> Int64[NDArray[np.int64], " 10"]:
    """What one answer adds to BLEU of them all, see `NUM_COUNTS`.

    Tokens are sacrebleu's: 13a for English, single characters for Chinese.
    """
    plain = [CITATION.sub(" ", text) for text in (answer, reference)]
    score = _bleu(language).sentence_score(plain[0], plain[1:])
    return np.array([*score.counts, *score.totals, score.sys_len, score.ref_len], np.int64)


def corpus_bleu(counts: Int64[NDArray[np.int64], " 10"], order: int) -> float:
    """BLEU of a corpus from the sum of its counts, 0 to 1, without smoothing.

    Source:
        Papineni et al. 2002, by sacrebleu (Post 2018, arXiv:1804.08771).
    """
    bleu = require("sacrebleu", extra=EXTRA).metrics.BLEU
    found, whole = counts[:order].tolist(), counts[MAX_ORDER : MAX_ORDER + order].tolist()
    score = bleu.compute_bleu(
        found, whole, int(counts[-2]), int(counts[-1]), smooth_method="none", max_ngram_order=order
    )
    return float(score.score) / 100


class _Tokenizer:
    """Ours, in the form that rouge-score asks for."""

    def tokenize(self, text: str) -> list[str]:
        return tokens(text)


@cache
def _rouge() -> Any:
    scorer = require("rouge_score.rouge_scorer", extra=EXTRA)
    return scorer.RougeScorer(["rougeL"], tokenizer=_Tokenizer())


def rouge_l(answer: str, reference: str) -> float:
    """F-measure of the longest common subsequence of `tokens`, 0 to 1.

    Source:
        Lin 2004, by rouge-score; its own tokens would leave nothing of Chinese.
    """
    return float(_rouge().score(reference, answer)["rougeL"].fmeasure)


class _NoSynonyms:
    """A WordNet without any word."""

    def synsets(self, word: str) -> tuple[()]:
        del word
        return ()


@cache
def _synonyms() -> Any:
    """WordNet where the user has its data, else None."""
    wordnet = require("nltk.corpus", extra=EXTRA).wordnet
    try:
        wordnet.ensure_loaded()
    except LookupError:
        return None
    return wordnet


def meteor_matching() -> str:
    """How METEOR matches words here, for the record."""
    return "exact, stem" if _synonyms() is None else "exact, stem, synonym"


@cache
def _stemmer() -> Any:
    return require("nltk.stem.porter", extra=EXTRA).PorterStemmer()


def meteor(answer: str, reference: str) -> float:
    """METEOR over `tokens`, 0 to 1: exact words, stems, and synonyms where WordNet is installed.

    Source:
        Lavie and Agarwal 2007, by nltk with its parameters (alpha 0.9, beta 3, gamma 0.5).
    """
    score = require("nltk.translate.meteor_score", extra=EXTRA).single_meteor_score
    words = _synonyms() or _NoSynonyms()
    return float(score(tokens(reference), tokens(answer), stemmer=_stemmer(), wordnet=words))


def versions() -> dict[str, str]:
    """How texts are scored, for the record: libraries, tokens, matching.

    Raises:
        PrerequisiteError: a library isn't installed.
    """
    from importlib.metadata import version

    for module in ("sacrebleu", "rouge_score", "nltk"):
        require(module, extra=EXTRA)
    return {
        "sacrebleu": version("sacrebleu"),
        "rouge-score": version("rouge-score"),
        "nltk": version("nltk"),
        "bleu_tokens": "13a in small letters for English, characters for Chinese",
        "rouge_meteor_tokens": "words in small letters, Chinese by characters",
        "meteor_matching": meteor_matching(),
    }
