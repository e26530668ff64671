"""A slide encoder at work: which bags it takes, and what it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import nn

from ruichat.errors import ArtifactError, ConfigError, ModelError
from ruichat.features.bag import FeatureBag
from ruichat.features.slide_encoders.card import SlideEncoderCard
from ruichat.features.slide_encoders.embedding import SlideEmbedding
from ruichat.registry import load_object

TILE_TOLERANCE = 0.1
"""Share by which tiles may be wider or narrower: what scanners call 20x lies between 0.46 and
0.53 um/px."""


class SlideEncoder:
    """From the bags of one tile encoder to one embedding per slide.

    Args:
        card: what it is.
        module: from embeddings [n,d] and cells of a grid [n,2] to the slide's [e].
        digest: SHA-256 (hex) over its weights; empty if it has none.
        tile_digest: of the weights of the tile encoder whose bags it takes; any if empty.
    """

    def __init__(
        self, card: SlideEncoderCard, module: nn.Module, *, digest: str, tile_digest: str = ""
    ) -> None:
        self.card = card
        self.digest = digest
        self.tile_digest = tile_digest
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._module = module.eval().to(self._device)

    def encode(self, bag: FeatureBag) -> SlideEmbedding:
        """The slide's embedding.

        Raises:
            ArtifactError: the bag is of another tile encoder, or of tiles of another size.
            InputError: the slide is larger than the encoder's positions reach.
            ModelError: the embedding isn't finite.
        """
        check_bag(self.card, bag, self.tile_digest)
        cells = grid_cells(self.card, bag)
        with torch.inference_mode():
            vector = self._module(
                torch.from_numpy(bag.embeddings).to(self._device),
                torch.from_numpy(cells).to(self._device),
            )
        found = np.ascontiguousarray(vector.float().cpu().numpy())
        if not np.isfinite(found).all():
            raise ModelError(
                f"slide encoder {self.card.name!r} gave an embedding that is not finite",
                hint="Check its weights",
            )
        return SlideEmbedding(
            vector=found,
            slide_encoder=self.card.name,
            slide_encoder_digest=self.digest,
            encoder=bag.encoder,
            encoder_digest=bag.encoder_digest,
            slide_digest=bag.slide_digest,
            fingerprint=bag.fingerprint,
            num_tiles=len(bag),
            warnings=(*bag.warnings, *self._doubts(bag, cells)),
        )

    def _doubts(self, bag: FeatureBag, cells: Int64[NDArray[np.int64], "n 2"]) -> Iterator[str]:
        """What the user should know of this bag in this slide encoder."""
        if self.tile_digest and not bag.encoder_digest:
            yield f"nobody knows which weights of {bag.encoder} made the bag"
        shared = len(cells) - len(np.unique(cells, axis=0))
        if shared and self.card.positions != "unused":
            yield f"{shared} tiles lie where others lie: {self.card.title} is for a plain grid"


def check_bag(card: SlideEncoderCard, bag: FeatureBag, tile_digest: str = "") -> None:
    """Refuse a bag that the slide encoder wasn't made for.

    Raises:
        ArtifactError: naming both tile encoders, or both sizes of tiles.
    """
    _check_tile_encoder(card, bag, tile_digest)
    found = bag.span0 * bag.base_mpp
    if card.tile_um and abs(found / card.tile_um - 1) > TILE_TOLERANCE:
        raise ArtifactError(
            f"tiles of bag {bag.slide_digest[:8]} are {found:.0f} um wide; slide encoder "
            f"{card.name!r} takes {card.tile_um:.0f} um ({card.tile_px} px at {card.tile_mpp} "
            "um/px)",
            hint="Extract the slide again with tiles of that size",
        )


def _check_tile_encoder(card: SlideEncoderCard, bag: FeatureBag, tile_digest: str) -> None:
    wanted = card.tile_encoder or bag.encoder, card.tile_dim or bag.dim
    same_weights = bag.encoder_digest in ("", tile_digest) or not tile_digest
    if (bag.encoder, bag.dim) == wanted and same_weights:
        return
    weights = f", weights {tile_digest[:8]}" if tile_digest else ""
    raise ArtifactError(
        f"bag {bag.slide_digest[:8]} was made by encoder {bag.encoder!r} (d={bag.dim}, weights "
        f"{bag.encoder_digest[:8]}); slide encoder {card.name!r} takes bags of {wanted[0]!r} "
        f"(d={wanted[1]}{weights})",
        hint=f"Extract the slide again with encoder {wanted[0]}",
    )


def grid_cells(card: SlideEncoderCard, bag: FeatureBag) -> Int64[NDArray[np.int64], "n 2"]:
    """Column and row of each tile in a grid of tiles."""
    if card.positions == "unused":
        return np.zeros_like(bag.xy0)
    corner = bag.xy0.min(axis=0) if card.positions == "from the first tile" else 0
    return (bag.xy0 - corner) // bag.span0


def load_slide_encoder(
    name: str, *, weights: Path | None = None, download: bool = False
) -> SlideEncoder:
    """The slide encoder of that name, with its weights.

    Args:
        name: of its card.
        weights: file or folder that holds its weights; otherwise they are looked for in
            `$RUICHAT_WEIGHTS/<name>` and the hub's cache.
        download: fetch weights that are nowhere here from the hub.

    Raises:
        ConfigError: there is no such slide encoder, or it has no weights and some are given or
            to be fetched.
        PrerequisiteError: its weights are missing.
        ModelError: the weights are of another architecture.
    """
    from ruichat.features.encoders.loading import load_module
    from ruichat.features.encoders.weights import find_weights
    from ruichat.features.slide_encoders.cards import SLIDE_ENCODERS
    from ruichat.storage.digests import digest_of

    card = SLIDE_ENCODERS.get(name)
    if card.architecture is None:
        if download:
            raise ConfigError(
                f"slide encoder {name!r} isn't on the hub", hint="Leave out --download"
            )
        load = cast(Callable[..., SlideEncoder], load_object(card.loader))
        return load(card, weights)
    path = find_weights(card, weights, download=download)
    return SlideEncoder(card, load_module(card, path), digest=digest_of(path))
