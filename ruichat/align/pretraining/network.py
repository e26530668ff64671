"""What learns: a backbone with its heads, and the teacher that follows it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ruichat.align.pretraining.balancing import Centre
from ruichat.align.pretraining.heads import PrototypeHead
from ruichat.align.pretraining.settings import PretrainConfig
from ruichat.align.pretraining.smeka import RegisterTargets, Tokens
from ruichat.errors import ArtifactError
from ruichat.features.encoders.vit import TileViT
from ruichat.storage.artifacts import write_atomic

HEADS_FILE = "heads.safetensors"
"""Beside the weights of an encoder: heads that a later training goes on with."""


class Network(nn.Module):
    """A backbone and the heads on its tokens; a head whose loss has no weight isn't made."""

    def __init__(self, backbone: TileViT, width: int, config: PretrainConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.dino = PrototypeHead(width, config.dino.head) if config.dino.weight else None
        self.ibot = PrototypeHead(width, config.ibot.head) if config.ibot.weight else None

    def tokens(self, pixels: Tensor, masked: Tensor | None = None) -> Tokens:
        """CLS, register and patch tokens of normalised pixels."""
        found = self.backbone.tokens(pixels, masked)
        first = self.backbone.num_prefix
        return Tokens(found[:, 0], found[:, first:], found[:, 1:first])


class Student(nn.Module):
    """All that a run trains.

    Attributes:
        network: what the teacher follows.
        register_targets: Linear_k of the frozen encoders; None without any.
    """

    def __init__(self, network: Network, teacher_dims: Sequence[int], width: int) -> None:
        super().__init__()
        self.network = network
        self.register_targets = RegisterTargets(teacher_dims, width) if teacher_dims else None


class Following:
    """The teacher, the earlier teacher that patches are anchored in, and running centres.

    They are carried beside the trained module: no optimiser and no wrapper knows them.

    Args:
        student: network to begin as.
        anchor: earlier teacher, where one is given from the start.
    """

    def __init__(self, student: Network, anchor: TileViT | None) -> None:
        self.network = copy.deepcopy(student).eval().requires_grad_(False)
        self.anchor = anchor
        self.centres = {"dino": Centre(), "ibot": Centre()}
        self._given = anchor is not None
        self._refreshes = 0

    @property
    def keeps_given(self) -> bool:
        """Whether the anchor is the one that was given, not an earlier teacher."""
        return self._given

    def to(self, device: torch.device) -> None:
        """Move everything to where the student is."""
        self.network.to(device)
        if self.anchor is not None:
            self.anchor.to(device)

    @torch.no_grad()
    def follow(self, student: Network, momentum: float) -> None:
        """Move every weight a little towards the student's."""
        for own, theirs in zip(self.network.parameters(), student.parameters(), strict=True):
            own.lerp_(_whole(theirs), 1 - momentum)

    def settle_anchor(
        self, step: int, *, from_step: int, refresh_every: int, max_refreshes: int
    ) -> None:
        """Take the teacher as it is for the anchor, if it is time for that.

        Args:
            step: steps done.
            from_step: when the first anchor is taken, unless one was given.
            refresh_every: steps between anchors; 0 for never.
            max_refreshes: of the first.
        """
        first = self.anchor is None and step >= from_step
        again = (
            self.anchor is not None
            and refresh_every > 0
            and step > from_step
            and (step - from_step) % refresh_every == 0
            and self._refreshes < max_refreshes
        )
        if first or again:
            self.anchor = copy.deepcopy(self.network.backbone)
            self._given = False
            self._refreshes += int(again)

    def state_dict(self) -> dict[Any, Any]:
        """All that a resumed run needs; a given anchor is read again instead."""
        kept = None if self.anchor is None or self._given else _state(self.anchor)
        return {
            "network": _state(self.network),
            "anchor": kept,
            "refreshes": self._refreshes,
            "centres": {name: centre.mean for name, centre in self.centres.items()},
        }

    def load_state_dict(self, state: dict[Any, Any]) -> None:
        """Go on from there."""
        self.network.load_state_dict(state["network"])
        if state["anchor"] is not None:
            self.anchor = copy.deepcopy(self.network.backbone)
            self.anchor.load_state_dict(state["anchor"])
            self._given = False
        self._refreshes = state["refreshes"]
        for name, mean in state["centres"].items():
            self.centres[name].mean = mean


def save_heads(folder: Path, network: Network) -> None:
    """Keep the heads beside the encoder."""
    heads = {k: v for k, v in _state(network).items() if not k.startswith("backbone.")}
    write_atomic(folder / HEADS_FILE, save(heads))


def load_heads(folder: Path, network: Network) -> list[str]:
    """Go on with the heads in an encoder's folder, where there are any of the same shape.

    Returns:
        Names of the heads that go on; of others, why they don't.

    Raises:
        ArtifactError: their file is damaged.
    """
    path = folder / HEADS_FILE
    if not path.is_file():
        return []
    try:
        kept, found = load_file(path), list[str]()
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"{path} is damaged: {error}",
            hint="Copy the encoder's folder again, or take the file away to begin its heads anew",
        ) from error
    for name in ("dino", "ibot"):
        head: PrototypeHead | None = getattr(network, name)
        own = {k.removeprefix(f"{name}."): v for k, v in kept.items() if k.startswith(f"{name}.")}
        if head is not None and _shapes(own) == _shapes(head.state_dict()):
            head.load_state_dict(own)
            found.append(name)
        elif head is not None and own:
            found.append(f"{name} (not: {HEADS_FILE} has it in other sizes than the settings)")
    return found


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}


def _whole(value: Tensor) -> Tensor:
    """A parameter with all of its numbers, also where processes have shared them out."""
    return value.full_tensor() if isinstance(value, DTensor) else value
