"""A stage's data, prepared once and read by every process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ruichat.align.data.dialogues import FiledDialogues
from ruichat.align.data.slides import Reader
from ruichat.align.stages.beside import classifier_for
from ruichat.align.stages.config import StageConfig
from ruichat.align.stages.outline import Outline
from ruichat.align.training.processes import Processes
from ruichat.errors import ArtifactError, ConfigError
from ruichat.features.bag import peek_bag
from ruichat.storage.hdf5 import has_manifest
from ruichat.truth.datasets.bags import Bags
from ruichat.truth.datasets.check import Extra
from ruichat.truth.datasets.prepare import DataConfig, prepare
from ruichat.truth.datasets.store import DialogueFile


@dataclass(frozen=True)
class StageData:
    """Prepared files and the bags of their slides.

    Attributes:
        files: dialogues in our format.
        bags: by slide.
        encoder_digest: of the weights that made the bags; "" where none says so.
    """

    files: tuple[DialogueFile, ...]
    bags: Bags
    encoder_digest: str

    @property
    def digest(self) -> str:
        """Over all dialogues."""
        text = "|".join(file.sha256 for file in self.files)
        return hashlib.sha256(text.encode()).hexdigest()


def open_data(
    config: DataConfig, root: Path, out: Path, processes: Processes, *, more: Extra | None = None
) -> StageData:
    """Check and convert the data, by the main process; the others read what it wrote.

    Args:
        config: which data.
        root: folder that its paths are relative to.
        out: folder for what is written.
        processes: all of the run.
        more: what else makes a record one that can't be used.

    Raises:
        RuiChatError: as `truth.datasets.prepare.prepare`.
        ConfigError: no folder of bags is given.
    """
    if not config.bags:
        raise ConfigError("data.bags names no folder", hint="Give the folders of the slides' bags")
    if processes.is_main:
        prepare(config, root, out, more=more)
    processes.sums([0.0])
    paths = [out / f"{at:02d}.jsonl" for at in range(len(config.train))]
    files = tuple(DialogueFile(path) for path in paths)
    bags = Bags([root / folder for folder in config.bags])
    return StageData(files, bags, _encoder_digest(files, bags))


def _encoder_digest(files: Sequence[DialogueFile], bags: Bags) -> str:
    """Of the weights behind the first bag of ours; all others are held to it."""
    for file in files:
        for dialogue in file:
            for path in bags.of(dialogue):
                if has_manifest(path):
                    return peek_bag(path).encoder_digest
    return ""


def dialogues_of(config: StageConfig, data: StageData, outline: Outline) -> FiledDialogues:
    """A stage's dialogues with their slides, as a model reads them.

    Raises:
        ArtifactError: the bags were made by other weights of the encoder than those before.
    """
    if outline.encoder_digest and data.encoder_digest not in ("", outline.encoder_digest):
        raise ArtifactError(
            f"the bags were made by weights {data.encoder_digest[:8]} of encoder "
            f"{outline.encoder!r}; the checkpoint was trained on those of "
            f"{outline.encoder_digest[:8]}",
            hint="Extract the slides with the encoder's weights that the checkpoint was made for",
        )
    classifier = classifier_for(outline.encoder, outline.base)
    if classifier is not None and classifier.encoder_digest != data.encoder_digest:
        classifier = None
    reader = Reader(
        outline.encoder,
        digest=data.encoder_digest,
        classifier=classifier,
        reading=config.bags,
        dim=outline.bag_dim,
        classifier_digest="" if classifier is None else classifier.digest,
    )
    return FiledDialogues(
        data.files,
        data.bags,
        reader,
        max_regions=outline.max_regions,
        facts=config.batches.facts,
    )
