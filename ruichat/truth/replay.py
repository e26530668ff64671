"""A few embeddings of every class, released with a model so that later training can rehearse them.

A model that learns from one site alone forgets what it was taught before; rehearsing a handful of
old tiles prevents that, and embeddings are small enough to ship where pixels aren't.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import numpy as np

from ruichat.errors import ArtifactError, PrerequisiteError
from ruichat.histology import KEYS
from ruichat.model.rehearsed import KIND, SCHEMA_VERSION, numbered
from ruichat.storage.artifacts import Manifest, read_checked, save_arrays
from ruichat.truth.bank import TileBank
from ruichat.truth.tiles import Split

REHEARSED: dict[Split, int] = {"train": 40, "val": 20}
"""Windows of each class that are released: to rehearse, and to measure forgetting on. Ours: 10
to rehearse lose a point of balanced accuracy more, and all of them gain none."""

SPLITS: tuple[Split, ...] = get_args(Split)
PURE = 0.8
"""A window stands for a class from this share on."""


def sample_bank(bank: TileBank, per_class: dict[Split, int], seed: int) -> TileBank:
    """Up to so many pure windows of each class and split, as they are, without other stains."""
    rng = np.random.default_rng(seed)
    main = bank.target.argmax(1)
    pure = (bank.target.max(1) >= PURE) & ~bank.partial
    kept: list[np.ndarray] = []
    for split, most in per_class.items():
        for c in range(len(KEYS)):
            rows = np.flatnonzero(pure & (bank.split == split) & (main == c))
            kept.append(np.sort(rng.permutation(rows)[:most]))
    rows = np.concatenate(kept)
    return TileBank(
        bank.embeddings[rows, :1],
        bank.colour[rows, :1],
        bank.target[rows],
        bank.partial[rows],
        bank.source[rows],
        bank.group[rows],
        bank.split[rows],
    )


def save_replay(path: Path, bank: TileBank, encoder_digest: str) -> None:
    """Write at half precision, which moves an embedding by less than a thousandth.

    Groups become numbers: as patients or file names they mustn't leave with a model.
    """
    source = [str(name) for name in bank.source]
    arrays = {
        "embeddings": bank.embeddings.astype(np.float16),
        "colour": bank.colour.astype(np.float16),
        "target": bank.target.astype(np.float16),
        "partial": bank.partial.astype(np.uint8),
        "split": np.array([SPLITS.index(cast(Split, str(s))) for s in bank.split], np.uint8),
    }
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        kind=KIND,
        made_from={"encoder": encoder_digest},
        details={
            "classes": list(KEYS),
            "source": source,
            "group": numbered(source, [str(name) for name in bank.group]),
        },
    )
    save_arrays(path, arrays, manifest)


def load_replay(path: Path, encoder_digest: str) -> TileBank:
    """Read what `save_replay` wrote.

    Raises:
        PrerequisiteError: there is no such file.
        ArtifactError: it is damaged, of another encoder or of other classes.
    """
    if not path.is_file():
        raise PrerequisiteError(
            f"no embeddings to rehearse at {path}",
            hint="Set replay to the file that was released with the model, or to none",
        )
    artifact = read_checked(path, kind=KIND, schema_version=SCHEMA_VERSION)
    made_by = artifact.manifest.made_from.get("encoder", "")
    if made_by != encoder_digest:
        raise ArtifactError(
            f"{path.name} holds embeddings of encoder weights {made_by[:8]}; the model reads "
            f"{encoder_digest[:8]}",
            hint="Take the replay file that was released with this model",
        )
    details, arrays = artifact.manifest.details, artifact.arrays
    if details.get("classes") != list(KEYS):
        raise ArtifactError(
            f"{path.name} was made for other tissue classes",
            hint="Take the replay file that was released with this version",
        )
    return TileBank(
        embeddings=arrays["embeddings"].astype(np.float32),
        colour=arrays["colour"].astype(np.float32),
        target=arrays["target"].astype(np.float32),
        partial=arrays["partial"].astype(bool),
        source=np.array(details["source"]),
        group=np.array(details["group"]),
        split=np.array(SPLITS)[arrays["split"]],
    )
