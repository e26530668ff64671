"""The bag: all embeddings of one slide, with where they lie and what was measured there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy.typing import NDArray

from ruichat.errors import ArtifactError
from ruichat.storage.artifacts import Manifest, damaged
from ruichat.storage.hdf5 import (
    Column,
    check_table,
    peek_table,
    read_attributes,
    read_table,
    save_table,
)

KIND = "feature-bag"
SCHEMA_VERSION = 3

SUFFIX = ".h5"

_DTYPES = {
    "embeddings": np.float32,
    "xy0": np.int64,
    "focus": np.float32,
    "hematoxylin": np.float32,
    "eosin": np.float32,
}

_DATASETS = {"embeddings": "features", "xy0": "coords"}
"""Names in the file, where they aren't ours: those that TRIDENT and its users look for."""

MAGNIFICATION_UM = 10.0
"""Micrometres per pixel times magnification, by the custom of scanners: 0.25 is called 40x."""


@dataclass(frozen=True)
class BagFacts:
    """All that is known of a bag but its arrays.

    Attributes:
        num_tiles: in the bag.
        dim: width of the embeddings.
        span0: side of the tiles, level-0 pixels.
        base_mpp: micrometres per level-0 pixel.
        size0: width and height of the slide, level-0 pixels.
        tissue_area_mm2: tissue found on the slide; NaN if it wasn't looked for.
        he_share: share of the tissue that has colours of H&E, 0 to 1; NaN as above.
        encoder: name of the encoder.
        encoder_digest: digest of its weights; empty where another tool ran it.
        slide_digest: digest of the slide's files; empty where only another tool saw them.
        fingerprint: of the extraction config.
        warnings: what the user should know about the slide.
        tile_px: side of the tiles as the encoder saw them; 0 if not known.
        overlap_px: of neighbouring tiles, in such pixels.
        key: of the extraction that made it; empty if none did.
        way: how the encoder was run, runtime and precision; empty if not known.
    """

    num_tiles: int
    dim: int
    span0: int
    base_mpp: float
    size0: tuple[int, int]
    tissue_area_mm2: float
    he_share: float
    encoder: str
    encoder_digest: str
    slide_digest: str
    fingerprint: str
    warnings: tuple[str, ...] = ()
    tile_px: int = 0
    overlap_px: int = 0
    key: str = ""
    way: str = ""

    def manifest(self) -> Manifest:
        """What the bag was made from."""
        own = {"encoder_digest", "slide_digest", "fingerprint", "key"}
        details = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in own}
        details |= {"size0": list(self.size0), "warnings": list(self.warnings)}
        for name in ("tissue_area_mm2", "he_share"):
            details[name] = None if math.isnan(details[name]) else details[name]  # JSON has no NaN
        made_from = {
            "slide": self.slide_digest,
            "encoder": self.encoder_digest,
            "key": self.key,
        }
        return Manifest(
            schema_version=SCHEMA_VERSION,
            kind=KIND,
            made_from=made_from,
            config_fingerprint=self.fingerprint,
            details=details,
        )

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> BagFacts:
        """The facts that a manifest states.

        Raises:
            KeyError, TypeError, ValueError, IndexError: it lacks some.
        """
        details = manifest.details
        return cls(
            num_tiles=int(details["num_tiles"]),
            dim=int(details["dim"]),
            span0=int(details["span0"]),
            base_mpp=float(details["base_mpp"]),
            size0=(int(details["size0"][0]), int(details["size0"][1])),
            tissue_area_mm2=_measured(details["tissue_area_mm2"]),
            he_share=_measured(details["he_share"]),
            encoder=str(details["encoder"]),
            encoder_digest=manifest.made_from["encoder"],
            slide_digest=manifest.made_from["slide"],
            fingerprint=manifest.config_fingerprint,
            warnings=tuple(details["warnings"]),
            tile_px=int(details["tile_px"]),
            overlap_px=int(details["overlap_px"]),
            key=manifest.made_from["key"],
            way=str(details["way"]),
        )

    def check_encoder(self, name: str, digest: str, dim: int) -> None:
        """Refuse what another encoder made.

        A bag from another tool doesn't say whose weights it was made with: it is held to name and
        width.

        Raises:
            ArtifactError: naming both encoders.
        """
        known = self.encoder_digest or digest
        if (self.encoder, known, self.dim) != (name, digest, dim):
            raise ArtifactError(
                f"bag {self.slide_digest[:8]} was made by encoder {self.encoder!r} "
                f"(d={self.dim}, weights {self.encoder_digest[:8]}); wanted is {name!r} "
                f"(d={dim}, weights {digest[:8]})",
                hint=f"Extract the slide again with encoder {name}",
            )


@dataclass(frozen=True)
class FeatureBag:
    """Embeddings of the tiles of one slide.

    Attributes:
        embeddings: one row per tile.
        xy0: top left corners of the tiles, level-0 pixels.
        focus: sharpness per tile, 0 to 1; NaN, as the next two, where another tool made the bag.
        hematoxylin: mean optical density of that stain per tile.
        eosin: mean optical density of that stain per tile.

    The others are those of `BagFacts`.

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
    tile_px: int = 0
    overlap_px: int = 0
    key: str = ""
    way: str = ""

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

    @property
    def facts(self) -> BagFacts:
        """All but the arrays."""
        own = {f.name for f in fields(self)}
        common = {f.name: getattr(self, f.name) for f in fields(BagFacts) if f.name in own}
        return BagFacts(num_tiles=len(self), dim=self.dim, **common)

    @classmethod
    def of(cls, facts: BagFacts, **arrays: NDArray[Any]) -> FeatureBag:
        """A bag from its facts and its arrays.

        Raises:
            ArtifactError: they don't belong together.
        """
        known = {f.name: getattr(facts, f.name) for f in fields(facts)}
        stated = known.pop("num_tiles"), known.pop("dim")
        bag = cls(**arrays, **known)
        if (len(bag), bag.dim) != stated:
            raise ArtifactError(
                f"bag holds embeddings of {(len(bag), bag.dim)} and states {stated}",
                hint="Extract the slide again",
            )
        return bag

    def where(self, keep: Bool[NDArray[np.bool_], " n"]) -> FeatureBag:
        """The bag with only those tiles."""
        return replace(self, **{name: getattr(self, name)[keep] for name in _DTYPES})

    def check_encoder(self, name: str, digest: str, dim: int) -> FeatureBag:
        """Return self, or refuse what another encoder made.

        Raises:
            ArtifactError: naming both encoders.
        """
        self.facts.check_encoder(name, digest, dim)
        return self

    def save(self, path: Path) -> None:
        """Write the bag as one HDF5 file, atomically.

        Raises:
            ArtifactError: the disk is full or the folder can't be written.
        """
        save_bag(path, self.facts, [{name: getattr(self, name) for name in _DTYPES}])

    @classmethod
    def load(cls, path: Path) -> FeatureBag:
        """Read a bag.

        Raises:
            ArtifactError: missing, damaged, or not a bag of this schema.
        """
        artifact = read_table(path, kind=KIND, schema_version=SCHEMA_VERSION)
        facts = _facts(path, artifact.manifest)
        names = {_DATASETS.get(name, name): name for name in _DTYPES}
        try:
            arrays: dict[str, Any] = {ours: artifact.arrays[name] for name, ours in names.items()}
        except KeyError as error:
            raise _lacking(path, error) from error
        return cls.of(facts, **arrays)


def save_bag(path: Path, facts: BagFacts, blocks: Iterable[Mapping[str, NDArray[Any]]]) -> None:
    """Write a bag whose arrays come piece by piece, so that none need be whole in memory.

    Args:
        path: of the file.
        facts: of the whole bag.
        blocks: of consecutive tiles: embeddings, xy0, focus, hematoxylin, eosin.

    Raises:
        ArtifactError: the disk is full or the folder can't be written.
    """
    widths = {"embeddings": (facts.dim,), "xy0": (2,)}
    attributes = _attributes(facts)
    columns = {
        _DATASETS.get(name, name): Column(
            (facts.num_tiles, *widths.get(name, ())), dtype, attributes.get(name, {})
        )
        for name, dtype in _DTYPES.items()
    }
    renamed = ({_DATASETS.get(name, name): block[name] for name in _DTYPES} for block in blocks)
    save_table(path, columns, renamed, facts.manifest())


def check_bag(path: Path) -> BagFacts:
    """The facts of a bag, after checking all of the file piece by piece.

    Raises:
        ArtifactError: missing, damaged, or not a bag of this schema.
    """
    return _facts(path, check_table(path, kind=KIND, schema_version=SCHEMA_VERSION))


def peek_bag(path: Path) -> BagFacts:
    """The facts of a bag, without a look at its arrays: for many bags at once.

    Raises:
        ArtifactError: missing, or not a bag of this schema.
    """
    return _facts(path, peek_table(path, kind=KIND, schema_version=SCHEMA_VERSION))


def _measured(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _facts(path: Path, manifest: Manifest) -> BagFacts:
    try:
        facts = BagFacts.from_manifest(manifest)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _lacking(path, error) from error
    # They aren't part of the digest: other programs read them, so they must be right too.
    found = read_attributes(path)
    for name, wanted in _attributes(facts).items():
        if found.get(_DATASETS[name]) != wanted:
            raise damaged(path, f"the attributes of {_DATASETS[name]} aren't those of its manifest")
    return facts


def _lacking(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{path} lacks parts of a bag ({type(error).__name__}: {error})",
        hint="Delete it and extract the slide again",
    )


def _attributes(facts: BagFacts) -> dict[str, dict[str, str | int | float]]:
    """What TRIDENT writes beside features and positions."""
    name = facts.slide_digest[:12] or facts.key[:12]
    magnification = round(MAGNIFICATION_UM / facts.base_mpp, 2)
    tile_mpp = facts.base_mpp * facts.span0 / facts.tile_px if facts.tile_px else facts.base_mpp
    coords: dict[str, str | int | float] = {
        "patch_size": facts.tile_px or facts.span0,
        "patch_size_level0": facts.span0,
        "level0_magnification": magnification,
        "target_magnification": round(MAGNIFICATION_UM / tile_mpp, 2),
        "overlap": facts.overlap_px,
        "name": name,
        "level0_width": facts.size0[0],
        "level0_height": facts.size0[1],
    }
    return {"xy0": coords, "embeddings": {"name": name, "encoder": facts.encoder}}
