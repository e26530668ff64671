"""Bags pooled tile by tile: their mean, and attention whose gate decides how much a tile counts.

Source:
    Ilse et al. 2018, arXiv:1802.04712, equation 9. CHIEF: Wang et al. 2024,
    doi:10.1038/s41586-024-07894-z.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ruichat.errors import ArtifactError, ConfigError, PrerequisiteError
from ruichat.features.encoders.layers import kept
from ruichat.features.encoders.loading import place
from ruichat.features.encoders.weights import find_local, weights_folder
from ruichat.features.slide_encoders.card import SlideEncoderCard
from ruichat.features.slide_encoders.encoder import SlideEncoder
from ruichat.storage.artifacts import Manifest, read_checked, save_arrays

KIND = "abmil"
SCHEMA_VERSION = 1


class Mean(nn.Module):
    """The mean of all tiles."""

    def forward(
        self, embeddings: Float[Tensor, "n d"], cells: Int64[Tensor, "n 2"]
    ) -> Float[Tensor, " d"]:
        """The slide's embedding; where tiles lie doesn't matter."""
        return embeddings.mean(dim=0)


class GatedScore(nn.Module):
    """One score per tile: a tanh branch gated by a sigmoid branch."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.tanh = nn.Linear(dim, hidden)
        self.gate = nn.Linear(dim, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Unnormalised weights."""
        return self.score(self.tanh(x).tanh() * self.gate(x).sigmoid())[:, 0]


class Abmil(nn.Module):
    """Attention-weighted mean of embeddings.

    Args:
        dim: width of the embeddings.
        hidden: width of the attention's two branches.
        project: width that embeddings are projected to before scoring, 0 for none.
        pool_projected: average what was projected; otherwise the embeddings as they came.
    """

    def __init__(
        self, *, dim: int, hidden: int, project: int = 0, pool_projected: bool = True
    ) -> None:
        super().__init__()
        self.dim = dim
        self.pool_projected = pool_projected
        self.project = nn.Linear(dim, project) if project else None
        self.attention = GatedScore(project or dim, hidden)

    def forward(
        self, embeddings: Float[Tensor, "n d"], cells: Int64[Tensor, "n 2"]
    ) -> Float[Tensor, " e"]:
        """The slide's embedding; where tiles lie doesn't matter."""
        projected = embeddings if self.project is None else self.project(embeddings).relu()
        weight = self.attention(projected).softmax(dim=0)
        return weight @ (projected if self.pool_projected else embeddings)


def build_chief(*, dim: int = 768, project: int = 512, hidden: int = 256) -> Abmil:
    """CHIEF's attention over CTransPath embeddings, which it averages as they came."""
    return Abmil(dim=dim, hidden=hidden, project=project, pool_projected=False)


_CHIEF_NAMES = {
    "0": "project",
    "3.attention_a.0": "attention.tanh",
    "3.attention_b.0": "attention.gate",
    "3.attention_c": "attention.score",
}


def rename_chief(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The published state dict to that of `build_chief`.

    Classifiers and the branch of the anatomic site act behind the slide embedding, not on it.
    """
    unneeded = (
        "classifiers.",
        "instance_classifiers.",
        "att_head.",
        "text_to_vision.",
        "organ_embedding",
    )
    placed: dict[str, Tensor] = {}
    for key, value in kept(state, unneeded=unneeded, prefix="attention_net.").items():
        name, _, kind = key.rpartition(".")
        placed[f"{_CHIEF_NAMES.get(name, name)}.{kind}"] = value
    return placed


def load_mean(card: SlideEncoderCard, weights: Path | None) -> SlideEncoder:
    """The mean.

    Raises:
        ConfigError: weights are given.
    """
    if weights is not None:
        raise ConfigError("the mean has no weights", hint="Leave out --weights")
    return SlideEncoder(card, Mean(), digest="")


def save_abmil(path: Path, module: Abmil, *, encoder: str, encoder_digest: str) -> None:
    """Write weights that `load_abmil` reads.

    Args:
        path: of the safetensors file.
        module: as trained, averaging what it projects.
        encoder: name of the tile encoder of the bags that it was trained on.
        encoder_digest: of that encoder's weights; empty if not known.

    Raises:
        ArtifactError: the file can't be written.
    """
    assert module.pool_projected, "CHIEF's way of pooling has its own card"
    arrays = {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        kind=KIND,
        made_from={"encoder": encoder_digest},
        details={"encoder": encoder},
    )
    save_arrays(path, arrays, manifest)


def load_abmil(card: SlideEncoderCard, weights: Path | None) -> SlideEncoder:
    """Gated attention with the weights given, for bags of the encoder that they name.

    Raises:
        PrerequisiteError: no weights are given.
        ArtifactError: they are damaged, not written by `save_abmil`, or name no tile encoder.
        ModelError: they are of another architecture.
    """
    path = weights or find_local(card)
    if path is None:
        folder = weights_folder(card) or f"$RUICHAT_WEIGHTS/{card.name}"
        raise PrerequisiteError(
            f"{card.name} has no published weights",
            hint=f"Train some, and give them with --weights FILE or put them into {folder}",
        )
    path = path / card.files[0] if path.is_dir() else path
    artifact = read_checked(path, kind=KIND, schema_version=SCHEMA_VERSION)
    state = {name: torch.from_numpy(value.copy()) for name, value in artifact.arrays.items()}
    module = _shaped_as(state)
    place(module, state, card=card, file=path.name)
    manifest = artifact.manifest
    encoder, digest = manifest.details.get("encoder"), manifest.made_from.get("encoder", "")
    if not encoder:
        raise ArtifactError(
            f"{path.name} doesn't name the tile encoder that it was trained on",
            hint="Write it with save_abmil",
        )
    card = replace(card, tile_encoder=str(encoder), tile_dim=module.dim)
    return SlideEncoder(card, module, digest=manifest.sha256, tile_digest=digest)


def _shaped_as(state: Mapping[str, Tensor]) -> Abmil:
    """The module whose parameters have those shapes, as far as they tell."""
    none = torch.empty(0, 0)
    project = state.get("project.weight", none)
    tanh = state.get("attention.tanh.weight", none)
    return Abmil(
        dim=(project if len(project) else tanh).shape[-1],
        hidden=len(tanh),
        project=len(project),
    )
