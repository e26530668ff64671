"""Whole encoders at their true size: from a file of the published layout to embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published import LAYOUTS
from reference_vit import tokens_of
from safetensors.torch import load_file, save_file

from ruichat.features.encoder import ENCODERS, load_encoder
from ruichat.features.encoders.preprocess import prepare
from ruichat.features.runtime.ways import RunConfig

CASES: list[Any] = [
    pytest.param("kaiko-vits16", {"heads": 6}, id="kaiko-vits16"),
    pytest.param(
        "uni2-h",
        {"heads": 24, "positions": "patches", "gated": True},
        id="uni2-h",
        marks=pytest.mark.proof,  # a minute, 9 GB of memory, 3 GB of disk
    ),
]


def draw(name: str, path: Path) -> Path:
    """A weights file of random numbers that keep activations in bounds."""
    generator = torch.Generator().manual_seed(0)
    arrays = {
        key: torch.empty(shape).normal_(generator=generator)
        * (shape[-1] ** -0.5 if len(shape) == 2 else 0.3)
        for key, shape in LAYOUTS[name]().items()
    }
    save_file(arrays, path)
    return path


@pytest.mark.parametrize(("name", "reference"), CASES)
def test_a_whole_encoder_computes_what_the_published_one_does(
    name: str, reference: dict[str, Any], tmp_path: Path
) -> None:
    card = ENCODERS.get(name)
    path = draw(name, tmp_path / "model.safetensors")
    side = card.tile_px
    tiles = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    run = RunConfig(runtime="torch", precision="fp32")
    given = load_encoder(name, weights=path, run=run).encode(tiles)
    with torch.inference_mode():
        pixels = torch.from_numpy(prepare(tiles, card))
        wanted = tokens_of(load_file(path), pixels, **reference)[:, 0].numpy()
    assert given.shape == (1, card.dim)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(given, wanted, atol=1e-4, rtol=1e-4)
