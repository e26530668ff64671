"""What a checkpoint carries beside its model: its own tile classifier, embeddings to rehearse."""

from __future__ import annotations

import shutil
from pathlib import Path

from ruichat.align.loop import Log
from ruichat.chat.backend import CLASSIFIER_FILE
from ruichat.errors import ArtifactError
from ruichat.features import tile_classifier as shipped
from ruichat.features.encoder import Encoder
from ruichat.features.tile_classifier import TileClassifier
from ruichat.model.rehearsed import copy_rehearsed, rehearsed_with


def classifier_for(encoder: str, base: Path | None) -> TileClassifier | None:
    """As answering will read tiles: the checkpoint's own, else the shipped one of this encoder.

    Args:
        encoder: name of its card.
        base: folder of the checkpoint that is trained on; None if there is none.
    """
    if base is not None and (base / CLASSIFIER_FILE).is_file():
        return TileClassifier.load(base / CLASSIFIER_FILE)
    return shipped.load_tile_classifier() if encoder == shipped.ENCODER else None


def require_same_encoder(classifier: TileClassifier, encoder: Encoder, model: str) -> None:
    """Refuse a classifier of other weights than the encoder here has.

    Raises:
        ArtifactError: naming both, and the model as the user did.
    """
    if classifier.encoder_digest != encoder.digest:
        raise ArtifactError(
            f"the tile classifier of {model} reads encoder weights "
            f"{classifier.encoder_digest[:8]}; those here are {encoder.digest[:8]}",
            hint=f"Give the encoder's weights that {CLASSIFIER_FILE} was made with",
        )


def carry_on(base: Path | None, folder: Path, log: Log) -> None:
    """Copy what stays true of a checkpoint that was trained on. Its calibration doesn't."""
    if base is None:
        return
    own = ((base / CLASSIFIER_FILE, shutil.copyfile), (rehearsed_with(base), copy_rehearsed))
    for path, copy in own:
        if path.is_file():
            copy(path, folder / path.name)
            log(f"{path.name} goes along from {base}")
