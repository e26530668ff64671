"""Facts are measured, worded once for the prompt, and quoted with units."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.chat.facts import (
    Share,
    SlideFacts,
    TileReading,
    fact_values,
    facts_text,
    grade_focus,
    measure_facts,
    percent,
    render_facts,
    shares,
    tiles_to_read,
)
from ruichat.chat.warning_texts import warnings
from ruichat.errors import InputError
from ruichat.features.bag import FeatureBag
from ruichat.histology import CLASSES, KEYS
from ruichat.model.vocabulary import FACT_PIECES


def make_bag(n: int = 10, **changes: object) -> FeatureBag:
    bag = FeatureBag(
        embeddings=np.zeros((n, 4), np.float32),
        xy0=np.array([[i * 224, 0] for i in range(n)], np.int64),
        span0=224,
        base_mpp=0.5,
        size0=(n * 224, 224),
        focus=np.full(n, 0.7, np.float32),
        hematoxylin=np.full(n, 0.3, np.float32),
        eosin=np.full(n, 0.2, np.float32),
        tissue_area_mm2=2.0,
        encoder="e",
        encoder_digest="d",
        slide_digest="s",
        fingerprint="f",
        warnings=("mind the gap",),
    )
    return dataclasses.replace(bag, **changes)


def probabilities(keys: list[str], p: float = 0.8) -> np.ndarray:
    """Tiles that show these classes with probability p, stroma otherwise."""
    rows = np.zeros((len(keys), len(CLASSES)), np.float32)
    rows[:, KEYS.index("stroma")] = 1 - p
    for row, key in zip(rows, keys, strict=True):
        row[KEYS.index(key)] += p
    return rows


def test_measured_shares() -> None:
    keys = ["carcinoma_nests"] * 3 + ["necrosis"] * 2 + ["stroma"] * 5
    known = np.array([0.5] * 9 + [0.01], np.float32)
    facts = measure_facts(
        make_bag(), num_regions=4, reading=TileReading(probabilities(keys), known)
    )
    assert facts.composition[0] == Share("stroma", 0.5)
    assert facts.tumour_fraction == pytest.approx(0.3)
    assert facts.tumour_mm2 == pytest.approx(0.6)
    assert facts.fraction("necrosis") == pytest.approx(0.2)
    assert facts.fraction("fat") == 0
    assert facts.known_fraction == pytest.approx(0.9)
    assert (facts.stain, facts.focus_grade) == ("H&E", "good")
    assert facts.warnings == ("mind the gap",)


def test_tiles_that_look_like_nothing_known_are_left_out_and_told() -> None:
    keys = ["carcinoma_nests"] * 3 + ["stroma"] * 7
    known = np.array([0.0] * 3 + [0.5] * 7, np.float32)
    assert tiles_to_read(known).tolist() == [False] * 3 + [True] * 7
    facts = measure_facts(
        make_bag(), num_regions=4, reading=TileReading(probabilities(keys), known)
    )
    assert facts.composition == (Share("stroma", 1.0),) and facts.tumour_fraction == 0
    assert facts.num_tiles == 10 and facts.left_out_fraction == pytest.approx(0.3)
    assert any("30% of the tissue was not read" in w for w in warnings(facts, True, "en"))
    assert any("30%的组织未读取" in w for w in warnings(facts, True, "zh"))
    assert tiles_to_read(np.zeros(4, np.float32)).all(), "an unknown slide is refused elsewhere"


def test_warnings_of_the_slide_are_told_in_chinese() -> None:
    facts = measure_facts(
        make_bag(he_share=0.07),
        num_regions=1,
        reading=TileReading(probabilities(["fat"] * 10), np.ones(10, np.float32)),
    )
    raw = (
        "stain is implausible for H&E: 7% of the tissue has its colours. Check the stain",
        "--mpp 0.5 contradicts the file's 0.25 um/px: the file's is used",
        "the file states 350 um/px, which is implausible: --mpp is used",
        "pixels are not square (0.25 x 0.5 um): 0.35 is used",
    )
    told = warnings(dataclasses.replace(facts, warnings=raw), True, "zh")
    assert len(told) == len(raw) and all(text[0] >= "\u4e00" or "文件" in text for text in told)
    assert "7%" in told[0] and "0.25" in told[1] and "350" in told[2] and "0.35" in told[3]
    english = warnings(dataclasses.replace(facts, warnings=raw), True, "en")
    assert english == raw


def test_tumour_needs_more_than_half_the_probability_over_all_malignant_classes() -> None:
    rows = np.zeros((10, len(CLASSES)), np.float32)
    rows[:, KEYS.index("stroma")] = 0.44
    rows[:, KEYS.index("carcinoma_nests")] = 0.28
    rows[:, KEYS.index("carcinoma_glands")] = 0.28
    facts = measure_facts(
        make_bag(),
        num_regions=1,
        reading=TileReading(rows, np.ones(10, np.float32)),
    )
    assert facts.tumour_fraction == 1
    assert facts.composition == (Share("stroma", 1.0),)


@pytest.mark.parametrize(("he_share", "stain"), [(1.0, "H&E"), (0.07, "atypical")])
def test_the_stain_is_judged_by_the_colours_of_the_tissue(he_share: float, stain: str) -> None:
    facts = measure_facts(
        make_bag(he_share=he_share),
        num_regions=1,
        reading=TileReading(probabilities(["fat"] * 10), np.ones(10, np.float32)),
    )
    assert facts.stain == stain


def test_a_classifier_that_does_not_fit_the_bag_is_refused() -> None:
    with pytest.raises(InputError, match="doesn't fit"):
        measure_facts(
            make_bag(),
            num_regions=1,
            reading=TileReading(probabilities(["fat"] * 9), np.ones(9, np.float32)),
        )


def test_without_a_classifier_nothing_is_said_of_composition() -> None:
    facts = measure_facts(make_bag(), num_regions=4, reading=None)
    assert not facts.is_classified
    assert (facts.composition, facts.tumour_mm2, facts.known_fraction) == ((), None, None)
    assert facts_text(facts).endswith("composition unknown")
    plain = facts.to_json()
    assert plain["tumour_fraction"] is plain["known_fraction"] is plain["tumour_mm2"] is None
    assert fact_values(facts, "en")["{tumour_percent}"] == "(not measured)"
    assert fact_values(facts, "zh").keys() == set(FACT_PIECES)
    assert any("no tile classifier" in w for w in warnings(facts, True, "en"))
    assert any("没有图块分类器" in w for w in warnings(facts, True, "zh"))


def test_impossible_facts_are_refused() -> None:
    facts = measure_facts(
        make_bag(),
        num_regions=1,
        reading=TileReading(probabilities(["fat"] * 10), np.ones(10, np.float32)),
    )
    for change in ({"known_fraction": 1.5}, {"num_tiles": 0}, {"tissue_mm2": float("nan")}):
        with pytest.raises(InputError):
            dataclasses.replace(facts, **change)


def test_the_prompt_line_names_what_was_measured() -> None:
    facts = measure_facts(
        make_bag(),
        num_regions=4,
        reading=TileReading(probabilities(["fat"] * 7 + ["stroma"] * 3), np.ones(10, np.float32)),
    )
    line = facts_text(facts)
    assert "2.0 mm2" in line and "10 tiles" in line
    assert "good" in line and "H&E" in line
    assert "fat 70%, fibrous stroma 30%" in line
    assert "\n" not in line


def test_stray_tiles_and_silence_in_the_composition() -> None:
    few = (Share("fat", 0.99), Share("mucus", 0.01))
    assert render_facts(1.0, 100, "good", "H&E", few).endswith("fat 99%")
    assert render_facts(1.0, 100, "good", "H&E", ()).endswith("composition unknown")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_fact_piece_has_a_value(language: str, facts: SlideFacts) -> None:
    values = fact_values(facts, language)  # type: ignore[arg-type]
    assert set(values) == set(FACT_PIECES)
    assert all(value.strip() for value in values.values())


@pytest.fixture
def facts() -> SlideFacts:
    return SlideFacts(12.34, 800, 32, 0.4992, (Share("fat", 1.0),), 0.004, 0.7, "good", "H&E", 0.9)


def test_values_carry_units_and_small_shares_are_not_none(facts: SlideFacts) -> None:
    values = fact_values(facts, "en")
    assert values["{tissue_mm2}"] == "12 mm²"
    assert values["{tumour_percent}"] == "1%"
    assert values["{necrosis_percent}"] == "0%"
    assert values["{tumour_mm2}"] == "0.049 mm²"
    assert values["{mpp}"] == "0.499 µm/px"


@given(st.lists(st.integers(0, 50), min_size=len(CLASSES), max_size=len(CLASSES)))
def test_shares_sum_to_one_and_fall(counts: list[int]) -> None:
    found = shares(np.array(counts))
    fractions = [share.fraction for share in found]
    assert fractions == sorted(fractions, reverse=True)
    assert not found or sum(fractions) == pytest.approx(1)


@given(st.floats(0, 1))
def test_percent_is_zero_only_for_nothing(fraction: float) -> None:
    assert 0 <= percent(fraction) <= 100
    assert (percent(fraction) == 0) == (fraction == 0)


@given(st.floats(0, 1), st.floats(0, 1))
def test_focus_grades_rise_with_focus(a: float, b: float) -> None:
    rank = ("poor", "fair", "good")
    low, high = sorted((a, b))
    assert rank.index(grade_focus(low)) <= rank.index(grade_focus(high))
