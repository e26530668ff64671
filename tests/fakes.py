"""Small real stand-ins: an encoder whose embeddings a test can predict."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import time

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from ruichat.features.encoder import EncoderCard
from ruichat.features.runtime.ways import RunConfig


class MeanColourEncoder:
    """Embeds a tile as the mean and spread of its colours; counts what it is asked.

    Args:
        run: how it may be run; it only says so.

    Attributes:
        calls: how often `encode` was called.
        tiles: how many tiles it has encoded.
        fail_after: raise KeyboardInterrupt once so many tiles are encoded, or None.
    """

    def __init__(
        self,
        run: RunConfig | None = None,
        *,
        name: str = "mean-colour",
        weights: str = "1",
        tile_px: int = 224,
        fail_after: int | None = None,
    ) -> None:
        self.card = EncoderCard(
            name=name,
            dim=8,
            tile_px=tile_px,
            tile_mpp=0.5,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            license="Apache-2.0",
            revision="1",
            loader="fakes:MeanColourEncoder",
        )
        self.digest = hashlib.sha256(f"{name}-{weights}".encode()).hexdigest()
        self.way = (run or RunConfig(runtime="torch")).ways(has_gpu=False)[0]
        self.calls = 0
        self.tiles = 0
        self.fail_after = fail_after

    def encode(
        self, tiles: UInt8[NDArray[np.uint8], "n h w 3"]
    ) -> Float32[NDArray[np.float32], "n 8"]:
        """Mean of each channel, deviation of each, brightest and darkest value; 0 to 1."""
        if self.fail_after is not None and self.tiles >= self.fail_after:
            raise KeyboardInterrupt
        self.calls += 1
        self.tiles += len(tiles)
        flat = tiles.reshape(len(tiles), -1, 3).astype(np.float32) / 255
        ends = np.stack([flat.max(axis=(1, 2)), flat.min(axis=(1, 2))], axis=1)
        return np.concatenate([flat.mean(axis=1), flat.std(axis=1), ends], axis=1)


COUNTED_PX = 32
"""Side of the counted encoder's tiles."""


def load_counted(run: RunConfig) -> MeanColourEncoder:
    """An encoder that writes down what every process encodes with it; what its card names.

    `RUICHAT_TEST_LOG` names the file of one line per batch: process, tiles. With
    `RUICHAT_TEST_SLEEP` each batch takes so many seconds; a picture that is nearly black ends the
    process, as a bug in a runtime would.
    """
    return _CountedEncoder(run)


def counted_card() -> EncoderCard:
    """Card of the counted encoder."""
    return _CountedEncoder().card


def load_deadly(run: RunConfig) -> MeanColourEncoder:
    """What brings its process down before there is an encoder."""
    os.abort()


class _CountedEncoder(MeanColourEncoder):
    def __init__(self, run: RunConfig | None = None) -> None:
        super().__init__(run, name="counted", tile_px=COUNTED_PX)
        self.card = dataclasses.replace(self.card, loader="fakes:load_counted")

    def encode(
        self, tiles: UInt8[NDArray[np.uint8], "n h w 3"]
    ) -> Float32[NDArray[np.float32], "n 8"]:
        if tiles.reshape(len(tiles), -1).mean(axis=1).min() < DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(os.environ.get("RUICHAT_TEST_SLEEP", "0")))
        embeddings = super().encode(tiles)
        if "RUICHAT_TEST_LOG" in os.environ:
            with open(os.environ["RUICHAT_TEST_LOG"], "a") as log:
                log.write(f"{os.getpid()} {len(tiles)}\n")
        return embeddings


DEADLY = 40
"""Mean grey level of a tile below which the counted encoder takes its process down."""
