"""The embedding of one slide, and its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from ruichat.errors import ArtifactError
from ruichat.storage.artifacts import Manifest
from ruichat.storage.hdf5 import Column, read_table, save_table

KIND = "slide-embedding"
SCHEMA_VERSION = 1

DATASET = "features"
"""Where TRIDENT's users look for a slide's vector."""


@dataclass(frozen=True)
class SlideEmbedding:
    """One vector for a slide, and what made it.

    Attributes:
        vector: the embedding.
        slide_encoder: name of the slide encoder.
        slide_encoder_digest: digest of its weights; empty if it has none.
        encoder: name of the tile encoder.
        encoder_digest: digest of its weights.
        slide_digest: digest of the slide's files.
        fingerprint: of the config that the bag was extracted with.
        num_tiles: that were pooled.
        warnings: what the user should know about the slide or the pooling.

    Raises:
        ArtifactError: on making one that isn't a finite vector.
    """

    vector: Float32[NDArray[np.float32], " d"]
    slide_encoder: str
    slide_encoder_digest: str
    encoder: str
    encoder_digest: str
    slide_digest: str
    fingerprint: str
    num_tiles: int
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.vector.ndim != 1 or not len(self.vector) or not np.isfinite(self.vector).all():
            raise ArtifactError(
                f"a slide embedding must be one finite vector, not {self.vector.shape}",
                hint="Pool the bag again",
            )

    def manifest(self) -> Manifest:
        """What it was made from."""
        return Manifest(
            schema_version=SCHEMA_VERSION,
            kind=KIND,
            made_from={
                "slide": self.slide_digest,
                "encoder": self.encoder_digest,
                "slide_encoder": self.slide_encoder_digest,
            },
            config_fingerprint=self.fingerprint,
            details={
                "encoder": self.encoder,
                "slide_encoder": self.slide_encoder,
                "num_tiles": self.num_tiles,
                "warnings": list(self.warnings),
            },
        )

    def save(self, path: Path) -> None:
        """Write it as an HDF5 file, atomically.

        Raises:
            ArtifactError: the disk is full or the folder can't be written.
        """
        attributes = {"encoder": self.slide_encoder, "name": self.slide_digest[:12]}
        columns = {DATASET: Column(self.vector.shape, np.float32, attributes)}
        save_table(path, columns, [{DATASET: self.vector}], self.manifest())

    @classmethod
    def load(cls, path: Path) -> SlideEmbedding:
        """Read one.

        Raises:
            ArtifactError: missing, damaged, or not a slide embedding of this schema.
        """
        artifact = read_table(path, kind=KIND, schema_version=SCHEMA_VERSION)
        manifest, details = artifact.manifest, artifact.manifest.details
        try:
            return cls(
                vector=artifact.arrays[DATASET],
                slide_encoder=str(details["slide_encoder"]),
                slide_encoder_digest=manifest.made_from["slide_encoder"],
                encoder=str(details["encoder"]),
                encoder_digest=manifest.made_from["encoder"],
                slide_digest=manifest.made_from["slide"],
                fingerprint=manifest.config_fingerprint,
                num_tiles=int(details["num_tiles"]),
                warnings=tuple(details["warnings"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{path} lacks parts of a slide embedding ({type(error).__name__}: {error})",
                hint="Delete it and pool the bag again",
            ) from error
