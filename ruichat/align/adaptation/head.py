"""The site's head: new rows of the tile classifier, learned while old tiles are rehearsed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float, Float32, Int64
from numpy.typing import NDArray
from pydantic import Field

from ruichat.align.adaptation.site import SiteTiles
from ruichat.config import Config
from ruichat.features.tile_classifier import SiteHead, TileClassifier
from ruichat.histology import KEYS
from ruichat.truth.bank import TileBank

Doubles = NDArray[np.float64]


class HeadConfig(Config):
    """Settings of the site's head."""

    penalty: float = Field(default=1e-3, gt=0)
    """Of squared weights, on embeddings scaled to unit spread. Ours: 1e-4 to 1e-3 score alike."""
    rehearsal: float = Field(default=1.0, ge=0)
    """Weight of the old tiles beside the new; 0 forgets them."""
    max_iterations: int = Field(default=300, ge=1)


@dataclass(frozen=True)
class _Part:
    """Tiles that pull at the new rows.

    Attributes:
        scaled: [n,d] embeddings of unit spread.
        frozen: [n,c] logits of the rows that stay as they are.
        target: [n] column that is right; new rows follow the frozen ones.
        weight: [n].
    """

    scaled: Float[Doubles, "n d"]
    frozen: Float[Doubles, "n c"]
    target: Int64[NDArray[np.int64], " n"]
    weight: Float[Doubles, " n"]


def fit_site_head(
    classifier: TileClassifier,
    site: SiteTiles,
    rows: Int64[NDArray[np.int64], " m"],
    replay: TileBank | None,
    config: HeadConfig,
) -> TileClassifier:
    """Add a row for each of the site's labels; rows that were there before don't move.

    New rows compete with the old ones: on the site's tiles they should win, on rehearsed tiles
    the old class should. The problem is convex, so that the result depends on the data alone.

    Args:
        classifier: of the model that is adapted.
        site: its tiles.
        rows: tiles to learn from.
        replay: old tiles; None learns from the site alone.
        config: penalties.

    Source:
        Rehearsal, Robins 1995, doi:10.1080/09540099550039318. Ours: old rows frozen.
    """
    new = site.embeddings[rows]
    old = _rehearsed(replay)
    spread = np.concatenate([new, *([old[0]] if old else [])]).std(0) + 1e-6
    num = len(site.labels)
    parts = [_part(classifier, new, len(KEYS) + site.label[rows], spread, 1.0)]
    if old and config.rehearsal > 0:
        parts.append(_part(classifier, *old, spread, config.rehearsal))
    weight, bias = _solve(parts, num, config)
    head = SiteHead(
        name=site.name,
        labels=site.labels,
        weight=(weight / spread).astype(np.float32),
        bias=bias.astype(np.float32),
        parent=site.parent,
    )
    label = site.label[rows]
    centres = np.stack([new[label == i].mean(0) for i in range(num)])
    return classifier.with_site(head, centres)


def _rehearsed(
    replay: TileBank | None,
) -> tuple[Float32[NDArray[np.float32], "n d"], Int64[NDArray[np.int64], " n"]] | None:
    if replay is None:
        return None
    train = replay.split == "train"
    return replay.embeddings[train, 0], replay.target[train].argmax(1).astype(np.int64)


def _part(
    classifier: TileClassifier,
    embeddings: Float32[NDArray[np.float32], "n d"],
    target: Int64[NDArray[np.int64], " n"],
    spread: NDArray[np.float32],
    total: float,
) -> _Part:
    """Tiles whose classes count alike, `total` in all."""
    counts = np.bincount(target)
    weight = 1 / counts[target]
    return _Part(
        (embeddings / spread).astype(np.float64),
        (embeddings @ classifier.weight.T + classifier.bias).astype(np.float64),
        target,
        total * weight / weight.sum(),
    )


def _solve(parts: list[_Part], num: int, config: HeadConfig) -> tuple[Doubles, Doubles]:
    """Weight [s,d] and bias [s] of least cross-entropy."""
    from scipy.optimize import minimize

    d = parts[0].scaled.shape[1]

    def loss(free: Doubles) -> tuple[float, Doubles]:
        weight, bias = free[: num * d].reshape(num, d), free[num * d :]
        value = config.penalty * float((weight**2).sum())
        slope, shift = 2 * config.penalty * weight, np.zeros(num)
        for part in parts:
            part_value, excess = _cross_entropy(part, part.scaled @ weight.T + bias)
            value += part_value
            slope = slope + excess.T @ part.scaled
            shift = shift + excess.sum(0)
        return value, np.r_[slope.ravel(), shift]

    found = minimize(
        loss,
        np.zeros(num * (d + 1)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": config.max_iterations},
    )
    free = cast(Doubles, found.x)
    return free[: num * d].reshape(num, d), free[num * d :]


def _cross_entropy(part: _Part, new: Doubles) -> tuple[float, Doubles]:
    """Weighted loss of a part, and its slope [n,s] along the new logits."""
    logits = np.concatenate([part.frozen, new], 1)
    logits -= logits.max(1, keepdims=True)
    log_total = np.log(np.exp(logits).sum(1))
    rows = np.arange(len(logits))
    value = float(part.weight @ (log_total - logits[rows, part.target]))
    first = part.frozen.shape[1]
    probability = np.exp(logits[:, first:] - log_total[:, None])
    is_new = part.target >= first
    probability[rows[is_new], part.target[is_new] - first] -= 1
    return value, probability * part.weight[:, None]
