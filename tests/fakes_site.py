"""A drawn site: tiles that lie elsewhere than those of the classes that are known."""

from __future__ import annotations

import numpy as np

from ruichat.align.adaptation.site import SiteTiles
from ruichat.features.tile_classifier import TileClassifier
from ruichat.histology import KEYS
from ruichat.truth.bank import TileBank

WIDTH = 3 * len(KEYS)
LABELS = ("serrated", "tubular", "healthy")
PARENT = np.array(
    [KEYS.index(k) for k in ("colorectal_polyp", "colorectal_polyp", "normal_glands")]
)
AXES = np.linalg.qr(np.random.default_rng(0).standard_normal((WIDTH, WIDTH)))[0].astype(np.float32)


def draw_classifier() -> TileClassifier:
    """Knows its classes by the first axes, each six units away from the middle."""
    centres = 6 * AXES[: len(KEYS)]
    return TileClassifier(
        weight=AXES[: len(KEYS)].copy(),
        bias=np.zeros(len(KEYS), np.float32),
        class_mean=centres,
        whiten=np.eye(WIDTH, dtype=np.float32),
        distance_quantiles=np.linspace(5, 9, 201, dtype=np.float32),
        encoder_digest="0" * 64,
    )


def draw_site(noise: float = 1.0, per_label: int = 60) -> SiteTiles:
    """Tiles about axes of their own; the last third is held out."""
    rng = np.random.default_rng(1)
    label = np.tile(np.arange(len(LABELS)), per_label)
    place = 6 * AXES[len(KEYS) + label] + noise * rng.standard_normal((len(label), WIDTH))
    return SiteTiles(
        name="elsewhere",
        embeddings=place.astype(np.float32),
        colour=rng.standard_normal((len(label), 6)).astype(np.float32),
        labels=LABELS,
        label=label,
        parent=PARENT,
        group=np.char.add("g", np.arange(len(label)).astype(np.str_)),
        test=np.arange(len(label)) >= 2 * len(label) // 3,
    )


def draw_replay(per_class: int = 20) -> TileBank:
    """Tiles of every class, half of them held out."""
    rng = np.random.default_rng(2)
    main = np.tile(np.arange(len(KEYS)), per_class)
    n = len(main)
    place = 6 * AXES[main] + rng.standard_normal((n, WIDTH))
    return TileBank(
        embeddings=place[:, None].astype(np.float32),
        colour=np.zeros((n, 1, 6), np.float32),
        target=np.eye(len(KEYS), dtype=np.float32)[main],
        partial=np.zeros(n, bool),
        source=np.full(n, "drawn"),
        group=np.arange(n).astype(np.str_),
        split=np.where(np.arange(n) < n // 2, "train", "val"),
    )
