"""Words of other models become pieces, whatever they hold and however they are cut."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.model.chat_model import FOREIGN, Piece
from ruichat.model.foreign_words import MAX_PIECE_CHARS, ForeignWords

TAGS = ("<think>", "</think>", "<unused94>", "<unused95>", "<thi", "nk>")
WORDS = (
    "R7",
    "[R12]",
    "region ",
    "regions 3, 5 and 7",
    "区域3",
    "[",
    "R",
    "7",
    "Yes",
    " shows 40%",
)
BITS = st.sampled_from((*TAGS, *WORDS, ". ", "。", "，", " ", "\n"))
TEXTS = st.lists(BITS, max_size=30).map("".join)


def read(*bits: str, num_regions: int = 12, thinking: str = "") -> list[Piece]:
    words = ForeignWords(num_regions, thinking=thinking)
    pieces = [piece for bit in bits for piece in words.feed(bit, -0.5)]
    return pieces + list(words.end())


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if not piece.thought)


def regions_of(pieces: list[Piece]) -> list[int | None]:
    return [piece.region for piece in pieces if piece.text.startswith("[R") and not piece.thought]


@given(text=TEXTS, cuts=st.lists(st.integers(0, 200), max_size=8))
def test_it_does_not_matter_how_words_are_cut(text: str, cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    bits = [text[a:b] for a, b in itertools.pairwise(edges)]
    whole, parts = read(text), read(*bits)
    assert text_of(whole) == text_of(parts)
    assert regions_of(whole) == regions_of(parts)


@pytest.mark.parametrize(
    ("said", "shown", "regions"),
    [
        ("Tumour in [R7].", "Tumour in [R7].", [6]),
        ("Tumour in region 7 and R9.", "Tumour in [R7] and [R9].", [6, 8]),
        ("See regions 3, 5 and 12.", "See [R3], [R5] and [R12].", [2, 4, 11]),
        ("肿瘤见于区域3和第5区域。", "肿瘤见于[R3]和[R5]。", [2, 4]),
        ("Margins: R1 resection.", "Margins: R1 resection.", []),
        ("Region 40 and [R99] show it.", "[R40] and [R99] show it.", [None, None]),
        ("A 7 mm field.", "A 7 mm field.", []),
    ],
)
def test_regions_are_cited_however_they_are_named(
    said: str, shown: str, regions: list[int | None]
) -> None:
    pieces = read(*said)
    assert text_of(pieces) == shown
    cited = [piece for piece in pieces if piece.text.startswith("[R")]
    assert [piece.region for piece in cited] == regions
    assert all(piece.token_id == FOREIGN for piece in pieces)


def test_thoughts_are_told_from_words() -> None:
    pieces = read("<think>It may\x1b be R3.</think>", "Yes, R7.")
    assert text_of(pieces) == "Yes, [R7]." and pieces[0].thought
    assert "".join(p.text for p in pieces if p.thought) == "It may be R3."
    assert text_of(read("<unused94>thought\nhm<unused95>Yes.")) == "Yes."
    assert text_of(read("hm, R3</think>Yes.", thinking="<think>")) == "Yes."
    assert text_of(read("<think>never ends")) == ""
    assert text_of(read("a < b and <thin> sections")) == "a < b and <thin> sections"


def test_what_could_steer_a_terminal_or_hide_is_dropped() -> None:
    assert text_of(read("Yes\x1b[2J\x07\u202e\u200b.\tNo\n")) == "Yes[2J. No\n"


def test_a_citation_keeps_the_probability_of_its_pieces() -> None:
    words = ForeignWords(12)
    pieces = [p for bit in ("Yes ", "[", "R", "7", "]", ".") for p in words.feed(bit, -0.5)]
    pieces += words.end()
    assert [(p.text, p.logprob) for p in pieces] == [("Yes ", -0.5), ("[R7]", -2.0), (".", -0.5)]
    unknown = ForeignWords(12)
    assert math.isnan(next(iter(unknown.feed("Yes, ", math.nan))).logprob)


def test_a_huge_piece_is_cut() -> None:
    pieces = read("a" * 100_000)
    assert max(len(piece.text) for piece in pieces) == MAX_PIECE_CHARS
    assert text_of(pieces) == "a" * 100_000
