"""The tile classifier over embeddings, and its test for tissue that training never showed."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray

from ruichat.config import Config, Seed
from ruichat.features.tile_classifier import TileClassifier
from ruichat.histology import KEYS
from ruichat.truth.bank import TileBank
from ruichat.truth.tiles import MALIGNANT_ROW, even_weights

Array = NDArray[np.float32]

PURE = 0.8
"""A window counts as of one class from this share on."""

LESION = 0.05
"""Least share of tumour for which a window of a partial source is no benign tissue."""


class ClassifierConfig(Config):
    """Settings of the tile classifier."""

    seed: Seed = 0
    steps: int = 1500
    weight_decay: float = 2.0
    shift_penalty: float = 0.001
    """Holds the class thresholds found on held-out groups near those of training."""
    distance_dim: int = 48
    """Leading components in which unknown tissue is looked for; the rest is mostly noise."""


def fit_classifier(bank: TileBank, config: ClassifierConfig, encoder_digest: str) -> TileClassifier:
    """Learn classes on training windows; thresholds and typical distances on held-out groups."""
    weight, bias = _fit_layer(bank, config)
    held = (bank.split == "val") & ~bank.partial
    pure = held & (bank.target.max(1) >= PURE)
    logits = bank.embeddings[pure] @ weight.T + bias
    scale, shift = fit_thresholds(
        logits.reshape(-1, len(KEYS)),
        np.repeat(bank.target[pure].argmax(1), logits.shape[1]),
        config.shift_penalty,
    )
    centre, whiten = _fit_centres(bank, config.distance_dim)
    classifier = TileClassifier(
        weight=(scale * weight).astype(np.float32),
        bias=(scale * bias + shift).astype(np.float32),
        class_mean=centre,
        whiten=whiten,
        distance_quantiles=np.zeros(1, np.float32),
        encoder_digest=encoder_digest,
    )
    # Windows of a partial source may show anything, so they can't say what is typical.
    distance = classifier.distance(bank.embeddings[held][:, 0])
    quantiles = np.quantile(distance, np.linspace(0, 1, 201)).astype(np.float32)
    return TileClassifier(
        classifier.weight,
        classifier.bias,
        classifier.class_mean,
        classifier.whiten,
        quantiles,
        encoder_digest,
    )


def _fit_layer(bank: TileBank, config: ClassifierConfig) -> tuple[Array, Array]:
    """Weight [c,d] and bias [c] from the training windows under all their stains."""
    main = bank.target.argmax(1)
    train = (bank.split == "train") & (~bank.partial | (bank.target.max(1) >= PURE))
    views = bank.embeddings.shape[1]
    x = torch.from_numpy(bank.embeddings[train].reshape(-1, bank.embeddings.shape[2]))
    y = torch.from_numpy(np.repeat(bank.target[train], views, 0))
    w = torch.from_numpy(np.repeat(even_weights(bank.source[train], main[train]), views)).float()
    w = w / w.mean()
    torch.manual_seed(config.seed)
    layer = torch.nn.Linear(x.shape[1], len(KEYS))
    optimiser = torch.optim.AdamW(layer.parameters(), lr=3e-3, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    for _ in range(config.steps):
        rows = torch.randint(len(x), (1024,))
        log_p = F.log_softmax(layer(x[rows]), 1)
        loss = (-(y[rows] * log_p).sum(1) * w[rows]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()


def fit_thresholds(
    logits: Float[Array, "n c"], main: Int64[NDArray[np.int64], " n"], penalty: float
) -> tuple[float, Array]:
    """Scale and per-class shift under which held-out logits say their class best.

    Training windows are told apart almost without error, so they leave the thresholds between
    classes undecided; on groups that training never saw one class then swallows another.
    Classes count alike. A class without held-out windows keeps its place.

    Args:
        logits: of held-out windows.
        main: their classes.
        penalty: of squared shifts.

    Returns:
        Factor of all logits, and [c] what is added to them.

    Source:
        Vector scaling, Guo et al. 2017, arXiv:1706.04599; one common scale and the balanced
        weights are ours.
    """
    from scipy.optimize import minimize

    counts = np.bincount(main, minlength=len(KEYS))
    present = counts > 0
    weight = 1 / counts[main]
    weight /= weight.sum()
    truth = np.eye(len(KEYS))[main]

    def loss(free: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scale, shift = np.exp(free[0]), free[1:] * present
        z = logits * scale + shift
        z = z - z.max(1, keepdims=True)
        odds = np.exp(z)
        excess = (odds / odds.sum(1, keepdims=True) - truth) * weight[:, None]
        value = weight @ (np.log(odds.sum(1)) - (z * truth).sum(1)) + penalty * shift @ shift
        slope = (excess.sum(0) + 2 * penalty * shift) * present
        return float(value), np.r_[(excess * logits).sum() * scale, slope]

    found = minimize(loss, np.zeros(1 + len(KEYS)), jac=True, method="L-BFGS-B")
    free = cast(NDArray[np.float64], found.x)
    return float(np.exp(free[0])), (free[1:] * present).astype(np.float32)


def _fit_centres(bank: TileBank, lead: int) -> tuple[Float[Array, "k m"], Float[Array, "m d"]]:
    """Centres of known tissue in the space that the returned matrix whitens."""
    main = bank.target.argmax(1)
    pure = bank.target.max(1) >= PURE
    # Tissue of a partial source that is no lesion is known too, though its class has no name.
    kind = np.where(pure, main, np.where(bank.partial & ~_holds_lesion(bank), len(KEYS), -1))
    known = (bank.split == "train") & (kind >= 0)
    kind = kind[known]
    space = bank.embeddings[known][:, :, :lead].astype(np.float64)
    centre = np.stack([space[kind == c].mean((0, 1)) for c in np.unique(kind)])
    parts = [
        (space[kind == c] - centre[i]).reshape(-1, lead) for i, c in enumerate(np.unique(kind))
    ]
    residual = np.concatenate(parts)
    covariance = residual.T @ residual / len(residual) + 1e-4 * np.eye(lead)
    values, vectors = np.linalg.eigh(covariance)
    whiten = np.zeros((lead, bank.embeddings.shape[2]), np.float32)
    whiten[:, :lead] = (vectors / np.sqrt(values)).T
    return (centre @ whiten[:, :lead].T).astype(np.float32), whiten


def _holds_lesion(bank: TileBank) -> Bool[NDArray[np.bool_], " n"]:
    return bank.target[:, MALIGNANT_ROW].sum(1) > LESION
