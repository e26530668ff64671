"""A tile classifier for a checkpoint that has none: it knows the site's labels and nothing else."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from ruichat.align.adaptation.site import SiteTiles
from ruichat.errors import ConfigError
from ruichat.features.tile_classifier import TileClassifier
from ruichat.histology import KEYS, MALIGNANT

DISTANCE_DIM = 48
"""Leading components in which unknown tissue is looked for, as of mini's classifier."""

FOLDS = 3
"""Parts of the training tiles; what is typical is measured on each by centres of the others."""

_NEVER = -1e4
"""Logit of a class that no tile taught."""

Rows = Int64[NDArray[np.int64], " m"]
Doubles = NDArray[np.float64]


def check_beginning(labels: dict[str, str], model: str) -> None:
    """Refuse labels that would make a classifier which calls every slide the same.

    Raises:
        ConfigError: none of them, or all, are kinds of malignant tissue.
    """
    malignant = {key in MALIGNANT for key in labels.values()}
    if len(malignant) == 1:
        which = "benign" if malignant == {False} else "malignant"
        raise ConfigError(
            f"{model} has no tile classifier, and labels of {which} tissue alone can't begin one: "
            "the share of tumour would be the same on every slide",
            hint="Label tiles of both malignant and benign tissue",
        )


def begin_classifier(site: SiteTiles, encoder_digest: str) -> TileClassifier:
    """A classifier to which a site's head can be added; without one it knows no tissue.

    Classes that no label is a kind of get no probability. Tissue of theirs can be told by its
    distance alone, so distances are read against training tiles that their centres haven't seen.

    Args:
        site: its training tiles are used.
        encoder_digest: of the encoder that made their embeddings.
    """
    rows = np.flatnonzero(~site.test)
    whiten = _whitening(site, rows)
    distances: list[Doubles] = []
    fold = _folds(site, rows)
    for at in range(FOLDS):
        others, own = rows[fold != at], rows[fold == at]
        if len(own) and set(site.label[others]) == set(site.label[rows]):
            distances.append(_distance(site, others, own))
    if not distances:
        distances = [_distance(site, rows, rows)]
    levels = np.linspace(0, 1, 201)
    d = site.embeddings.shape[1]
    return TileClassifier(
        weight=np.zeros((len(KEYS), d), np.float32),
        bias=np.full(len(KEYS), _NEVER, np.float32),
        class_mean=np.zeros((0, len(whiten)), np.float32),
        whiten=whiten.astype(np.float32),
        distance_quantiles=np.quantile(np.concatenate(distances), levels).astype(np.float32),
        encoder_digest=encoder_digest,
    )


def _folds(site: SiteTiles, rows: Rows) -> Rows:
    """Part of each tile; a group lies in one."""
    _, group = np.unique(site.group[rows], return_inverse=True)
    return group % FOLDS


def _whitening(site: SiteTiles, rows: Rows) -> Float[Doubles, "l d"]:
    """Leading components of the tiles, in which the spread within labels is the identity."""
    tiles = site.embeddings[rows].astype(np.float64)
    lead = min(DISTANCE_DIM, tiles.shape[1], len(rows) - 1)
    axes = np.linalg.svd(tiles - tiles.mean(0), full_matrices=False)[2][:lead]
    space, label = tiles @ axes.T, site.label[rows]
    residual = np.concatenate([space[label == i] - space[label == i].mean(0) for i in set(label)])
    covariance = residual.T @ residual / len(residual)
    covariance += 1e-2 * np.trace(covariance) / lead * np.eye(lead) + 1e-12 * np.eye(lead)
    values, vectors = np.linalg.eigh(covariance)
    return (vectors / np.sqrt(values)).T @ axes


def _distance(site: SiteTiles, learned: Rows, measured: Rows) -> Doubles:
    """Of tiles to the nearest centre of a label, in a space that other tiles made."""
    whiten = _whitening(site, learned)
    label = site.label[learned]
    centres = np.stack([site.embeddings[learned[label == i]].mean(0) for i in np.unique(label)])
    z = site.embeddings[measured].astype(np.float64) @ whiten.T
    return np.linalg.norm(z[:, None] - centres @ whiten.T, axis=2).min(1)
