"""A stage's data, prepared once and read by every process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ruichat.align.data.slides import Reader
from ruichat.align.dialogue_batches import DialogueBatches
from ruichat.align.loop import Log
from ruichat.align.stages.config import StageConfig
from ruichat.align.training.processes import Processes
from ruichat.errors import ConfigError
from ruichat.features import tile_classifier as shipped
from ruichat.features.bag import peek_bag
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.processing import RuiChatProcessor
from ruichat.storage.hdf5 import has_manifest
from ruichat.truth.datasets.bags import Bags
from ruichat.truth.datasets.prepare import prepare
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


def open_data(config: StageConfig, root: Path, out: Path, processes: Processes) -> StageData:
    """Check and convert the data, by the main process; the others read what it wrote.

    Raises:
        RuiChatError: as `truth.datasets.prepare.prepare`.
        ConfigError: no folder of bags is given.
    """
    if not config.data.bags:
        raise ConfigError("data.bags names no folder", hint="Give the folders of the slides' bags")
    if processes.is_main:
        prepare(config.data, root, out)
    processes.sums([0.0])
    paths = [out / f"{at:02d}.jsonl" for at in range(len(config.data.train))]
    files = tuple(DialogueFile(path) for path in paths)
    bags = Bags([root / folder for folder in config.data.bags])
    return StageData(files, bags, _encoder_digest(files, bags))


def _encoder_digest(files: Sequence[DialogueFile], bags: Bags) -> str:
    """Of the weights behind the first bag of ours; all others are held to it."""
    for file in files:
        for dialogue in file:
            for path in bags.of(dialogue):
                if has_manifest(path):
                    return peek_bag(path).encoder_digest
    return ""


def batches_of(
    config: StageConfig,
    data: StageData,
    model: RuiChatConfig,
    processor: RuiChatProcessor,
    log: Log,
) -> DialogueBatches:
    """Global batches for a model; raises as `DialogueBatches`."""
    classifier = None
    if model.encoder == shipped.ENCODER:
        found = shipped.load_tile_classifier()
        classifier = found if found.encoder_digest == data.encoder_digest else None
    reader = Reader(
        model.encoder,
        digest=data.encoder_digest,
        classifier=classifier,
        mpp=config.bags.mpp,
        tile_mpp=config.bags.tile_mpp,
        dim=model.bag_dim,
    )
    return DialogueBatches(
        data.files,
        data.bags,
        reader,
        processor,
        config.batches,
        seed=config.seed,
        max_regions=model.max_regions,
        max_positions=model.text_config.max_position_embeddings,
        log=log,
    )
