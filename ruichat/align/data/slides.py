"""A slide as training reads it: its bag from any supported file, and the facts it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from ruichat.chat.facts import (
    MOST_LISTED,
    Share,
    TileReading,
    facts_text,
    measure_facts,
    render_facts,
    tiles_to_read,
)
from ruichat.errors import ArtifactError
from ruichat.features.bag import FeatureBag, peek_bag
from ruichat.features.encoder import ENCODERS
from ruichat.features.foreign.convert import convert
from ruichat.features.foreign.given import BagReading
from ruichat.histology import CLASSES
from ruichat.storage.hdf5 import has_manifest


@runtime_checkable
class Classifier(Protocol):
    """Reads tissue off embeddings, as in answering."""

    def class_probabilities(
        self, embeddings: Float32[NDArray[np.float32], "n d"]
    ) -> Float32[NDArray[np.float32], "n c"]:
        """Per tile the probability of each class."""
        ...

    def known_score(
        self, embeddings: Float32[NDArray[np.float32], "n d"]
    ) -> Float32[NDArray[np.float32], " n"]:
        """How typical each tile is of the training data, 0-1."""
        ...


@dataclass(frozen=True)
class Looked:
    """What a bag is, unread.

    Attributes:
        num_tiles: in it.
        made: slide, encoder and settings that it was made with, of a file of another tool its size;
            and the digest of the classifier that it is read with.
    """

    num_tiles: int
    made: str


@dataclass(frozen=True)
class Reader:
    """Reads bags of one encoder.

    Attributes:
        encoder: name of its card.
        digest: of its weights, which bags of ours must have; "" accepts any of that name.
        classifier: as answering will use it; None where the encoder has none.
        reading: what files of other tools don't state.
        dim: width of the bags; the encoder's own if 0.
        classifier_digest: over the classifier's content; "" where there is none.
    """

    encoder: str
    digest: str = ""
    classifier: Classifier | None = None
    reading: BagReading = field(default_factory=BagReading)
    dim: int = 0
    classifier_digest: str = ""

    def look(self, path: Path) -> Looked:
        """What a bag is, by its head where it has one, after checking that it is of this encoder.

        Raises:
            ArtifactError: it is of another encoder, damaged, or of another schema.
            InputError, ConfigError: a file of another tool that can't be used.
        """
        if not has_manifest(path):
            return self._looked(len(self._foreign(path)), f"{path.stat().st_size} bytes")
        facts = peek_bag(path)
        self._check(path, facts.encoder, facts.encoder_digest, facts.dim)
        return self._looked(facts.num_tiles, str(facts))

    def read(self, path: Path) -> FeatureBag:
        """The whole bag; raises as `look`."""
        if not has_manifest(path):
            return self._foreign(path)
        bag = FeatureBag.load(path)
        self._check(path, bag.encoder, bag.encoder_digest, bag.dim)
        return bag

    def shown(self, bag: FeatureBag) -> tuple[FeatureBag, TileReading | None]:
        """The tiles that answering shows the model, and what the classifier made of all."""
        if self.classifier is None:
            return bag, None
        reading = TileReading(
            self.classifier.class_probabilities(bag.embeddings),
            self.classifier.known_score(bag.embeddings),
        )
        return bag.where(tiles_to_read(reading.known)), reading

    def _looked(self, num_tiles: int, made: str) -> Looked:
        read = f" {self.classifier_digest}" if self.classifier_digest else ""
        return Looked(num_tiles, made + read)

    def _foreign(self, path: Path) -> FeatureBag:
        return convert(path, self.reading.given(self.encoder))

    def _check(self, path: Path, encoder: str, digest: str, dim: int) -> None:
        wanted = ENCODERS.get(self.encoder)
        # A bag from another tool doesn't say whose weights it was made with.
        same = not digest or not self.digest or digest == self.digest
        width = self.dim or wanted.dim
        if (encoder, dim) == (wanted.name, width) and same:
            return
        raise ArtifactError(
            f"bag {path.name} was made by encoder {encoder!r} (d={dim}, weights {digest[:8]}); "
            f"training reads {wanted.name!r} (d={width}, weights {self.digest[:8] or 'any'})",
            hint=f"Extract the slide with encoder {wanted.name}, or set `encoder: {encoder}`",
        )


def facts_of(bag: FeatureBag, reading: TileReading | None, num_regions: int) -> str:
    """The facts line that answering gives; none for a bag of another tool, which measured none."""
    if not np.isfinite(bag.tissue_area_mm2):
        return ""
    return facts_text(measure_facts(bag, num_regions=num_regions, reading=reading))


def longest_facts(reader: Reader) -> str:
    """The longest facts line that bags of a reader can have, to measure dialogues by."""
    composition: tuple[Share, ...] = ()
    if reader.classifier is not None:
        wordy = sorted(CLASSES, key=lambda item: len(item.en), reverse=True)[:MOST_LISTED]
        composition = tuple(Share(item.key, 1 / len(wordy)) for item in wordy)
    return render_facts(9999.9, 999_999, "poor", "atypical", composition)
