"""Teacher logits as targets that use all prototypes: Sinkhorn-Knopp, or a running centre.

Both come down to one offset per prototype, so a batch of any size can be balanced in parts, over
several processes, without ever holding all of its logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch import distributed as dist

Logits = Callable[[], Tensor]
"""Makes the logits [n,p] of a part of the batch; called once per pass over the batch."""


def targets(
    logits: Float[Tensor, "n p"], offset: Float[Tensor, " p"], temperature: float
) -> Float[Tensor, "n p"]:
    """Probabilities over prototypes, balanced by the offset."""
    return (logits.float() / temperature + offset).softmax(dim=-1)


@torch.no_grad()
def sinkhorn_offset(
    parts: Sequence[Logits], temperature: float, iterations: int = 3
) -> Float[Tensor, " p"]:
    """Offset under which every prototype gets the same share of the whole batch.

    Args:
        parts: this process's share of the batch; other processes bring theirs in the same call.
        temperature: of the teacher.
        iterations: of scaling prototypes, then examples.

    Returns:
        Log of the prototypes' scale. `targets` does the last scaling of examples, so the result
        is that of the published algorithm to rounding.

    Source:
        Cuturi 2013, arXiv:1306.0895; three iterations as in SwAV, Caron et al. 2020, and DINOv2.
        There the whole matrix is held and scaled in place.
    """
    offset: Tensor | None = None
    for _ in range(iterations):
        mass: Tensor | None = None
        for part in parts:
            scaled = part().float() / temperature
            if offset is not None and len(scaled):
                scaled = scaled - (scaled + offset).logsumexp(dim=1, keepdim=True)
            found = _logsumexp_rows(scaled)
            mass = found if mass is None else torch.logaddexp(mass, found)
        assert mass is not None, "a process without micro-batches takes no part in a step"
        offset = -_logsumexp_over_processes(mass)
    assert offset is not None
    return torch.where(offset.isfinite(), offset, torch.zeros_like(offset))


class Centre:
    """Running mean of the teacher's logits, which is subtracted from them.

    Source:
        DINO, Caron et al. 2021: momentum .9.
    """

    def __init__(self, momentum: float = 0.9) -> None:
        self.mean: Tensor | None = None
        self._momentum = momentum

    @torch.no_grad()
    def offset(self, parts: Sequence[Logits], temperature: float) -> Float[Tensor, " p"]:
        """Offset by the mean as it was, which then takes in this batch."""
        made = [part().float() for part in parts]
        found = torch.stack([part.sum(0) for part in made]).sum(0)
        count = found.new_tensor([float(sum(map(len, made)))])
        for value in (found, count):
            if dist.is_initialized():
                dist.all_reduce(value)
        old = torch.zeros_like(found) if self.mean is None else self.mean.to(found.device)
        if count.item():
            kept = self._momentum
            self.mean = kept * old + (1 - kept) * found / count
        return -old / temperature


def _logsumexp_rows(values: Tensor) -> Tensor:
    if len(values):
        return values.logsumexp(dim=0)
    return values.new_full(values.shape[1:], -torch.inf)


def _logsumexp_over_processes(values: Tensor) -> Tensor:
    if not dist.is_initialized():
        return values
    highest = values.clone()
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    shift = highest.clamp_min(torch.finfo(values.dtype).min)
    total = (values - shift).exp()
    dist.all_reduce(total)
    return total.log() + shift
