"""Regions of one slide as the decoder uses them, in NumPy: no torch is loaded to answer.

The same arithmetic as `region_modules.RegionEncoder` and `RegionPointer`, which train it; a
test holds both equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.model.shape import ModelShape

Array = NDArray[np.float32]
Indices = NDArray[np.int64]
Weights = Mapping[str, Array]

_EPS = 1e-5
"""Of torch's LayerNorm."""


@dataclass(frozen=True)
class RegionState:
    """The regions of one slide.

    Attributes:
        embeds: what is added to the embedding of each name (the first e), and before deeper layers.
        pointer: takes a hidden state to the score of each name.
    """

    embeds: Float32[Array, "k w"]
    pointer: Float32[Array, "e k"]


def no_regions(shape: ModelShape) -> RegionState:
    """The state without a slide."""
    return RegionState(
        np.zeros((0, shape.region_width), np.float32), np.zeros((shape.width, 0), np.float32)
    )


def embed_regions(
    weights: Weights,
    shape: ModelShape,
    tiles: Float32[Array, "n d"],
    assignment: Int64[Indices, " n"],
    geometry: Float32[Array, "k g"],
) -> RegionState:
    """Embed the regions of a slide.

    Args:
        weights: the checkpoint's.
        shape: its sizes.
        tiles: the bag's embeddings.
        assignment: region index of each tile; every region has at least one.
        geometry: see `regions.geometry_features`.

    Raises:
        InputError: the bag's width isn't the model's.
    """
    if tiles.shape[1] != shape.bag_dim:
        raise InputError(
            f"bag has d={tiles.shape[1]}; this model reads d={shape.bag_dim}",
            hint=f"Re-extract with encoder {shape.encoder}",
        )
    # Sorted by region, each region is one slice that reduceat sums.
    order = np.argsort(assignment, kind="stable")
    start = np.searchsorted(assignment[order], np.arange(len(geometry)))
    tiles = tiles[order]
    normed = _layer_norm(tiles, weights, "region_encoder.tile_norm")
    weight = _tile_weights(weights, shape, normed, assignment[order], start)
    pooled = _pool(_project(normed, weights, "region_encoder.projector"), weight, start)
    where = _perceptron(np.arcsinh(geometry), weights, "region_encoder.geometry")
    embeds = _layer_norm(pooled + where, weights, "region_encoder.norm")
    embeds = embeds * weights["region_encoder.scale"]
    deeper = [
        _inject(weights, shape, i, tiles, weight, start) for i in range(len(shape.inject_layers))
    ]
    return RegionState(np.concatenate([embeds, *deeper], axis=1), _pointer(weights, embeds))


def _inject(
    weights: Weights, shape: ModelShape, index: int, tiles: Array, weight: Array, start: Indices
) -> Array:
    """What is added before the index-th of the deeper layers."""
    name, block = f"region_encoder.injected.{index}", shape.bag_dim // shape.depths
    depth = index if shape.depths > 1 else 0
    normed = _layer_norm(
        tiles[:, depth * block : (depth + 1) * block], weights, f"{name}.tile_norm"
    )
    pooled = _pool(_project(normed, weights, f"{name}.projector"), weight, start)
    return _layer_norm(pooled, weights, f"{name}.norm") * weights[f"{name}.gate"]


def _project(x: Array, weights: Weights, name: str) -> Array:
    single = f"{name}.weight" in weights
    return _linear(x, weights, name) if single else _perceptron(x, weights, name)


def _tile_weights(
    weights: Weights, shape: ModelShape, tiles: Array, region: Indices, start: Indices
) -> Array:
    prefix = "region_encoder."
    score = np.zeros((len(tiles), shape.pool_heads), np.float32)
    if f"{prefix}gate.score.weight" in weights:
        content = np.tanh(_linear(tiles, weights, f"{prefix}gate.content"))
        switch = _sigmoid(_linear(tiles, weights, f"{prefix}gate.switch"))
        score = _linear(content * switch, weights, f"{prefix}gate.score")
    weight = np.exp(score - np.maximum.reduceat(score, start)[region])
    weight /= np.add.reduceat(weight, start)[region]
    return weight


def _pool(values: Array, weight: Array, start: Indices) -> Array:
    heads = values.reshape(*weight.shape, -1) * weight[..., None]
    return np.add.reduceat(heads.reshape(len(values), -1), start)


def _pointer(weights: Weights, embeds: Array) -> Array:
    centred = embeds - embeds.mean(axis=1, keepdims=True)
    unit = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + _EPS)
    query, key = weights["pointer.query.weight"], weights["pointer.key.weight"]
    scale = weights["pointer.scale"] * np.float32(len(query) ** -0.5)
    return np.ascontiguousarray(query.T @ (key @ unit.T) * scale, np.float32)


def _linear(x: Array, weights: Weights, name: str) -> Array:
    y = x @ weights[f"{name}.weight"].T
    bias = weights.get(f"{name}.bias")
    return y if bias is None else y + bias


def _perceptron(x: Array, weights: Weights, name: str) -> Array:
    hidden = _linear(x, weights, f"{name}.0")
    return _linear(hidden * _sigmoid(hidden), weights, f"{name}.2")


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        y: Array = np.exp(-x)
    y += 1
    return np.reciprocal(y, out=y)


def _layer_norm(x: Array, weights: Weights, name: str) -> Array:
    centred = x - x.mean(axis=1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + np.float32(_EPS))
    return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]
