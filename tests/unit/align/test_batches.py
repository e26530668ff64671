"""Batches: rows as long as asked, loss on the answers alone, padding that nothing reads."""

from __future__ import annotations

import numpy as np
import pytest

from ruichat.align.batches import collate_symbols, collate_words, write_turns
from ruichat.model.processing import IGNORED, Encoded, RuiChatProcessor
from ruichat.model.vocabulary import ASSISTANT, SPECIAL_PIECES
from ruichat.truth.dialogues import Balance
from ruichat.truth.symbolic import SymbolicConfig, SymbolicSlide, draw_symbolic_slide

ASSISTANT_ID = SPECIAL_PIECES.index(ASSISTANT)
SMALL = SymbolicConfig(max_regions=6)
# The tiny tokenizer spells half of the words by letter; some five turns fit into the larger.
TIGHT, LOOSE = 260, 520


def slide_of(seed: int) -> SymbolicSlide:
    return draw_symbolic_slide(np.random.default_rng(seed), SMALL)


def row(seed: int, processor: RuiChatProcessor, row_tokens: int) -> Encoded:
    return write_turns(
        slide_of(seed), np.random.default_rng(seed), Balance(), processor, row_tokens
    )


def num_turns(item: Encoded, processor: RuiChatProcessor) -> int:
    return item.input_ids.count(processor.end_id)


@pytest.mark.parametrize("row_tokens", [1, TIGHT, LOOSE])
def test_rows_fit_unless_one_turn_is_too_long(processor: RuiChatProcessor, row_tokens: int) -> None:
    rows = [row(seed, processor, row_tokens) for seed in range(40)]
    turns = [num_turns(item, processor) for item in rows]
    for item, num in zip(rows, turns, strict=True):
        assert num == 1 or len(item.input_ids) <= row_tokens
    assert min(turns) >= 1
    assert (max(turns) > 1) == (row_tokens > 1)


def test_turns_are_added_while_they_fit(processor: RuiChatProcessor) -> None:
    cut = 0
    for seed in range(20):
        whole = row(seed, processor, 100_000).input_ids
        tight = row(seed, processor, LOOSE).input_ids
        assert whole[: len(tight)] == tight
        if len(tight) < len(whole):
            cut += 1
            next_end = whole.index(processor.end_id, len(tight)) + 1
            assert next_end > LOOSE
    assert cut > 5


def test_only_answers_carry_a_loss(processor: RuiChatProcessor) -> None:
    for seed in range(10):
        item = row(seed, processor, LOOSE)
        answering = False
        for token, label in zip(item.input_ids, item.labels, strict=True):
            assert label == (token if answering else IGNORED)
            answering = token == ASSISTANT_ID or (answering and token != processor.end_id)
        assert not answering


def test_rows_begin_with_the_slide_they_are_about(processor: RuiChatProcessor) -> None:
    for seed in range(10):
        ids = row(seed, processor, LOOSE).input_ids
        bare = processor.prefix_ids(slide_of(seed).num_regions)
        assert ids[: len(bare)] == bare


def test_both_languages_are_drawn(processor: RuiChatProcessor) -> None:
    texts = [processor.decode(row(seed, processor, TIGHT).input_ids) for seed in range(20)]
    chinese = sum(any("\u4e00" <= char <= "\u9fff" for char in text) for text in texts)
    assert 3 <= chinese <= 17


def test_words_are_padded_in_steps_of_sixteen(processor: RuiChatProcessor) -> None:
    items = [row(seed, processor, LOOSE) for seed in range(5)]
    batch = collate_words(items, processor)
    longest = max(len(item.input_ids) for item in items)
    assert batch.input_ids.shape[1] % 16 == 0
    assert longest <= batch.input_ids.shape[1] < longest + 16
    assert batch.attention_mask.sum(1).tolist() == [len(item.input_ids) for item in items]
    for i, item in enumerate(items):
        n = len(item.input_ids)
        assert batch.input_ids[i, :n].tolist() == item.input_ids
        assert batch.labels[i, :n].tolist() == item.labels
        assert set(batch.labels[i, n:].tolist()) <= {IGNORED}


def test_symbols_are_padded_behind_a_mask() -> None:
    slides = [
        draw_symbolic_slide(np.random.default_rng(k), SymbolicConfig(max_regions=k, full_share=1))
        for k in (2, 5)
    ]
    batch = collate_symbols(slides)
    assert batch.mask.sum(1).tolist() == [slide.num_regions for slide in slides]
    for i, slide in enumerate(slides):
        k = slide.num_regions
        np.testing.assert_array_equal(batch.fractions[i, :k], slide.fractions)
        np.testing.assert_array_equal(batch.geometry[i, :k], slide.geometry)
        assert not batch.fractions[i, k:].any() and not batch.mask[i, k:].any()
