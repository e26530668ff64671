"""Losses of self-supervised training, each summed over tiles so that parts of a batch add up.

Letters beside the project's: `c` crops of a tile, `p` prototypes, `m` masked patches.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch import distributed as dist
from torch.distributed.nn import functional as over_processes

STUDENT_TEMPERATURE = 0.1
"""Source: DINO, Caron et al. 2021; unchanged in DINOv2 and DINOv3."""


def dino_loss(
    student: Float[Tensor, "c b p"], teacher: Float[Tensor, "t b p"], *, same: bool
) -> Float[Tensor, ""]:
    """Cross-entropy of every crop's prediction under every other crop's target.

    Args:
        student: logits of crops.
        teacher: target probabilities of crops.
        same: crop i is the same in both; a crop isn't compared with itself then.

    Returns:
        Mean over pairs of crops, summed over tiles.

    Source:
        Caron et al. 2021, arXiv:2104.14294, equation 1.
    """
    log_p = F.log_softmax(student.float() / STUDENT_TEMPERATURE, dim=-1)
    everywhere = teacher.sum(0)
    num_pairs = len(student) * len(teacher)
    if not same:
        return -(everywhere * log_p.sum(0)).sum() / num_pairs
    others = everywhere - teacher
    return -(others * log_p).sum() / (num_pairs - len(student))


def ibot_loss(
    student: Float[Tensor, "m p"],
    teacher: Float[Tensor, "m p"],
    weight: Float[Tensor, " m"],
    num_crops: int,
) -> Float[Tensor, ""]:
    """Cross-entropy of hidden patches' predictions under what the teacher sees there.

    Args:
        student: logits.
        teacher: target probabilities.
        weight: one over the number of hidden patches in the same crop: crops count alike.
        num_crops: of a tile that could hide patches; those that hide none count as zero.

    Returns:
        Mean over a tile's crops, summed over tiles.

    Source:
        Zhou et al. 2022, arXiv:2111.07832; weighted as in DINOv2.
    """
    log_p = F.log_softmax(student.float() / STUDENT_TEMPERATURE, dim=-1)
    return -((teacher * log_p).sum(-1) * weight).sum() / num_crops


def koleo_loss(embeddings: Float[Tensor, "b d"], *, gather: bool = False) -> Float[Tensor, ""]:
    """How close each tile lies to its nearest neighbour: spreads embeddings over the sphere.

    Args:
        embeddings: one crop's CLS tokens of different tiles.
        gather: neighbours are looked for in the other processes' batches too; all must call.

    Returns:
        Minus the log of the distance, summed over the tiles; 0 for a tile alone.

    Source:
        Sablayrolles et al. 2019, arXiv:1806.03198, as in DINOv2: epsilon 1e-8, neighbours by the
        dot product, within one process's batch.
    """
    own = F.normalize(embeddings.float(), dim=-1, eps=1e-8)
    everyone, first = own, 0
    if gather and dist.is_initialized():
        everyone = torch.cat(tuple(over_processes.all_gather(own)))
        first = dist.get_rank() * len(own)
    if len(everyone) < 2:
        return own.sum() * 0
    with torch.no_grad(), exact(own):
        likeness = own @ everyone.T
        rows = torch.arange(len(own), device=own.device)
        likeness[rows, first + rows] = -1
        nearest = likeness.argmax(1)
    distance = F.pairwise_distance(own, everyone[nearest], eps=1e-8)
    return -torch.log(distance + 1e-8).sum()


def gram_loss(
    student: Float[Tensor, "b n d"], teacher: Float[Tensor, "b n d"], num_crops: int
) -> Float[Tensor, ""]:
    """How far patches' likenesses to each other are from those in an earlier teacher.

    Args:
        student: patch tokens.
        teacher: of the same crops on the same grid.
        num_crops: rows per tile.

    Returns:
        Mean square over all pairs of patches and a tile's crops, summed over tiles.

    Source:
        DINOv3, Simeoni et al. 2025, arXiv:2508.10104: Gram matrices of unit vectors, per image.
    """
    with torch.no_grad():
        wanted = likenesses(teacher)
    return (likenesses(student) - wanted).square().mean(dim=(1, 2)).sum() / num_crops


def likenesses(patches: Float[Tensor, "b n d"]) -> Float[Tensor, "b n n"]:
    """Cosine of each pair of patches."""
    with exact(patches):
        unit = F.normalize(patches.float(), dim=-1)
        return unit @ unit.transpose(1, 2)


def exact(beside: Tensor) -> torch.autocast:
    """Products in float32, whatever precision the networks run in: losses subtract them."""
    return torch.autocast(beside.device.type, enabled=False)


def fit_grid(patches: Float[Tensor, "b n d"], num: int) -> Float[Tensor, "b m d"]:
    """Patch tokens of a square grid, resampled to a grid of `num` patches.

    Source:
        DINOv3: the Gram teacher sees crops at twice the size, and its tokens are reduced
        bicubically, without antialiasing.
    """
    if patches.shape[1] == num:
        return patches
    side, wanted = round(patches.shape[1] ** 0.5), round(num**0.5)
    image = patches.float().transpose(1, 2).unflatten(2, (side, side))
    resized = F.interpolate(image, (wanted, wanted), mode="bicubic", align_corners=False)
    return resized.flatten(2).transpose(1, 2)
