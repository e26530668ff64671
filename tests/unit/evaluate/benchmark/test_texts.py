from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")
pytest.importorskip("nltk")

import sacrebleu
from nltk.stem.porter import PorterStemmer
from nltk.translate.meteor_score import single_meteor_score
from rouge_score.rouge_scorer import RougeScorer

from ruichat.evaluate.benchmark.texts import (
    bleu_counts,
    corpus_bleu,
    meteor,
    rouge_l,
    shared_words,
    tokens,
)

WORDS = st.lists(
    st.sampled_from(["glands", "invade", "the", "stroma", "invading", "gland", "of", "fat"]),
    max_size=12,
)
TEXTS = WORDS.map(" ".join)


def test_tokens_are_words_and_single_chinese_characters() -> None:
    assert tokens("Well-differentiated, 0.5 cm [R7]: 鳞癌G2.") == [
        *("well", "differentiated", "0.5", "cm", "鳞", "癌", "g", "2"),
    ]


@pytest.mark.parametrize(
    ("answer", "reference", "recall", "precision"),
    [
        ("squamous carcinoma", "Squamous cell carcinoma.", 2 / 3, 1),
        ("the the the", "the fat", 0, 0),
        ("fat fat fat", "fat of fat", 2 / 3, 2 / 3),
        ("", "fat", 0, 0),
        ("腺癌", "肺腺癌", 2 / 3, 1),
    ],
)
def test_shared_words_by_hand(answer: str, reference: str, recall: float, precision: float) -> None:
    shared = shared_words(answer, reference)
    assert (shared.recall, shared.precision) == pytest.approx((recall, precision))


@given(TEXTS, TEXTS)
def test_recall_of_one_is_precision_of_the_other(one: str, two: str) -> None:
    here, back = shared_words(one, two), shared_words(two, one)
    assert here.recall == back.precision and here.f1 == back.f1
    assert here.exact == back.exact and (not here.exact or here.f1 == 1)


def test_bleu_by_hand() -> None:
    counts = bleu_counts("the cat sat on the mat", "The cat sat on a mat", "en")
    # 5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 quadruples; lengths 6 and 6.
    assert counts.tolist() == [5, 3, 2, 1, 6, 5, 4, 3, 6, 6]
    assert corpus_bleu(counts, 1) == pytest.approx(5 / 6)
    assert corpus_bleu(counts, 4) == pytest.approx((5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)


def test_chinese_is_counted_by_characters() -> None:
    assert bleu_counts("肺腺癌", "肺鳞癌", "zh").tolist()[:8] == [2, 0, 0, 0, 3, 2, 1, 0]


@settings(max_examples=40)
@given(st.lists(st.tuples(TEXTS, TEXTS.filter(bool)), min_size=1, max_size=5), st.integers(1, 4))
def test_bleu_of_summed_counts_is_the_library_s(pairs: list[tuple[str, str]], order: int) -> None:
    summed = np.sum([bleu_counts(answer, text, "en") for answer, text in pairs], axis=0)
    metric = sacrebleu.metrics.BLEU(
        lowercase=True, smooth_method="none", max_ngram_order=order, force=True
    )
    whole = metric.corpus_score([a for a, _ in pairs], [[r for _, r in pairs]])
    assert corpus_bleu(summed, order) == pytest.approx(whole.score / 100)


@settings(max_examples=40)
@given(TEXTS, TEXTS)
def test_rouge_of_english_is_that_of_the_library_s_own_tokens(answer: str, reference: str) -> None:
    theirs = RougeScorer(["rougeL"]).score(reference, answer)["rougeL"].fmeasure
    assert rouge_l(answer, reference) == pytest.approx(theirs)


def test_rouge_by_hand_in_both_languages() -> None:
    assert rouge_l("a b c d", "a c d e") == pytest.approx(0.75)
    assert rouge_l("肺腺癌", "肺鳞癌") == pytest.approx(2 / 3)


class Nothing:
    def synsets(self, word: str) -> list[str]:
        return []


@settings(max_examples=40)
@given(WORDS, WORDS)
def test_meteor_is_the_library_s(answer: list[str], reference: list[str]) -> None:
    theirs = single_meteor_score(reference, answer, stemmer=PorterStemmer(), wordnet=Nothing())
    assert meteor(" ".join(answer), " ".join(reference)) == pytest.approx(theirs)


def test_meteor_by_hand() -> None:
    # All four words in order and together: one chunk of four, penalty 0.5 / 4^3.
    assert meteor("fat of the stroma", "fat of the stroma") == pytest.approx(1 - 0.5 / 64)
    # "invading" and "invades" share their stem.
    assert meteor("invading", "invades") == pytest.approx(0.5)


@pytest.mark.parametrize("score", [rouge_l, meteor])
def test_nothing_shares_nothing(score) -> None:
    assert score("", "fat") == score("fat", "") == score("", "") == 0
    assert corpus_bleu(bleu_counts("", "fat", "en"), 4) == 0
