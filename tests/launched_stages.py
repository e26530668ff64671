"""Stages on dialogues in processes of a launch: `python launched_stages.py SITE LAYOUT ...`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from fakes_align import align_settings, settings_of

from ruichat.align.stages.align import AlignConfig, train_align
from ruichat.align.stages.config import InstructConfig
from ruichat.align.stages.instruct import train_instruct

STAGES = ("align", "instruct")


def batches(budget: dict[str, int]) -> dict[str, Any]:
    """Two epochs of steps with a micro-batch for each of two processes."""
    return {"budget": {"tokens": 300, "tiles": 60, **budget}, "micro_batches": 2, "epochs": 2}


def train(site: Path, out: Path, base: Path) -> None:
    """Align the site's language model, then tune what lies in `base`, both into `out`.

    Every term of the losses has a part: vectors before a deeper layer, contrast, dropout, shared
    rows.
    """
    values = align_settings(site, contrastive=0.1) | {"batches": batches({})}
    values["model"]["inject_layers"] = [1]
    train_align(AlignConfig.model_validate(values), site, out / "align", _quiet)
    lora = {"rank": 2, "alpha": 4, "dropout": 0.1}
    values = settings_of(base=str(base), lora=lora, projector_rate=0.001)
    values["batches"] = batches({"row_tokens": 300})
    train_instruct(InstructConfig.model_validate(values), site, out / "instruct", _quiet)


def _quiet(_: str) -> None:
    pass


def main() -> None:
    """Both stages in every layout that is named, one after the other."""
    torch.set_num_threads(1)
    site = Path(sys.argv[1])
    for layout in sys.argv[2:]:
        if layout == "shards":
            os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
        train(site, site / layout, site / "alone" / "align" / "checkpoint")


if __name__ == "__main__":
    main()
