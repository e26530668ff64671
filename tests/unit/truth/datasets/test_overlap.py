"""What training and evaluation share is found, told with examples, and can be left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from published.dialogues import lines

from ruichat.truth.datasets.check import open_report
from ruichat.truth.datasets.likeness import ALIKE, TextIndex, likeness, pieces_of
from ruichat.truth.datasets.overlap import Overlap, OverlapError, find_overlap
from ruichat.truth.datasets.patients import Patients, UnknownPatientError

LONG = "Which of the following patterns does the tumour in this specimen show most of all?"


def one(at: int, text: str = "", answer: str = "It does.", **changes: Any) -> dict[str, Any]:
    return {
        "format": "ruichat-dialogue-1",
        "id": f"d{at}",
        "patient": f"P{at}",
        "slides": [f"S{at}"],
        "turns": [
            {"role": "user", "text": text or f"Question number {at}?"},
            {"role": "assistant", "text": answer},
        ],
    } | changes


class Sets:
    """Two files, compared."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def meet(
        self, train: list[dict[str, Any]], held: list[dict[str, Any]], rule: str = "record"
    ) -> Overlap:
        (self.folder / "train.jsonl").write_text(lines(train))
        (self.folder / "held.jsonl").write_text(lines(held))
        names = ("train.jsonl", "held.jsonl")
        files = [(open_report(self.folder / name), Patients.parse(rule)) for name in names]
        return find_overlap(files[:1], files[1:])


@pytest.fixture
def sets(tmp_path: Path) -> Sets:
    return Sets(tmp_path)


def test_nothing_shared_is_nothing_found(sets: Sets) -> None:
    overlap = sets.meet([one(1), one(2)], [one(3)])
    assert (overlap.num_train, overlap.num_evaluation, overlap.num_dialogues) == (2, 1, 0)
    overlap.require_none()


@pytest.mark.parametrize(
    ("train", "held", "sharing"),
    [
        (one(1, patient="p9 "), one(2, patient="P9"), "patient"),
        (one(1, slides=["A", "B"]), one(2, slides=["b"]), "slide"),
        (
            one(1, slides=["TCGA-21-1076-01Z-00-DX1.533CA070"]),
            one(2, slides=["tcga-21-1076-01z-00-dx1"]),
            "slide",
        ),
        (one(1, slides=[], tiles=["a/X.png"]), one(2, slides=[], tiles=["b/x.png"]), "tile"),
        (one(1, LONG), one(2, LONG.upper().replace("?", " ??")), "question"),
        (one(1, LONG), one(2, LONG.replace("specimen", "specimens")), "question"),
    ],
)
def test_whatever_is_shared_is_found(
    sets: Sets, train: dict[str, Any], held: dict[str, Any], sharing: str
) -> None:
    overlap = sets.meet([one(7), train], [held])
    assert dict(overlap.counts) == {sharing: 1}
    with pytest.raises(OverlapError) as caught:
        overlap.require_none()
    message = caught.value.message
    assert "train.jsonl line 2, record 2 and held.jsonl line 1, record 1" in message
    # People may be known by their numbers and slides.
    assert not any(name in message.lower() for name in ("p9", "tcga", "x.png"))
    assert "--out" in caught.value.hint
    assert set(overlap.records) == {(0, 2)}


def test_a_question_alone_is_evidence_where_nobody_knows_the_patient(sets: Sets) -> None:
    def tile(at: int, answer: str, text: str = LONG) -> dict[str, Any]:
        return one(at, text, answer, slides=[], tiles=[f"t{at}.png"], patient=None)

    shared = sets.meet([tile(1, "acinar")], [tile(2, "solid")], rule="unknown")
    assert dict(shared.counts) == {"question": 1}
    # Of one tile it may be asked often: the records don't hide each other.
    twice = [tile(1, "acinar"), tile(1, "solid")]
    for train in (twice, twice[::-1]):
        both = sets.meet(train, [tile(2, "solid")], rule="unknown")
        assert set(both.records) == {(0, 1), (0, 2)}
    known = [one(1, LONG, "acinar"), one(1, LONG, "solid")]
    for train in (known, known[::-1]):
        (record,) = sets.meet(train, [one(2, LONG, "solid")]).records
        assert train[record[1] - 1]["turns"][1]["text"] == "solid"
    # Of two known patients the same may be asked.
    assert not sets.meet([one(1, LONG, "acinar")], [one(2, LONG, "solid")]).counts
    # What is asked of several tiles is a template.
    many = [tile(1, "acinar"), tile(3, "acinar")]
    assert not sets.meet(many, [tile(2, "solid")], rule="unknown").counts
    assert not sets.meet([tile(2, "solid")], many, rule="unknown").counts
    # Short ones are asked everywhere.
    short = sets.meet([tile(1, "a", "what is seen?")], [tile(2, "b", "what is seen?")], "unknown")
    assert not short.counts


def test_reports_are_compared_by_what_they_say(sets: Sets) -> None:
    asked = "Write the microscopic report of this slide."
    report = "Sheets of atypical squamous cells with keratin pearls and brisk mitotic activity."
    same = [one(1, asked, report, kind="report")], [one(2, asked, report, kind="report")]
    assert dict(sets.meet(*same).counts) == {"question": 1}
    other = one(2, asked, "Normal lymph node, without tumour in three levels.", kind="report")
    assert not sets.meet(same[0], [other]).counts


def test_patients_that_cannot_be_told_are_asked_for(sets: Sets) -> None:
    with pytest.raises(UnknownPatientError, match=r"held\.jsonl line 1, record 1") as caught:
        sets.meet([one(1)], [one(2, patient=None)])
    assert "--patients" in caught.value.hint
    sets.meet([one(1)], [one(2, patient=None)], rule="unknown")


WORDS = st.lists(st.text("abcdefgh肿瘤", min_size=1, max_size=9), min_size=1, max_size=40)


@given(texts=st.lists(WORDS.map(" ".join), min_size=1, max_size=5))
def test_a_text_finds_itself_and_whatever_is_alike(texts: list[str]) -> None:
    index = TextIndex()
    for text in texts:
        index.add(text)
    for at, text in enumerate(texts):
        found = index.find(f" {text.upper()}! ")
        assert at in found
        alike = [likeness(pieces_of(text), pieces_of(other)) for other in texts]
        assert all(alike[number] >= ALIKE for number in found)


@given(words=WORDS.filter(lambda words: sum(map(len, words)) > 60), at=st.integers(0, 39))
def test_likeness_falls_with_what_is_changed(words: list[str], at: int) -> None:
    changed = list(words)
    changed[at % len(words)] = "zzzz"
    one, other = pieces_of(" ".join(words)), pieces_of(" ".join(changed))
    assert likeness(one, one) == 1.0
    assert 0.0 <= likeness(one, other) == likeness(other, one) < 1.0


@pytest.mark.parametrize(
    ("train", "held", "shared"),
    [
        ("a/0001.jpg", "b/0001.jpg", False),
        ("a/0001.jpg", "more\\A/0001.JPG", True),
        ("0001.jpg", "./0001.jpg", True),
        ("0001.jpg", "b/0001.jpg", True),
        ("a/0001.jpg", "0001.jpg", True),
        ("a/image_12.png", "b/image_12.png", False),
        ("a/3f2b9c01d4.png", "b/3f2b9c01d4.png", True),
    ],
)
def test_a_mere_number_names_a_tile_within_its_folder(
    sets: Sets, train: str, held: str, shared: bool
) -> None:
    found = sets.meet([one(1, slides=[], tiles=[train])], [one(2, slides=[], tiles=[held])])
    assert dict(found.counts) == ({"tile": 1} if shared else {})


def test_a_barcode_names_its_patient_whatever_the_rule(sets: Sets) -> None:
    slide = one(1, slides=["TCGA-21-1076-01Z-00-DX1"], patient=None)
    about = one(2, slides=[], patient="TCGA-21-1076")
    (sets.folder / "train.jsonl").write_text(lines([slide]))
    (sets.folder / "held.jsonl").write_text(lines([about]))
    train = (open_report(sets.folder / "train.jsonl"), Patients("slide"))
    held = (open_report(sets.folder / "held.jsonl"), Patients())
    assert dict(find_overlap([train], [held]).counts) == {"patient": 1}
