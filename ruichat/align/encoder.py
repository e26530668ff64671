"""Stage (a): train the `mini` encoder on real tiles and phantoms, stain perturbed.

Three terms share one network. The class of a window (soft, where a window shows several) is
learned on real and drawn tissue alike; two views of one tile have to agree (VICReg), so that
features also describe what no label names.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from ruichat.align.stain import StainConfig, perturb_stain
from ruichat.config import Config, Seed
from ruichat.features.mini.graph import NUM_STATISTICS
from ruichat.features.mini.network import MiniNetwork
from ruichat.histology import KEYS
from ruichat.truth.tiles import (
    MALIGNANT_ROW,
    SourceConfig,
    TilePool,
    draw_pool,
    even_weights,
    join_pools,
    read_source,
)

Log = Callable[[str], None]


class EncoderTrainingConfig(Config):
    """Settings of the encoder stage."""

    sources: list[SourceConfig]
    seed: Seed = 0
    steps: int = 4000
    real_per_step: int = 40
    """Real tiles per step, each seen in two views."""
    phantom_per_step: int = 20
    view_px: int = 128
    """Side of a training view; the network reads any size."""
    min_crop_px: int = 112
    """Smallest crop that is resized to a view: sets the range of scales."""
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    invariance: float = 0.5
    """Weight of the self-supervised term."""
    num_phantoms: int = 320
    windows_per_phantom: int = 12
    stain: StainConfig = StainConfig()
    compiled: bool = False
    """Compile the network: 1.5 times as fast on a CPU; needs a C++ compiler."""


DIRECTIONS = "directions"
"""Name under which the trained network keeps the axes its classes were told apart by."""


class Heads(nn.Module):
    """Classifier and self-supervised projector, both dropped after training."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(NUM_STATISTICS)
        self.classifier = nn.Linear(NUM_STATISTICS, len(KEYS))
        self.projector = nn.Sequential(
            nn.Linear(NUM_STATISTICS, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 256)
        )

    def forward(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        normal = self.norm(statistics)
        return self.classifier(F.dropout(normal, 0.2, self.training)), self.projector(normal)

    @torch.no_grad()
    def directions(self) -> Float[Tensor, "c s"]:
        """The classifier's axes in the space of raw statistics."""
        variance = self.norm.running_var
        assert variance is not None
        return self.classifier.weight * (self.norm.weight / torch.sqrt(variance + self.norm.eps))


def class_loss(
    logits: Float[Tensor, "n c"], target: Float[Tensor, "n c"], partial: Bool[Tensor, " n"]
) -> Tensor:
    """Soft cross-entropy; for partial rows only between malignant and not."""
    log_p = F.log_softmax(logits.float(), dim=1)
    full = -(target * log_p).sum(1)
    malignant = torch.from_numpy(MALIGNANT_ROW)
    log_bad = torch.logsumexp(log_p[:, malignant], 1)
    log_rest = torch.logsumexp(log_p[:, ~malignant], 1)
    share = target[:, malignant].sum(1)
    binary = -(share * log_bad + (1 - share) * log_rest)
    return torch.where(partial, binary, full).mean()


def vicreg_loss(a: Float[Tensor, "n p"], b: Float[Tensor, "n p"]) -> Tensor:
    """Invariance, variance and covariance terms.

    Source:
        Bardes et al. 2022, arXiv:2105.04906, weights 25, 25, 1, divided by 25.
    """
    loss = F.mse_loss(a, b)
    for z in (a, b):
        z = z - z.mean(0)
        loss = loss + F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean() / 2
        covariance = (z.T @ z) / (z.shape[0] - 1)
        off = covariance - torch.diag(covariance.diagonal())
        loss = loss + off.square().sum() / z.shape[1] / 25
    return loss


def draw_views(
    rgb: NDArray[np.uint8], config: EncoderTrainingConfig, rng: np.random.Generator
) -> Float[Tensor, "n 3 v v"]:
    """One random view per tile: crop, scale, flip, turn, blur and stain, in 0..1."""
    n, side = rgb.shape[0], rgb.shape[1]
    out = torch.empty(n, 3, config.view_px, config.view_px)
    # Crop size is shared by groups of tiles so that resizing runs in few large calls.
    for part in np.array_split(np.arange(n), max(1, n // 8)):
        crop = int(rng.integers(config.min_crop_px, side + 1))
        y, x = rng.integers(0, side - crop + 1, 2)
        cut = torch.from_numpy(rgb[part, y : y + crop, x : x + crop].copy())
        view = cut.permute(0, 3, 1, 2).float() / 255
        view = torch.rot90(view, int(rng.integers(4)), (2, 3))
        if rng.random() < 0.5:
            view = view.flip(3)
        view = F.interpolate(view, (config.view_px,) * 2, mode="bilinear", antialias=True)
        if rng.random() < 0.2:
            small = int(config.view_px * rng.uniform(0.4, 0.8))
            view = F.interpolate(view, (small, small), mode="bilinear", antialias=True)
            view = F.interpolate(view, (config.view_px,) * 2, mode="bilinear")
        out[torch.from_numpy(part)] = view
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    return perturb_stain(out, config.stain, generator)


def normalise(rgb01: Tensor) -> Tensor:
    """The input scaling that the encoder's card states: mean 0.7, spread 0.2 per channel."""
    return (rgb01 - 0.7) / 0.2


def channels_last(network: MiniNetwork) -> MiniNetwork:
    """The network in the memory layout that is fastest on CPUs: 1.7 times the default's speed."""
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return network


def load_pools(
    config: EncoderTrainingConfig, data_root: Path, cache: Path, log: Log
) -> tuple[TilePool, TilePool]:
    """Real windows of all sources, and drawn ones (kept in `cache`: drawing takes minutes)."""
    real = join_pools([read_source(source, data_root) for source in config.sources])
    path = cache / f"phantoms-{config.num_phantoms}-{config.windows_per_phantom}.npz"
    if not path.is_file():
        log(f"drawing {config.num_phantoms} phantoms")
        drawn = draw_pool(
            range(config.num_phantoms),
            split="train",
            windows_per_phantom=config.windows_per_phantom,
        )
        arrays = {name: getattr(drawn, name) for name in TilePool.__slots__}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_path = path.with_suffix(".part.npz")
        np.savez(partial_path, **arrays)
        partial_path.rename(path)
    with np.load(path) as stored:
        return real, TilePool(**{name: stored[name] for name in TilePool.__slots__})


def train_encoder(
    config: EncoderTrainingConfig, data_root: Path, out: Path, log: Log = print
) -> Path:
    """Train and write `encoder.safetensors`; goes on from the last checkpoint in `out`.

    Returns:
        Path of the trained network's weights.
    """
    result = out / "network.safetensors"
    if result.is_file():
        return result
    real, drawn = load_pools(config, data_root, out.parent / "pools", log)
    real = real.where(real.split == "train")
    emphasis = {source.name: source.weight for source in config.sources}
    weights = even_weights(real.source, real.target.argmax(1), emphasis)
    torch.manual_seed(config.seed)
    network = channels_last(MiniNetwork())
    heads = Heads()
    parameters = [*network.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.steps, pct_start=0.05
    )
    checkpoint = out / "checkpoint.pt"
    start = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        heads.load_state_dict(state["heads"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        start = state["step"]
        log(f"encoder: going on from step {start}")
    network.train()
    if config.compiled:
        network.compile()
    began, running = time.perf_counter(), np.zeros(3)
    for step in range(start, config.steps):
        # One generator per step: a resumed run draws what an unbroken one would have drawn.
        rng = np.random.default_rng((config.seed, step))
        torch.manual_seed(step)
        rows = rng.choice(len(real.rgb), config.real_per_step, p=weights)
        drawn_rows = rng.choice(len(drawn.rgb), config.phantom_per_step)
        tiles = np.concatenate([real.rgb[rows], drawn.rgb[drawn_rows]])
        target = np.concatenate([real.target[rows], drawn.target[drawn_rows]])
        partial = np.concatenate([real.partial[rows], drawn.partial[drawn_rows]])
        views = [draw_views(tiles, config, rng), draw_views(tiles, config, rng)]
        pixels = normalise(torch.cat(views)).to(memory_format=torch.channels_last)
        logits, projected = heads(network(pixels))
        labels = torch.from_numpy(np.concatenate([target, target]))
        supervised = class_loss(logits, labels, torch.from_numpy(np.concatenate([partial] * 2)))
        agreement = vicreg_loss(projected[: len(tiles)], projected[len(tiles) :])
        loss = supervised + config.invariance * agreement
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
        schedule.step()
        running += [supervised.item(), agreement.item(), 1]
        if (step + 1) % 100 == 0:
            rate = (step + 1 - start) * 2 * len(tiles) / (time.perf_counter() - began)
            log(
                f"encoder step {step + 1}/{config.steps} class {running[0] / running[2]:.3f} "
                f"agree {running[1] / running[2]:.3f} {rate:.0f} views/s"
            )
            running[:] = 0
        if (step + 1) % 500 == 0:
            state = {
                "network": network.state_dict(),
                "heads": heads.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step + 1,
            }
            out.mkdir(parents=True, exist_ok=True)
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").rename(checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    weights_out = {name: value.contiguous() for name, value in network.state_dict().items()}
    weights_out[DIRECTIONS] = heads.directions().contiguous()
    save_file(weights_out, result.with_suffix(".part"))
    result.with_suffix(".part").rename(result)
    return result
