"""What the trained encoder sees: the reduction to its width, the tile classifier, the tile bank.

The bank holds embeddings of every window under several stains. Alignment and evaluation lay its
tiles into slide-like bags, so pixels are encoded once for all later stages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file, save

from ruichat.align.encoder import (
    DIRECTIONS,
    EncoderTrainingConfig,
    channels_last,
    load_pools,
    normalise,
)
from ruichat.align.stain import perturb_stain
from ruichat.align.tile_classifier import ClassifierConfig, fit_classifier
from ruichat.config import Config, Seed
from ruichat.features.encoder import ENCODERS
from ruichat.features.mini.graph import WIDTHS
from ruichat.features.mini.network import MiniNetwork
from ruichat.storage.artifacts import write_atomic
from ruichat.truth.bank import TileBank
from ruichat.truth.tiles import TilePool, draw_pool, even_weights, join_pools

Log = Callable[[str], None]

HELD_OUT_SEED = 100_000
"""Phantom seeds from here on are never trained on."""


class EmbeddingConfig(Config):
    """Settings of the embedding stage."""

    seed: Seed = 0
    stains: int = 3
    """Views of each training window: one as it is, the others under another stain."""
    num_val_phantoms: int = 16
    num_test_phantoms: int = 32
    dim: int = 384
    depths: int = Field(default=1, ge=1, le=len(WIDTHS))
    """Blocks of the embedding, each of its own stages of the network, shallow first."""
    classifier: ClassifierConfig = ClassifierConfig()


def _statistics(
    network: MiniNetwork, pool: TilePool, stains: int, seed: int, config: EncoderTrainingConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Network statistics [n,v,s] and colour [n,v,6] of each window under each stain."""
    generator = torch.Generator().manual_seed(seed)
    n = len(pool.rgb)
    out: NDArray[np.float32] | None = None
    colour = np.empty((n, stains, 6), np.float32)
    with torch.inference_mode():
        for start in range(0, n, 64):
            rgb = torch.from_numpy(pool.rgb[start : start + 64]).permute(0, 3, 1, 2).float() / 255
            for view in range(stains):
                seen = rgb
                if view > 0:
                    seen = perturb_stain(rgb, config.stain, generator)
                    seen = torch.rot90(seen, view, (2, 3))
                part = network(normalise(seen).to(memory_format=torch.channels_last)).numpy()
                if out is None:
                    out = np.empty((n, stains, part.shape[1]), np.float32)
                rows = slice(start, start + len(rgb))
                out[rows, view] = part
                flat = seen.flatten(2)
                colour[rows, view] = torch.cat([flat.mean(2), flat.std(2)], 1).numpy()
    assert out is not None
    return out, colour


def fit_reduction(
    statistics: NDArray[np.float32],
    weight: NDArray[np.float64],
    dim: int,
    directions: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre [s] and projection [d,s]: the classes' axes first, then half-whitened components.

    Args:
        statistics: [n,s] of training windows.
        directions: [c,s] axes that training told the classes apart by; leading components alone
            lose them where classes differ little.
        weight: [n] sums to 1; sources count alike, whatever their size.
    """
    center = weight @ statistics
    spread = np.sqrt(weight @ np.square(statistics - center)) + 1e-3
    normal = (statistics - center) / spread
    covariance = (normal * weight[:, None]).T @ normal
    values, vectors = np.linalg.eigh(covariance)
    kept = dim - len(directions)
    values, vectors = values[::-1][:kept], vectors[:, ::-1][:, :kept]
    # Half whitening: full whitening would blow the last components up to pure noise.
    scale = 1 / (np.maximum(values, 1e-6) ** 0.25)
    components = (vectors * scale).T
    axes = directions * spread
    # As wide as the widest component, so that noise and distances treat both alike.
    width = np.sqrt(np.einsum("cs,st,ct->c", axes, covariance, axes)) + 1e-6
    axes = axes / width[:, None] * values[0] ** 0.25
    return center.astype(np.float32), (np.vstack([axes, components]) / spread).astype(np.float32)


def fit_blocks(
    statistics: NDArray[np.float32],
    weight: NDArray[np.float64],
    dim: int,
    directions: NDArray[np.float32],
    depths: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """As `fit_reduction`, in `depths` equal blocks that each read their own stages.

    The classes' axes lie in the deepest block. One whose stages have fewer statistics than it is
    wide ends in zeros.
    """
    center = np.empty(statistics.shape[1], np.float32)
    reduction = np.zeros((dim, statistics.shape[1]), np.float32)
    ends = np.cumsum([2 * width for width in WIDTHS])
    block, start = dim // depths, 0
    for depth, stages in enumerate(np.array_split(ends, depths)):
        columns = slice(start, int(stages[-1]))
        axes = directions[:, columns] if depth == depths - 1 else directions[:0, columns]
        center[columns], fitted = fit_reduction(statistics[:, columns], weight, block, axes)
        reduction[depth * block : depth * block + len(fitted), columns] = fitted
        start = columns.stop
    return center, reduction


def fit_embeddings(
    config: EmbeddingConfig,
    encoder_config: EncoderTrainingConfig,
    data_root: Path,
    network_path: Path,
    out: Path,
    log: Log = print,
) -> Path:
    """Write `encoder.safetensors`, `tiles.safetensors` and the tile bank into `out`.

    Returns:
        Path of the bank.
    """
    bank_path = out / "bank.npz"
    if bank_path.is_file():
        return bank_path
    network = channels_last(MiniNetwork()).eval()
    weights = load_file(network_path)
    directions = weights.pop(DIRECTIONS).numpy()
    network.load_state_dict(weights)
    real, drawn = load_pools(encoder_config, data_root, network_path.parent.parent / "pools", log)
    first_test = HELD_OUT_SEED + config.num_val_phantoms
    windows = encoder_config.windows_per_phantom
    val = draw_pool(range(HELD_OUT_SEED, first_test), split="val", windows_per_phantom=windows)
    seeds = range(first_test, first_test + config.num_test_phantoms)
    test = draw_pool(seeds, split="test", windows_per_phantom=windows)
    pool = join_pools([real, drawn, val, test])
    log(f"embedding {len(pool.rgb)} windows under {config.stains} stains")
    statistics, colour = _statistics(network, pool, config.stains, config.seed, encoder_config)
    train = pool.split == "train"
    weight = even_weights(pool.source[train], pool.target[train].argmax(1))
    flat = statistics[train].reshape(-1, statistics.shape[2])
    repeated = np.repeat(weight, config.stains) / config.stains
    center, reduction = fit_blocks(flat, repeated, config.dim, directions, config.depths)
    tensors = {f"network.{k}": v.contiguous() for k, v in network.state_dict().items()}
    tensors["center"] = torch.from_numpy(center)
    tensors["reduction"] = torch.from_numpy(np.ascontiguousarray(reduction))
    assert config.dim == ENCODERS.get("mini").dim
    # Matrices at half precision move an embedding by 1e-3 of its length and halve the file.
    payload = save({k: v.half() if v.ndim > 1 else v for k, v in tensors.items()})
    write_atomic(out / "encoder.safetensors", payload)
    bank = TileBank(
        ((statistics - center) @ reduction.T).astype(np.float32),
        colour,
        pool.target,
        pool.partial,
        pool.source,
        pool.group,
        pool.split,
    )
    digest = hashlib.sha256(payload).hexdigest()
    classifier = fit_classifier(bank, config.classifier, digest)
    classifier.save(out / "tiles.safetensors")
    bank.save(bank_path, digest)
    return bank_path
