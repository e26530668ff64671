"""The tile classifier supports or contradicts a sentence; deciding words carry confidence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ruichat.chat.support import (
    NEUTRAL,
    WrittenPiece,
    cited_for,
    classifier_support,
    denies,
    read_signal,
)
from ruichat.histology import CLASSES, KEYS


def regions(*keys: str) -> np.ndarray:
    rows = np.zeros((len(keys), len(CLASSES)), np.float32)
    for row, key in zip(rows, keys, strict=True):
        row[KEYS.index(key)] = 1
    return rows


ROWS = regions("lung_adenocarcinoma", "fat", "stroma")


@pytest.mark.parametrize(
    ("sentence", "support"),
    [
        ("There is fat in [R2].", 1.0),
        ("There is fat in [R1].", 0.0),
        ("There is fat in [R1][R2].", 0.5),
        ("Tumour is present.", 1.0),
        ("有肿瘤[R1]。", 1.0),
        ("肺腺癌位于[R2]。", 0.0),
        ("Adenocarcinoma in [R1].", 1.0),
        ("Lung squamous cell carcinoma in [R1].", 0.0),
        ("There is no tumour.", 0.0),
        ("未见坏死。", 1.0),
        ("No necrosis is seen.", 1.0),
        ("It is on the left.", NEUTRAL),
        ("There is fat in [R99].", 1.0),
        ("No necrosis is seen; the tissue is mainly fat [R2].", 1.0),
        ("未见肺腺癌；组织以脂肪组织为主[R2]。", 0.5),
        ("No, [R2] shows fat.", 1.0),
        ("否，[R3]为脂肪组织。", 0.0),
        ("[R2] is fat and [R3] is fibrous stroma.", 1.0),
        ("Yes, there is tumour: lung adenocarcinoma [R1].", 1.0),
    ],
)
def test_support(sentence: str, support: float) -> None:
    assert classifier_support(sentence, ROWS) == pytest.approx(support)


def test_only_deciding_words_count() -> None:
    pieces = [
        WrittenPiece("Indeed", math.log(0.2)),
        WrittenPiece(", ", math.log(0.3)),
        WrittenPiece("yes", math.log(0.9)),
        WrittenPiece(", ", 0.0),
        WrittenPiece("fat", math.log(0.8)),
        WrittenPiece(" in ", math.log(0.5)),
        WrittenPiece("[R2]", math.log(0.7)),
        WrittenPiece(".", 0.0),
    ]
    signal = read_signal(pieces, ROWS)
    assert signal.decision == pytest.approx(0.8)
    assert signal.wording == pytest.approx(math.sqrt(0.72))
    assert signal.pointing == pytest.approx(0.7)
    assert signal.support == 1


def test_a_word_of_several_pieces_counts_as_one() -> None:
    pieces = [WrittenPiece("neo", math.log(0.9)), WrittenPiece("plasm", math.log(0.5))]
    assert read_signal(pieces, ROWS).decision == pytest.approx(0.45)


def test_without_deciding_words_all_count() -> None:
    pieces = [WrittenPiece("Hm", math.log(0.4)), WrittenPiece(" ", math.log(0.1))]
    assert read_signal(pieces, ROWS).decision == pytest.approx(0.4)


def test_silence_is_no_confidence() -> None:
    assert read_signal([], ROWS).decision == 0


def test_regions_stand_for_the_tissue_of_their_clause() -> None:
    text = "Yes, there is tumour: carcinoma nests [R1][R2]; malignant glands [R3]. Also fat [R1]."
    assert cited_for(text) == {
        "R1": ("carcinoma_nests",),
        "R2": ("carcinoma_nests",),
        "R3": ("carcinoma_glands",),
    }
    assert cited_for("坏死见于 [R4]，脂肪组织见于 [R5]。") == {"R4": ("necrosis",), "R5": ("fat",)}
    assert cited_for("Look at [R1].") == {}


def test_what_a_sentence_denies() -> None:
    assert denies("No lymph node metastasis is seen; the tissue is fat [R1].", "nodal_metastasis")
    assert denies("未见淋巴结转移癌。", "nodal_metastasis")
    assert not denies("No fat is seen; lymph node metastasis [R1].", "nodal_metastasis")
    assert not denies("No tumour is seen.", "nodal_metastasis")
