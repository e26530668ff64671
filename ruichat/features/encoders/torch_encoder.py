"""A card's module run by torch in float32: the reference that other runtimes are held to."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from torch import nn

from ruichat.features.card import EncoderCard
from ruichat.features.encoders.preprocess import prepare

BATCH_TILES = 16
"""Tiles per call: activations of a ViT-g stay under 1 GB."""


class TorchEncoder:
    """An encoder of a published architecture.

    Args:
        card: what it is.
        module: from normalised pixels [b,3,h,w] to embeddings [b,d].
        digest: of its weights.
    """

    def __init__(self, card: EncoderCard, module: nn.Module, digest: str) -> None:
        self.card = card
        self.digest = digest
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._module = module.eval().to(self._device)

    def encode(
        self, tiles: UInt8[NDArray[np.uint8], "n h w 3"]
    ) -> Float32[NDArray[np.float32], "n d"]:
        """One embedding per RGB tile."""
        out = np.zeros((len(tiles), self.card.dim), np.float32)
        with torch.inference_mode():
            for i in range(0, len(tiles), BATCH_TILES):
                pixels = torch.from_numpy(prepare(tiles[i : i + BATCH_TILES], self.card))
                embeddings = self._module(pixels.to(self._device))
                out[i : i + BATCH_TILES] = embeddings.float().cpu().numpy()
        return out
