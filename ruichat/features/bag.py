"""The bag: all embeddings of one slide, with where they lie and what was measured there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy.typing import NDArray

from ruichat.errors import ArtifactError
from ruichat.storage.artifacts import Manifest, read_checked, save_arrays

KIND = "feature-bag"
SCHEMA_VERSION = 2

_DTYPES = {
    "embeddings": np.float32,
    "xy0": np.int64,
    "focus": np.float32,
    "hematoxylin": np.float32,
    "eosin": np.float32,
}


@dataclass(frozen=True)
class FeatureBag:
    """Embeddings of the tiles of one slide.

    Attributes:
        embeddings: one row per tile.
        xy0: top left corners of the tiles, level-0 pixels.
        span0: side of the tiles, level-0 pixels.
        base_mpp: micrometres per level-0 pixel.
        size0: width and height of the slide, level-0 pixels.
        focus: sharpness per tile, 0 to 1.
        hematoxylin: mean optical density of that stain per tile.
        eosin: mean optical density of that stain per tile.
        tissue_area_mm2: tissue found on the slide.
        he_share: share of the tissue that has colours of H&E, 0 to 1.
        encoder: name of the encoder.
        encoder_digest: digest of its weights.
        slide_digest: digest of the slide's files.
        fingerprint: of the extraction config.
        warnings: what the user should know about the slide.

    Raises:
        ArtifactError: on making one with shapes, dtypes or numbers that can't be right.
    """

    embeddings: Float32[NDArray[np.float32], "n d"]
    xy0: Int64[NDArray[np.int64], "n 2"]
    span0: int
    base_mpp: float
    size0: tuple[int, int]
    focus: Float32[NDArray[np.float32], " n"]
    hematoxylin: Float32[NDArray[np.float32], " n"]
    eosin: Float32[NDArray[np.float32], " n"]
    tissue_area_mm2: float
    encoder: str
    encoder_digest: str
    slide_digest: str
    fingerprint: str
    warnings: tuple[str, ...] = ()
    he_share: float = 1.0

    def __post_init__(self) -> None:
        num = len(self.xy0)
        shapes = {
            "embeddings": (num, self.embeddings.shape[-1]),
            "xy0": (num, 2),
            "focus": (num,),
            "hematoxylin": (num,),
            "eosin": (num,),
        }
        for name, shape in shapes.items():
            value: NDArray[Any] = getattr(self, name)
            if value.shape != shape or value.dtype != _DTYPES[name]:
                raise ArtifactError(
                    f"bag holds {name} of {value.dtype} {value.shape}; it must be "
                    f"{np.dtype(_DTYPES[name])} {shape}",
                    hint="Extract the slide again",
                )
        if num == 0 or self.span0 <= 0 or self.base_mpp <= 0 or min(self.size0) <= 0:
            raise ArtifactError(
                f"bag of {num} tiles of {self.span0} px at {self.base_mpp} um/px on a slide of "
                f"{self.size0}: all must be positive",
                hint="Extract the slide again",
            )
        if not np.isfinite(self.embeddings).all():
            raise ArtifactError(
                f"encoder {self.encoder!r} gave embeddings that are not finite",
                hint="Check the encoder's weights",
            )

    def __len__(self) -> int:
        return len(self.xy0)

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        return self.embeddings.shape[1]

    def where(self, keep: Bool[NDArray[np.bool_], " n"]) -> FeatureBag:
        """The bag with only those tiles."""
        return replace(self, **{name: getattr(self, name)[keep] for name in _DTYPES})

    def check_encoder(self, name: str, digest: str, dim: int) -> FeatureBag:
        """Return self, or refuse what another encoder made.

        Raises:
            ArtifactError: naming both encoders.
        """
        if (self.encoder, self.encoder_digest, self.dim) != (name, digest, dim):
            raise ArtifactError(
                f"bag {self.slide_digest[:8]} was made by encoder {self.encoder!r} "
                f"(d={self.dim}, weights {self.encoder_digest[:8]}); wanted is {name!r} "
                f"(d={dim}, weights {digest[:8]})",
                hint=f"Extract the slide again with encoder {name}",
            )
        return self

    def save(self, path: Path) -> None:
        """Write the bag as one safetensors file, atomically.

        Raises:
            ArtifactError: the disk is full or the folder can't be written.
        """
        save_arrays(path, {name: getattr(self, name) for name in _DTYPES}, self.manifest())

    def manifest(self) -> Manifest:
        """What the bag was made from."""
        return Manifest(
            schema_version=SCHEMA_VERSION,
            kind=KIND,
            made_from={"slide": self.slide_digest, "encoder": self.encoder_digest},
            config_fingerprint=self.fingerprint,
            details={
                "encoder": self.encoder,
                "span0": self.span0,
                "base_mpp": self.base_mpp,
                "size0": list(self.size0),
                "tissue_area_mm2": self.tissue_area_mm2,
                "he_share": self.he_share,
                "warnings": list(self.warnings),
            },
        )

    @classmethod
    def load(cls, path: Path) -> FeatureBag:
        """Read a bag.

        Raises:
            ArtifactError: missing, damaged, or not a bag of this schema.
        """
        artifact = read_checked(path, kind=KIND, schema_version=SCHEMA_VERSION)
        manifest, details = artifact.manifest, artifact.manifest.details
        try:
            return cls(
                **{name: artifact.arrays[name] for name in _DTYPES},  # type: ignore[arg-type]
                span0=int(details["span0"]),
                base_mpp=float(details["base_mpp"]),
                size0=(int(details["size0"][0]), int(details["size0"][1])),
                tissue_area_mm2=float(details["tissue_area_mm2"]),
                he_share=float(details["he_share"]),
                encoder=str(details["encoder"]),
                encoder_digest=manifest.made_from["encoder"],
                slide_digest=manifest.made_from["slide"],
                fingerprint=manifest.config_fingerprint,
                warnings=tuple(details["warnings"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ArtifactError(
                f"{path} lacks parts of a bag ({type(error).__name__}: {error})",
                hint="Delete it and extract the slide again",
            ) from error
