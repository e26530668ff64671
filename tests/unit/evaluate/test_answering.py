"""Batches say what the chat says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes_model import tiny_model, train_tokenizer

from ruichat.errors import ConfigError
from ruichat.evaluate.answering import BatchAnswerer, Prompt, SessionAnswerer
from ruichat.evaluate.controls import Shown
from ruichat.model.checkpoint import load_checkpoint, save_checkpoint
from ruichat.model.native import NativeChatModel
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.regions import split_regions

QUESTIONS = (
    "Is there tumour on this slide, and where?",
    "What tissue is in region [R3]?",
    "切片上有肿瘤吗？在哪里？",
    "Compare R1 with R2.",
)
MAX_TOKENS = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NativeChatModel:
    folder = tmp_path_factory.mktemp("checkpoint")
    processor = RuiChatProcessor(train_tokenizer(folder))
    tiny = tiny_model(processor.vocab_size)
    save_checkpoint(folder / "lm", tiny, processor, name="tiny", encoder_digest="d1")
    return load_checkpoint(folder / "lm", "torch")


def show(seed: int, *, num_tiles: int, max_regions: int, blind: bool = False) -> Shown:
    rng = np.random.default_rng(seed)
    xy0 = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(-1, 2)[:num_tiles] * 224
    regions = split_regions(xy0.astype(np.int64), 224, 0.5, (2000, 2000), max_regions)
    tiles = rng.standard_normal((num_tiles, 12)).astype(np.float32)
    return Shown(tiles, regions, "" if blind else "3.1 mm2; focus good", blind)


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    shown = [
        show(0, num_tiles=40, max_regions=6),
        show(1, num_tiles=9, max_regions=3),
        show(2, num_tiles=30, max_regions=5),
    ]
    return [Prompt(item, question) for item in shown for question in QUESTIONS]


def test_a_batch_answers_as_the_session_does(model: NativeChatModel, prompts: list[Prompt]) -> None:
    alone = SessionAnswerer(model, "mini", "d1").answer(prompts, max_tokens=MAX_TOKENS)
    ticks: list[int] = []
    together = BatchAnswerer(model, batch=5).answer(
        prompts, max_tokens=MAX_TOKENS, tick=lambda done, total: ticks.append(done)
    )
    assert [w.text for w in together] == [w.text for w in alone]
    assert len({w.text for w in together}) > 3
    for one, other in zip(together, alone, strict=True):
        assert [p.token_id for p in one.pieces] == [p.token_id for p in other.pieces]
        assert [p.region for p in one.pieces] == [p.region for p in other.pieces]
        assert np.allclose(
            [p.logprob for p in one.pieces], [p.logprob for p in other.pieces], atol=1e-3
        )
    assert ticks[-1] == len(prompts)


def test_a_batch_thinks_as_the_session_does(tmp_path: Path, prompts: list[Prompt]) -> None:
    processor = RuiChatProcessor(train_tokenizer(tmp_path))
    few = prompts[2:5]
    longest = max(
        len(processor.prefix_ids(len(p.shown.regions), p.shown.facts))
        + len(processor.question_ids(p.question))
        for p in few
    )
    # Room for thoughts of a dozen text tokens, so that some have to be closed.
    text = {"max_position_embeddings": longest + 24}
    num_added = len(processor.pieces.added)
    tiny = tiny_model(processor.vocab_size, num_added=num_added, text=text)
    save_checkpoint(tmp_path / "lm", tiny, processor, name="thinker", encoder_digest="d1")
    model = load_checkpoint(tmp_path / "lm", "torch")
    answers = {
        think: (
            SessionAnswerer(model, "mini", "d1", think=think).answer(few, max_tokens=6),
            BatchAnswerer(model, batch=3, think=think).answer(few, max_tokens=6),
        )
        for think in (False, True)
    }
    for alone, together in answers.values():
        assert [w.text for w in alone] == [w.text for w in together]
    assert answers[True][0] != answers[False][0]
    hidden = {processor.pieces.think, processor.pieces.think_end}
    written = [piece for given in answers.values() for w in given[1] for piece in w.pieces]
    assert not hidden & {piece.token_id for piece in written}


def test_a_thought_is_not_asked_of_a_model_without(model: NativeChatModel) -> None:
    with pytest.raises(ConfigError, match="wasn't trained to think"):
        BatchAnswerer(model, batch=8, think=True)


def test_the_size_of_a_batch_changes_nothing(model: NativeChatModel, prompts: list[Prompt]) -> None:
    texts = [
        [w.text for w in BatchAnswerer(model, batch=size).answer(prompts, max_tokens=MAX_TOKENS)]
        for size in (1, 12)
    ]
    assert texts[0] == texts[1]


def test_the_blind_see_nothing(model: NativeChatModel) -> None:
    shown = [show(seed, num_tiles=30, max_regions=5, blind=True) for seed in (0, 1)]
    seen = [show(seed, num_tiles=30, max_regions=5) for seed in (0, 1)]
    batch = BatchAnswerer(model, batch=8)
    texts = [
        [w.text for w in batch.answer([Prompt(s, q) for q in QUESTIONS], max_tokens=MAX_TOKENS)]
        for s in (*shown, *seen)
    ]
    assert texts[0] == texts[1]
    assert texts[2] != texts[3]
