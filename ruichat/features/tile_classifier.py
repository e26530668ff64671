"""What tissue a tile shows, and whether it is tissue that training has seen."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from ruichat.errors import ArtifactError, PrerequisiteError
from ruichat.histology import KEYS
from ruichat.storage.artifacts import Manifest, content_digest, read_checked, save_arrays

KIND = "tile-classifier"
SCHEMA_VERSION = 1
WEIGHTS = Path(__file__).parents[1] / "assets" / "mini" / "tiles.safetensors"
ENCODER = "mini"
"""Name of the encoder that the shipped classifier was trained on."""


@dataclass(frozen=True)
class SiteHead:
    """What the labelled tiles of one site taught, beside the classes that it was shipped with.

    Attributes:
        name: of the site.
        labels: the site's own names of tissue, s of them.
        weight: [s,d].
        bias: [s].
        parent: [s] row in `histology.CLASSES` of what each label is a kind of.
    """

    name: str
    labels: tuple[str, ...]
    weight: Float32[NDArray[np.float32], "s d"]
    bias: Float32[NDArray[np.float32], " s"]
    parent: Int64[NDArray[np.int64], " s"]

    def __post_init__(self) -> None:
        lengths = {len(self.labels), len(self.weight), len(self.bias), len(self.parent)}
        in_range = ((self.parent >= 0) & (self.parent < len(KEYS))).all()
        if lengths == {0} or len(lengths) > 1 or not in_range:
            raise ArtifactError(
                f"the head of site {self.name!r} has {len(self.labels)} labels, "
                f"{len(self.weight)} rows and parents {self.parent.tolist()}",
                hint="Adapt the model again with: ruichat align adapt",
            )

    def label_probabilities(
        self, embeddings: Float32[NDArray[np.float32], "n d"]
    ) -> Float32[NDArray[np.float32], "n s"]:
        """Probability of each label per tile, of a tile that is of this site."""
        return _softmax(embeddings @ self.weight.T + self.bias)


@dataclass(frozen=True)
class TileClassifier:
    """Linear classifier over embeddings, with a test for unknown tissue.

    Attributes:
        weight: [c,d]; rows follow `histology.CLASSES`.
        bias: [c].
        class_mean: [k,m] centres of known tissue, in the space that `whiten` makes: those of the
            classes, and of tissue whose class has no name here.
        whiten: [m,d] makes the within-class covariance the identity.
        distance_quantiles: [q] distances to the nearest centre on held-out tiles of known
            tissue, ascending: they turn a distance into a p-value.
        encoder_digest: of the encoder whose embeddings it reads.
        site: what another site's tiles taught; None as shipped.
    """

    weight: Float32[NDArray[np.float32], "c d"]
    bias: Float32[NDArray[np.float32], " c"]
    class_mean: Float32[NDArray[np.float32], "k m"]
    whiten: Float32[NDArray[np.float32], "m d"]
    distance_quantiles: Float32[NDArray[np.float32], " q"]
    encoder_digest: str
    site: SiteHead | None = None

    def __post_init__(self) -> None:
        if self.weight.shape[0] != len(KEYS):
            raise ArtifactError(
                f"tile classifier has {self.weight.shape[0]} classes; there are {len(KEYS)}",
                hint="Train it again with: ruichat align mini",
            )

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> TileClassifier:
        """Read the weights.

        Raises:
            PrerequisiteError: the file is missing.
            ArtifactError: it is of another form.
        """
        if not path.is_file():
            raise PrerequisiteError(
                f"the tile classifier's weights are missing at {path.name}",
                hint="Install ruichat again, or run: ruichat align mini",
            )
        artifact = read_checked(path, kind=KIND, schema_version=SCHEMA_VERSION)
        try:
            arrays = dict(artifact.arrays)
            return cls(
                site=_take_site(arrays, artifact.manifest.details),
                **arrays,
                encoder_digest=artifact.manifest.made_from["encoder"],
            )
        except (KeyError, TypeError) as error:
            raise ArtifactError(
                f"{path.name} is not a tile classifier: {error}", hint="Install ruichat again"
            ) from error

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all that it reads tiles with."""
        return content_digest(*self._content())

    def save(self, path: Path) -> None:
        """Write the weights, atomically."""
        save_arrays(path, *self._content())

    def _content(self) -> tuple[dict[str, NDArray[Any]], Manifest]:
        plain = ("encoder_digest", "site")
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in plain}
        details: dict[str, Any] = {}
        if self.site is not None:
            arrays |= {f"site_{name}": getattr(self.site, name) for name in _SITE_ARRAYS}
            details["site"] = {"name": self.site.name, "labels": list(self.site.labels)}
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            kind=KIND,
            made_from={"encoder": self.encoder_digest},
            details=details,
        )
        return arrays, manifest

    def class_probabilities(
        self, embeddings: Float32[NDArray[np.float32], "n d"]
    ) -> Float32[NDArray[np.float32], "n c"]:
        """Probability of each class of `histology.CLASSES` per tile.

        What a site's labels get counts for the classes that they are kinds of.
        """
        logits = embeddings @ self.weight.T + self.bias
        if self.site is None:
            return _softmax(logits)
        of_site = embeddings @ self.site.weight.T + self.site.bias
        both = _softmax(np.concatenate([logits, of_site], 1))
        classes = both[:, : len(KEYS)].copy()
        np.add.at(classes.T, self.site.parent, both[:, len(KEYS) :].T)
        return classes

    def with_site(
        self, site: SiteHead, centres: Float32[NDArray[np.float32], "k d"]
    ) -> TileClassifier:
        """This classifier with a site's head, to which the site's tissue is known.

        Args:
            site: its head.
            centres: mean embeddings of the site's kinds of tissue.
        """
        known = np.concatenate([self.class_mean, (centres @ self.whiten.T).astype(np.float32)])
        return replace(self, site=site, class_mean=known)

    def known_score(
        self, embeddings: Float32[NDArray[np.float32], "n d"]
    ) -> Float32[NDArray[np.float32], " n"]:
        """How typical a tile is of known tissue: the p-value of its distance, 0 to 1.

        Source:
            Mahalanobis distance to the nearest class, Lee et al. 2018, arXiv:1807.03888. Ours:
            read against held-out tiles, so that a threshold states a false-alarm rate.
        """
        return self.typicality(self.distance(embeddings))

    def distance(
        self, embeddings: Float32[NDArray[np.float32], "n d"]
    ) -> Float32[NDArray[np.float32], " n"]:
        """Mahalanobis distance to the nearest class centre."""
        z = embeddings @ self.whiten.T
        squared = (
            np.square(z).sum(1)[:, None]
            - 2 * z @ self.class_mean.T
            + np.square(self.class_mean).sum(1)
        )
        return np.sqrt(np.maximum(squared.min(1), 0)).astype(np.float32)

    def typicality(self, distance: NDArray[np.float32]) -> NDArray[np.float32]:
        """Share of held-out known tiles that lie farther out than each distance."""
        rank = np.searchsorted(self.distance_quantiles, distance)
        return (1 - rank / len(self.distance_quantiles)).astype(np.float32)


_SITE_ARRAYS = ("weight", "bias", "parent")


def _take_site(arrays: dict[str, NDArray[Any]], details: dict[str, Any]) -> SiteHead | None:
    """The site's head out of the arrays of a file, if it holds one."""
    if "site" not in details:
        return None
    parts = {name: arrays.pop(f"site_{name}") for name in _SITE_ARRAYS}
    return SiteHead(details["site"]["name"], tuple(details["site"]["labels"]), **parts)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return (odds / odds.sum(1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=1)
def load_tile_classifier(path: Path = WEIGHTS) -> TileClassifier:
    """The shipped classifier, read once."""
    return TileClassifier.load(path)
