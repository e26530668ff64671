"""What of a model decides which data it can read, known before its weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ruichat.align.stages.config import AlignConfig
from ruichat.errors import ArtifactError
from ruichat.model.base import find_folder
from ruichat.model.checkpoint_files import CONFIG_FILE, read_json, read_manifest
from ruichat.model.processing import RuiChatProcessor


@dataclass(frozen=True)
class Outline:
    """A model as its data sees it.

    Attributes:
        encoder: whose bags it reads.
        encoder_digest: of the weights that made those it was trained on; "" where none say so.
        bag_dim: width of their embeddings.
        max_regions: that a slide is cut into.
        max_positions: text tokens that it reads.
        processor: of the model.
        base: folder of the checkpoint; None of a published language model.
    """

    encoder: str
    encoder_digest: str
    bag_dim: int
    max_regions: int
    max_positions: int
    processor: RuiChatProcessor
    base: Path | None = None


def outline_of_checkpoint(folder: Path) -> Outline:
    """Of a checkpoint folder.

    Raises:
        ArtifactError: something is missing or damaged.
    """
    manifest = read_manifest(folder)
    config = read_json(folder / CONFIG_FILE)
    try:
        return Outline(
            encoder=str(config["encoder"]),
            encoder_digest=manifest.made_from.get("encoder", ""),
            bag_dim=int(config["bag_dim"]),
            max_regions=int(config["max_regions"]),
            max_positions=int(config["text_config"]["max_position_embeddings"]),
            processor=RuiChatProcessor.from_pretrained(folder),
            base=folder,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{folder / CONFIG_FILE} lacks {error}", hint="Copy the checkpoint folder again"
        ) from error


def outline_of_source(config: AlignConfig) -> Outline:
    """Of a published language model and the parts that are made around it.

    Raises:
        PrerequisiteError: the language model isn't there.
        ModelError: transformers has no class for it.
    """
    from ruichat.model.language_model import read_text_config

    source, choices = config.language_model, config.model
    folder = find_folder(source.name, source.revision, local_only=not source.download)
    text = read_text_config(folder, source.name)
    return Outline(
        encoder=choices.encoder,
        encoder_digest="",
        bag_dim=choices.bag_dim,
        max_regions=choices.max_regions,
        max_positions=int(text.max_position_embeddings),
        processor=RuiChatProcessor.for_language_model(folder, int(text.vocab_size)),
    )
