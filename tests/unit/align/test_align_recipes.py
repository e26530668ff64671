"""Recipes of real models: valid, of the right widths, and within what the preflight proposes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ruichat.align.preflight.propose import CARDS, USABLE, propose
from ruichat.align.preflight.room import Launch
from ruichat.align.preflight.shapes import QWEN3, RegionShape
from ruichat.align.preflight.ways import Shapes
from ruichat.align.stages.config import AlignConfig, InstructConfig
from ruichat.align.think.config import DialogueThinkConfig, read_config
from ruichat.align.think.needs import rewarded_need
from ruichat.cli.needs import KNOWN, stage_of
from ruichat.features.encoder import ENCODERS
from ruichat.registry import load_object

FOLDER = Path(__file__).parents[3] / "configs" / "align"
RECIPES = sorted(path.name for path in FOLDER.glob("*_qwen3-*.yaml"))
THOUGHTFUL = [name for name in RECIPES if name.endswith("_think.yaml")]
NAME = re.compile(
    r"(?P<encoder>[^_]+)_(?P<lm>qwen3-[^_]+)_((?P<num>\d+)x)?(?P<card>\d+gb)_\w+\.yaml"
)


def test_every_size_of_machine_has_both_stages() -> None:
    assert len(RECIPES) == 10 + len(THOUGHTFUL)
    for machine in ("_24gb", "_80gb", "_8x80gb", "_16x80gb"):
        for stage in ("align", "instruct"):
            assert any(name.endswith(f"{machine}_{stage}.yaml") for name in RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_the_preflight_proposes(name: str) -> None:
    match = NAME.fullmatch(name)
    assert match is not None
    card, num = ENCODERS.get(match["encoder"]), int(match["num"] or 1)
    shape = next(value for key, value in QWEN3.items() if key.lower() == match["lm"])
    frozen = name.endswith("_align.yaml")
    found = propose(
        shape,
        RegionShape(card.dim, shape.width),
        CARDS[match["card"]],
        processes=num,
        tiles_per_token=4.0,
        trains_language=not frozen,
    )
    text = (FOLDER / name).read_text()
    known = KNOWN[stage_of(FOLDER / name)]
    read: Any = load_object(known.read)
    config = read(FOLDER / name)
    budget = config.batches.budget
    assert (budget.tokens, budget.tiles) == (found.plan.tokens, found.plan.tiles)
    assert config.training.gradient_checkpointing == found.plan.recompute
    assert config.batches.micro_batches % num == 0
    assert f"{found.memory.total / 1e9:.0f} GB on each card" in text
    assert ("--use_fsdp" in text) == found.plan.sharded
    if isinstance(config, AlignConfig):
        assert (config.model.encoder, config.model.bag_dim) == (card.name, card.dim)
    elif isinstance(config, InstructConfig):
        assert config.lora.rank == found.plan.rank


@pytest.mark.parametrize("name", THOUGHTFUL)
def test_rewards_fit_the_card_too(name: str) -> None:
    match = NAME.fullmatch(name)
    assert match is not None
    config = read_config(FOLDER / name)
    assert isinstance(config, DialogueThinkConfig) and config.reinforce is not None
    language = next(value for key, value in QWEN3.items() if key.lower() == match["lm"])
    regions = RegionShape(ENCODERS.get(match["encoder"]).dim, language.width)
    sizes = {"regions": 64, "tiles": config.batches.budget.tiles, "rank": config.lora.rank}
    shapes = Shapes(language, regions, "bf16")
    memory = rewarded_need(config.reinforce, shapes, Launch(), **sizes).ways[0].memory
    card = CARDS[match["card"]]
    assert memory.total < USABLE * card.memory
    assert f"{memory.total / 1e9:.0f} GB while they are rewarded" in (FOLDER / name).read_text()
    before = FOLDER / name.replace("_think", "_instruct")
    assert config.lora == InstructConfig.from_yaml(before).lora, "its adapter learns on"


def test_settings_are_read_without_torch() -> None:
    """What is wrong with them is told at once, not after torch is loaded."""
    lines = (
        "import sys",
        "from ruichat.align.stages.config import AlignConfig, InstructConfig",
        "from ruichat.align.think.config import read_config",
        "print([m for m in ('torch', 'transformers', 'peft', 'scipy') if m in sys.modules])",
    )
    run = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
