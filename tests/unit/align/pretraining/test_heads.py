"""Heads that a later training goes on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from ruichat.align.pretraining.network import HEADS_FILE, Network, load_heads, save_heads
from ruichat.align.pretraining.settings import PretrainConfig
from ruichat.errors import ArtifactError
from ruichat.features.encoders.vit import build


def network(ibot_prototypes: int) -> Network:
    def head(num: int) -> dict[str, object]:
        return {"weight": 1, "head": {"prototypes": num, "hidden": 8, "bottleneck": 4}}

    shape = {"body": "dinov3", "width": 16, "depth": 1, "heads": 2, "patch_px": 8}
    config = PretrainConfig.model_validate(
        {
            "tiles": [{"kind": "folder", "path": "tiles"}],
            "batch": 2,
            "micro_batch": 2,
            "backbone": {"shape": shape},
            "dino": head(6),
            "ibot": head(ibot_prototypes),
            "loop": {"steps": 3, "learning_rate": 1e-3},
            "result": {"name": "x", "license": "CC0-1.0", "tile_mpp": 0.5},
        }
    )
    backbone = build(body="dinov3", width=16, depth=1, heads=2, patch_px=8, image_px=32)
    return Network(backbone, 16, config)


def test_heads_of_other_sizes_are_told_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    kept, grown = network(6), network(7)
    save_heads(tmp_path, kept)
    found = load_heads(tmp_path, grown)
    assert found[0] == "dino" and found[1].startswith("ibot (not: ")
    assert kept.dino is not None and grown.dino is not None
    assert (grown.dino.prototypes.weight == kept.dino.prototypes.weight).all()
    path = tmp_path / HEADS_FILE
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ArtifactError, match="is damaged"):
        load_heads(tmp_path, grown)
