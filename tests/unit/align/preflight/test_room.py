"""A training that can't run is refused before anything is loaded, with what would."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fakes_align import align_settings, settings_of, write_site
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ruichat.align.adaptation.adapt import AdaptConfig, adapt
from ruichat.align.preflight import room as room_module
from ruichat.align.preflight.memory import Memory, Plan
from ruichat.align.preflight.propose import CARDS
from ruichat.align.preflight.room import Launch, Need, NoRoomError, Room, Way, require_room
from ruichat.align.preflight.shapes import QWEN3, RegionShape
from ruichat.align.preflight.ways import Names, Shapes, Size, need_of
from ruichat.align.pretraining.needs import vision_needs
from ruichat.align.pretraining.settings import DistillConfig, PretrainConfig
from ruichat.align.pretraining.stage import train_tile_encoder
from ruichat.align.stages.align import AlignConfig, align_needs, train_align
from ruichat.align.stages.instruct import InstructConfig, train_instruct
from ruichat.align.think.config import LaidThinkConfig
from ruichat.align.think.stage import think
from ruichat.cli.main import app
from ruichat.cli.needs import KNOWN, stage_of
from ruichat.cli.planning import CARD_NAMES
from ruichat.errors import ConfigError
from ruichat.model.checkpoint import MINI_DIR

RECIPES = Path("configs/align")

SHAPES = Shapes(QWEN3["Qwen3-8B"], RegionShape(1536, 4096), "bf16")
NAMES = Names("training.gradient_checkpointing", "lora.rank", "language_model.quantise")
SIZES = [Size({"tokens": 8192 >> i} if i else {}, 8192 >> i, 4096 >> i) for i in range(5)]


def need(**changes: Any) -> Need:
    plan = Plan("bf16", 64, 0, 0, recompute=False)
    return need_of("instruct", SHAPES, replace(plan, **changes), SIZES, NAMES, Launch())


@settings(max_examples=40, deadline=None)
@given(st.floats(1, 120))
def test_what_is_proposed_fits_and_is_no_smaller_than_it_must_be(free_gb: float) -> None:
    found, room = need(), Room("cuda:0", free_gb * 1e9)
    try:
        require_room(found, room)
        assert room.fits(found.ways[0].memory)
    except NoRoomError as error:
        fitting = [way for way in found.ways if room.fits(way.memory)]
        if not fitting:
            assert "even with" in error.hint and "larger card" in error.hint
            return
        assert fitting[0].spelled in error.hint and fitting[0].settings
        gb = re.search(r": ([0-9.]+) GB; or start it with --anyway", error.hint)
        assert gb is not None and float(gb[1]) <= free_gb + 0.05


def test_the_largest_part_is_named() -> None:
    small = need(recompute=True).ways[-1]
    with pytest.raises(NoRoomError, match=r"GB of it for frozen weights; 5.0 GB are free on x"):
        require_room(Need("instruct", (small,)), Room("x", 5e9))
    wide = Need("teach", (Way({}, Memory(1e9, 1e9, 8e9, 2e9)),))
    with pytest.raises(NoRoomError, match=r"teach takes 14.2 GB, 8.0 GB of it for activations"):
        require_room(wide, Room("x", 9e9))
    # On a CPU libraries need no memory of a card.
    require_room(wide, Room("x", 13.1e9, is_card=False))


def test_the_remedy_is_spelled_as_the_file_has_it() -> None:
    found = need()
    spelled = [way.spelled for way in found.ways]
    assert spelled[0] == "" and spelled[1] == "training.gradient_checkpointing: true"
    assert "tokens: 4096" in spelled[2]
    assert any("language_model.quantise: 4bit" in one for one in spelled)
    assert not any("4bit" in way.spelled for way in _sharded().ways)


def _sharded() -> Need:
    plan = Plan("bf16", 64, 0, 0)
    return need_of("instruct", SHAPES, plan, SIZES, NAMES, Launch(8, sharded=True))


def test_smaller_parts_of_a_batch_and_recomputing_take_less() -> None:
    config = PretrainConfig.from_yaml(RECIPES / "pretrain-small.yaml")
    (found,) = vision_needs(config, Launch())
    totals = {way.spelled: way.memory.total for way in found.ways}
    assert totals[""] > totals["loop.gradient_checkpointing: true"] > totals["micro_batch: 2"]
    assert {way.settings.get("micro_batch", 32) for way in found.ways} == {32, 16, 8, 4, 2}


# Stages


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(tmp_path_factory.mktemp("site"))


def configs(site: Path) -> dict[str, Any]:
    loop = {"steps": 3, "learning_rate": 0.1}
    pretrain = yaml.safe_load((RECIPES / "pretrain-small.yaml").read_text())
    start = {"encoder": "dinov2-small"}
    return {
        "align": AlignConfig.model_validate(align_settings(site)),
        "instruct": InstructConfig.model_validate(settings_of(base=str(MINI_DIR))),
        "think": LaidThinkConfig.model_validate(
            {"bank": "bank.npz", "teach": {"thoughts": 0.5, "loop": loop}}
        ),
        "adapt": AdaptConfig.from_yaml(Path("configs/mini/adapt_polito.yaml")),
        "pretrain": PretrainConfig.model_validate(pretrain),
        "distill": DistillConfig.model_validate({**pretrain, "teachers": [start]}),
    }


RUN: dict[str, Any] = {
    "align": train_align,
    "instruct": train_instruct,
    "think": think,
    "adapt": adapt,
    "pretrain": train_tile_encoder,
    "distill": train_tile_encoder,
}


@pytest.mark.parametrize("stage", RUN)
def test_every_stage_is_refused_before_anything_is_read(
    stage: str, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_module, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", None)
    with pytest.raises(NoRoomError, match="GB are free on this machine") as error:
        RUN[stage](configs(site)[stage], tmp_path, tmp_path / "out", lambda line: None)
    assert re.search(r"takes [0-9.]+ GB", error.value.message)
    assert not list(tmp_path.rglob("*.pt"))


def test_a_stage_may_be_started_anyway(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "free_bytes", lambda device: 1000)
    told: list[str] = []
    config = configs(site)["align"]
    folder = train_align(config, site, site / "anyway", told.append, anyway=True)
    assert (folder / "model.safetensors").is_file()
    assert any(line.endswith("started anyway") for line in told)


def test_a_language_model_of_another_form_is_trained_unforetold(site: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_embd": 8}')
    values = align_settings(site)
    values["language_model"]["name"] = str(tmp_path)
    told: list[str] = []
    config = AlignConfig.model_validate(values)
    room_module.check_memory(lambda launch: align_needs(config, launch), told.append, anyway=False)
    assert told == [
        "memory isn't foretold: config.json of the language model lacks 'num_attention_heads'"
    ]


# The command


def plan(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["align", "plan", *arguments])


def test_plan_says_what_a_file_takes(site: Path) -> None:
    (site / "align.yaml").write_text(yaml.safe_dump(align_settings(site)))
    done = plan("--config", str(site / "align.yaml"), "--card", "24gb")
    assert done.exit_code == 0, done.output
    assert "activations" in done.stdout and "RTX 4090" in done.stdout


def test_plan_refuses_with_what_fits() -> None:
    recipe = str(RECIPES / "uni2-h_qwen3-8b_80gb_align.yaml")
    done = plan("--config", recipe, "--card", "24gb", "--json")
    assert isinstance(done.exception, NoRoomError)
    assert "batches.budget.tokens" in done.exception.hint
    assert '"fits": false' in done.stdout
    assert plan("--config", recipe, "--card", "80gb").exit_code == 0
    assert tuple(CARDS) == CARD_NAMES


def test_every_recipe_is_known_by_its_fields(tmp_path: Path) -> None:
    for path in [*RECIPES.glob("*.yaml"), Path("configs/mini/think.yaml")]:
        stage = stage_of(path)
        assert stage in path.name and stage in KNOWN
    (tmp_path / "x.yaml").write_text("steps: 3")
    with pytest.raises(ConfigError, match="for no stage"):
        stage_of(tmp_path / "x.yaml")
