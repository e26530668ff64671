"""The stage from a checkpoint without thoughts to one that thinks and answers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("trl")

from fakes import MeanColourEncoder
from fakes_model import TEXT, tiny_slide

from ruichat.align.batches import write_turns
from ruichat.align.laid_settings import CalibrateConfig, LaidTraining
from ruichat.align.loop import LoopConfig
from ruichat.align.think import laid
from ruichat.align.think.config import LaidThinkConfig
from ruichat.align.think.questions import LaidQuestions
from ruichat.align.think.rules import ReinforceConfig
from ruichat.align.think.stage import think
from ruichat.chat.backend import CLASSIFIER_FILE
from ruichat.cli import main as cli
from ruichat.errors import ArtifactError, ConfigError, PrerequisiteError
from ruichat.features.encoder import ENCODERS
from ruichat.features.tile_classifier import load_tile_classifier
from ruichat.model import rehearsed
from ruichat.model.checkpoint import MINI_DIR, load_checkpoint, save_checkpoint
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.rehearsed import REPLAY_FILE
from ruichat.model.trainable import load_trainable
from ruichat.truth.bags import BagMaker
from ruichat.truth.bank import TileBank
from ruichat.truth.dialogues import Balance
from ruichat.truth.symbolic import SymbolicConfig

LAYOUT = SymbolicConfig(max_regions=3, min_side=2, max_side=3)


@pytest.fixture(scope="module")
def start(processor: RuiChatProcessor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that knows no thoughts, as mini's."""
    return write_start(tmp_path_factory.mktemp("start") / "lm", processor)


def write_start(folder: Path, processor: RuiChatProcessor, encoder: str = "mini") -> Path:
    torch.manual_seed(0)
    text = {**TEXT, "max_position_embeddings": 1024, "vocab_size": processor.vocab_size}
    dim = ENCODERS.get(encoder).dim
    config = RuiChatConfig(text_config=text, encoder=encoder, bag_dim=dim, pool_heads=4)
    return save_checkpoint(
        folder,
        RuiChatForConditionalGeneration(config),
        processor,
        name="start",
        encoder_digest="ab",
    )


def config_of(start: Path, bank: Path, **more: Any) -> LaidThinkConfig:
    return LaidThinkConfig(
        model=str(start),
        name="thinker",
        bank=bank,
        bags=LAYOUT,
        teach=LaidTraining(
            slides_per_step=1,
            row_tokens=16,
            thoughts=1.0,
            loop=LoopConfig(steps=3, learning_rate=1e-3),
        ),
        reinforce=ReinforceConfig(
            steps=1, questions_per_step=1, group=2, rows=2, max_tokens=8, num_held_out=2,
            kinds=("content",),
        ),
        calibrate=None,
        **more,
    )  # fmt: skip


def test_the_stage_ends_with_a_checkpoint_that_thinks(
    start: Path, bank: TileBank, tmp_path: Path
) -> None:
    bank.save(tmp_path / "bank.npz")
    config = config_of(start, tmp_path / "bank.npz")
    lines: list[str] = []
    folder = think(config, Path(), tmp_path / "out", lines.append)
    assert any("teach trains" in line for line in lines), lines
    model = load_checkpoint(folder)
    assert model.name == "thinker"
    session = model.open(tiny_slide(like=model))
    pieces = list(session.fork().stream("Fat?", max_tokens=4, think=True, max_thought_tokens=4))
    assert pieces[0].thought and pieces[0].token_id == model.processor.pieces.think
    assert not any(piece.thought for piece in session.fork().stream("?", max_tokens=3, think=False))
    again: list[str] = []
    assert think(config, Path(), tmp_path / "out", again.append) == folder
    assert not any("step 1/1" in line for line in again), "done already"


def test_weights_apart_leave_those_that_answer_at_once_as_they_were(
    start: Path, bank: TileBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank.save(tmp_path / "bank.npz")
    own = tmp_path / "own"
    shutil.copytree(start, own)
    (own / "calibration.json").write_text("{}")
    (own / "calibration-thinking.json").write_text("{}")
    # As the embedded model, beside which lies what is rehearsed.
    monkeypatch.setattr(rehearsed, "MINI_DIR", own)
    shutil.copy(MINI_DIR.parent / REPLAY_FILE, tmp_path)
    config = config_of(own, tmp_path / "bank.npz", apart=True)
    folder = think(config, Path(), tmp_path / "out", print)
    for path in own.iterdir():
        if path.name == "calibration-thinking.json":
            assert not (folder / path.name).exists(), "of other thoughts"
        else:
            assert (folder / path.name).read_bytes() == path.read_bytes(), path.name
    assert (folder / REPLAY_FILE).is_file()
    model = load_checkpoint(folder)
    assert model.thinks and not model.has_thoughts and model.name == "start"
    session = model.open(tiny_slide(like=model))
    assert next(session.stream("Fat?", max_tokens=4, think=True)).thought


def test_what_is_missing_is_told_before_anything_starts(
    start: Path, bank: TileBank, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PrerequisiteError, match="no embeddings of tiles"):
        think(config_of(start, Path("none.npz")), tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="neither mini nor a checkpoint folder"):
        bank.save(tmp_path / "bank.npz")
        think(config_of(tmp_path / "gone", Path("bank.npz")), tmp_path, tmp_path / "out")
    (tmp_path / "bad.yaml").write_text(
        "bank: x\nteach: {thoughts: 0, loop: {steps: 3, learning_rate: 1}}"
    )
    assert cli.run(["align", "think", "--config", str(tmp_path / "bad.yaml")]) == 2
    assert "nothing would be thought" in capsys.readouterr().err


def test_it_calibrates_with_the_classifier_that_the_model_has(
    processor: RuiChatProcessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the encoder's weights here; all before anything is learnt."""
    folder = write_start(tmp_path / "lm", processor, "uni2-h")
    monkeypatch.setattr(laid, "load_encoder", lambda name: MeanColourEncoder(name=name))
    config = config_of(folder, Path("none.npz")).model_copy(update={"calibrate": CalibrateConfig()})
    with pytest.raises(ConfigError, match="no tile classifier to calibrate with"):
        think(config, tmp_path, tmp_path / "out")
    load_tile_classifier().save(folder / CLASSIFIER_FILE)
    with pytest.raises(ArtifactError, match=r"the tile classifier of .* reads encoder weights"):
        think(config, tmp_path, tmp_path / "out")
    own = replace(load_tile_classifier(), encoder_digest=MeanColourEncoder(name="uni2-h").digest)
    own.save(folder / CLASSIFIER_FILE)
    with pytest.raises(PrerequisiteError, match="no embeddings of tiles"):
        think(config, tmp_path, tmp_path / "out")


def test_the_shipped_recipe_is_read() -> None:
    recipe = Path(__file__).parents[4] / "configs" / "mini" / "think.yaml"
    config = LaidThinkConfig.from_yaml(recipe)
    assert config.reinforce is not None and config.teach.thoughts > 0


def test_rows_of_thoughts_are_kept_where_a_model_has_them(start: Path, tmp_path: Path) -> None:
    found = load_trainable(start, add_pieces=True, fold=True)
    model, processor = found.model, found.processor
    assert model.config.num_added == len(processor.pieces.added) == 2
    assert model.pieces is not None
    with torch.no_grad():
        model.pieces.embed.fill_(0.5)
    folder = save_checkpoint(tmp_path / "lm", model, processor, name="two", encoder_digest="ab")
    again = load_trainable(folder, add_pieces=True, fold=True).model
    assert again.pieces is not None and bool((again.pieces.embed == 0.5).all())


def test_questions_are_the_same_by_number(bags: BagMaker, processor: RuiChatProcessor) -> None:
    one, other = (
        LaidQuestions(bags, processor, seed=(0, 1), num=6, kinds=("where", "content"))
        for _ in range(2)
    )
    for number in (3, 0, 5):
        assert one.question(number) == other.question(number)
        assert one.question(number).truth.kind in ("where", "content")
        assert one.question(number).prompt_ids[-1] == processor.pieces.think
    assert len({one.question(number).prompt_ids for number in range(6)}) > 3
    batch = one.regions([1, 2])
    assert batch.tile_embeddings.shape[0] == batch.region_mask.shape[0] == 2


def test_answers_are_thought_about_as_often_as_asked(
    bags: BagMaker, processor: RuiChatProcessor
) -> None:
    slide = bags.draw(np.random.default_rng(1)).truth

    def thoughts(share: float) -> tuple[int, int]:
        ids: list[int] = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            ids += write_turns(slide, rng, Balance(), processor, 4000, share).input_ids
        return ids.count(processor.pieces.think), ids.count(processor.end_id)

    assert thoughts(0.0)[0] == 0
    some, answers = thoughts(0.5)
    assert 0.3 * answers < some < 0.7 * answers
    every, answers = thoughts(1.0)
    assert every == answers
