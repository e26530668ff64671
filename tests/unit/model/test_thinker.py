"""A model that thinks with weights of its own, and answers at once with the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fakes_model import TEXT, tiny_slide

from ruichat.errors import ArtifactError
from ruichat.features.encoder import ENCODERS
from ruichat.model.checkpoint import load_checkpoint, save_checkpoint
from ruichat.model.checkpoint_files import MANIFEST_FILE, THINKING_DIR
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.native import NativeChatModel, NativeSession
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.release import export, merge
from ruichat.model.trainable import load_trainable

FIRST, SECOND = "Is there fat?", "And where is it?"


@pytest.fixture(scope="module")
def folders(processor: RuiChatProcessor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint without thoughts; `both` has another beside it that thinks."""
    top = tmp_path_factory.mktemp("models")
    text = {**TEXT, "max_position_embeddings": 1024, "vocab_size": processor.vocab_size}
    config = RuiChatConfig(text_config=text, bag_dim=ENCODERS.get("mini").dim, pool_heads=4)
    for seed, name in enumerate(("alone", "both", f"both/{THINKING_DIR}")):
        torch.manual_seed(max(seed, 1))
        model = RuiChatForConditionalGeneration(config)
        save_checkpoint(top / name, model, processor, name="tiny", encoder_digest="")
    found = load_trainable(top / "both" / THINKING_DIR, add_pieces=True, fold=True)
    save_checkpoint(
        top / "both" / THINKING_DIR, found.model, processor, name="tiny", encoder_digest=""
    )
    return top


def said(session: NativeSession, question: str, *, think: bool) -> list[tuple[int, bool]]:
    pieces = session.stream(question, max_tokens=5, think=think, max_thought_tokens=4)
    return [(piece.token_id, piece.thought) for piece in pieces]


def opened(model: NativeChatModel) -> NativeSession:
    return model.open(tiny_slide(like=model))


def test_answers_without_a_thought_are_those_of_the_first_weights(folders: Path) -> None:
    alone, both = load_checkpoint(folders / "alone"), load_checkpoint(folders / "both")
    assert both.thinks and not alone.thinks
    first, second = opened(alone), opened(both)
    for question in (FIRST, SECOND):
        wanted = said(first, question, think=False)
        assert said(second, question, think=False) == wanted
    assert first.score(FIRST, ["yes", "no"]) == second.score(FIRST, ["yes", "no"])


def test_thoughts_are_those_of_the_thinker(folders: Path) -> None:
    both, thinker = (
        load_checkpoint(folders / "both"),
        load_checkpoint(folders / "both" / THINKING_DIR),
    )
    dialogue, alone = opened(both), opened(thinker)
    said(dialogue.fork(), FIRST, think=False)
    found = said(dialogue, FIRST, think=True)
    assert found == said(alone, FIRST, think=True)
    assert dialogue.usage == alone.usage is not None and dialogue.was_cut == alone.was_cut
    assert found[0] == (both.processor.pieces.think, True) and not found[-1][1]


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_each_hears_what_the_other_said(folders: Path, order: tuple[bool, bool]) -> None:
    both = load_checkpoint(folders / "both")
    dialogue = opened(both)
    said(dialogue, FIRST, think=order[0])
    (turn,) = dialogue.turns
    twin = dialogue.fork()
    told = opened(both if order[0] else load_checkpoint(folders / "both" / THINKING_DIR))
    told.hear(turn)
    wanted = said(told, SECOND, think=order[1])
    assert said(dialogue, SECOND, think=order[1]) == wanted
    assert len(dialogue.turns) == 2 and len(twin.turns) == 1
    assert said(twin, SECOND, think=order[1]) == wanted
    assert twin.num_tokens > both.open(None).num_tokens


def test_both_are_released(folders: Path, tmp_path: Path) -> None:
    wanted = said(opened(load_checkpoint(folders / "both", "torch")), FIRST, think=True)
    card = {"licence": "Apache-2.0", "data": "Drawn slides."}
    for folder in (
        merge(folders / "both", tmp_path / "merged"),
        export(folders / "both", tmp_path / "release", **card),
    ):
        model = load_checkpoint(folder, "torch")
        assert said(opened(model), FIRST, think=True) == wanted


def test_memory_of_what_the_thinker_read_counts_once(folders: Path) -> None:
    slide = opened(load_checkpoint(folders / "both"))
    before, dialogue = slide.num_bytes, slide.fork()
    said(dialogue, FIRST, think=True)
    assert slide.num_bytes > before and dialogue.num_bytes > before
    plain = slide.fork()
    said(plain, FIRST, think=False)
    assert plain.num_bytes < slide.num_bytes


def test_weights_that_read_something_else_are_refused(folders: Path, tmp_path: Path) -> None:
    folder = export(folders / "both", tmp_path / "it", licence="MIT", data="Drawn slides.")
    thinking = load_trainable(folder / THINKING_DIR, add_pieces=False, fold=True)
    save_checkpoint(
        folder / THINKING_DIR, thinking.model, thinking.processor, name="x", encoder_digest="other"
    )
    with pytest.raises(ArtifactError, match=r"thinking reads .*'other'"):
        load_checkpoint(folder)
    (folder / THINKING_DIR / MANIFEST_FILE).unlink()
    with pytest.raises(ArtifactError, match="not a checkpoint"):
        load_checkpoint(folder)
