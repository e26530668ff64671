"""A tiny pre-training in processes of its own: `python launched_pretraining.py RECIPE OUT`."""

from __future__ import annotations

import sys
from pathlib import Path

from ruichat.align.pretraining.settings import PretrainConfig
from ruichat.align.pretraining.stage import train_tile_encoder

if __name__ == "__main__":
    recipe, out = map(Path, sys.argv[1:])
    lines: list[str] = []
    train_tile_encoder(PretrainConfig.from_yaml(recipe), Path(), out, lines.append)
    if lines:
        (out / "lines.txt").write_text("\n".join(lines))
