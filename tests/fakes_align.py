"""Dialogues about drawn bags, as files in a folder: what an alignment reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from fakes_bags import drawn_bag
from fakes_model import hub_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM
from typer.testing import CliRunner

from ruichat.model.hub_tokenizer import HubTokenizer
from ruichat.truth.datasets.dialogue import Dialogue

DIM = 384
"""Of mini's embeddings."""

ANSWERS = ("Yes: irregular glands [R2].", "Mostly necrosis.", "No.", "It is mucus [R1][R3].")


def write_bags(folder: Path, num: int = 4, tiles: int = 9, digest: str = "e" * 64) -> Path:
    """Bags of mini's width: slide0 to slide3, each with more tiles than the last."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(num):
        bag = drawn_bag(tiles + 2 * i, DIM, seed=i)
        replace(bag, encoder_digest=digest).save(folder / f"slide{i}.h5")
    return folder


def write_dialogues(path: Path, num: int = 12, *, num_slides: int = 4, **changes: Any) -> Path:
    """Questions about those slides, one turn or two."""
    lines: list[bytes] = []
    for i in range(num):
        turns = [
            {"role": "user", "text": "Is there tumour on this slide, and where?"},
            {"role": "assistant", "text": ANSWERS[i % 4]},
        ]
        if i % 3 == 0:
            turns += [
                {"role": "user", "text": f"What tissue is in region {1 + i % 4}?"},
                {"role": "assistant", "text": ANSWERS[(i + 1) % 4]},
            ]
        values = {
            "id": f"d{i}",
            "patient": f"p{i % num_slides}",
            "slides": [f"slide{i % num_slides}"],
            "num_regions": 4,
            "turns": turns,
        }
        lines.append(Dialogue.model_validate(values | changes).to_line())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines))
    return path


LM = {
    "model_type": "qwen3",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
}
"""Of a language model that stages train within seconds."""


def write_site(folder: Path, digest: str = "e" * 64, **sizes: int) -> Path:
    """A language model (of other sizes if given), bags and dialogues, as a researcher has them."""
    hub_tokenizer(folder / "lm")
    torch.manual_seed(0)
    ids = HubTokenizer(folder / "lm" / "tokenizer.json").num_ids
    settings = LM | sizes | {"vocab_size": ids}
    config = AutoConfig.for_model(**settings)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "lm")
    write_bags(folder / "bags", digest=digest)
    write_dialogues(folder / "train.jsonl")
    return folder


def settings_of(**changes: Any) -> dict[str, Any]:
    """What stages have in common."""
    return {
        "name": "tiny",
        "data": {"train": [{"file": "train.jsonl"}], "bags": ["bags"]},
        "batches": {
            "budget": {"tokens": 1200, "tiles": 60},
            "micro_batches": 2,
            "epochs": 2,
        },
        "training": {"learning_rate": 0.01, "log_every": 1, "checkpoint_every": 2},
        **changes,
    }


def align_settings(root: Path, **changes: Any) -> dict[str, Any]:
    """Of the stage `align` at a site."""
    parts = {
        "language_model": {"name": str(root / "lm"), "dtype": "float32"},
        "model": {"encoder": "mini", "bag_dim": 384, "pool_heads": 2, "max_regions": 8},
    }
    return settings_of(**parts, **changes)


def run_stage_command(root: Path, stage: str, values: dict[str, Any], out: str) -> tuple[Path, str]:
    """The checkpoint that `ruichat align STAGE` writes with these settings, and what it told."""
    from ruichat.cli.main import app

    config = root / f"{out}.yaml"
    config.write_text(yaml.safe_dump(values))
    arguments = ["--config", str(config), "--data", str(root), "--out", str(root / out)]
    done = CliRunner().invoke(app, ["align", stage, *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return root / out / "checkpoint", done.stderr
