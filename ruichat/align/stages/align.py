"""Stage `align`: regions learn to speak to a language model that stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ruichat.align.data.batch import DialogueBatch, encode_batch, words_loss
from ruichat.align.loop import Log
from ruichat.align.preflight.room import Launch, Need
from ruichat.align.preflight.shapes import RegionShape
from ruichat.align.preflight.ways import Names, Shapes, base_of, need_of
from ruichat.align.stages.config import AlignConfig
from ruichat.align.stages.contrast import Contrast
from ruichat.align.stages.needs import RECOMPUTE, language_shape, plan_of, sizes_of
from ruichat.align.stages.outline import outline_of_source
from ruichat.align.stages.running import Built, Stage, run_stage
from ruichat.align.training.processes import start_processes
from ruichat.model.language_model import build_model, load_language_model
from ruichat.model.processing import IGNORED, RuiChatProcessor


class AlignObjective(nn.Module):
    """The model with its language model frozen, and what is trained along.

    Args:
        model: ours.
        contrastive: weight of the contrastive loss.
    """

    def __init__(self, model: Any, contrastive: float) -> None:
        super().__init__()
        model.requires_grad_(False)
        for part in (model.region_encoder, model.pointer, model.pieces):
            if part is not None:
                part.requires_grad_(True)
        self.model = model
        self.weight = contrastive
        width = model.config.text_config.hidden_size
        self.contrast = Contrast(width) if contrastive else None

    def forward(self, batch: DialogueBatch) -> Tensor:
        """Sum over the words; the contrastive loss counts as if every word carried it."""
        regions = encode_batch(self.model, batch)
        loss = words_loss(self.model, batch, regions)
        if self.contrast is None:
            return loss
        words = (batch.labels[:, 1:] != IGNORED).sum()
        contrast = self.contrast(
            self.model, batch.said, batch.said_mask, regions, batch.region_mask, batch.about
        )
        return loss + self.weight * words * contrast


def build(config: AlignConfig, whole: bool = False) -> Built:
    """A language model with new parts around it, the same for the same seed.

    Args:
        config: of the stage.
        whole: leave its weights as they came, whatever `quantise` says.
    """
    source = config.language_model
    is_quantised = source.quantise != "none" and not whole
    lm = load_language_model(
        source.name,
        revision=source.revision,
        dtype=source.torch_dtype,
        local_only=not source.download,
        quantise=source.quantise if is_quantised else "none",
        # Quantised weights are made on the device; others are moved, or divided, by the loop.
        device=str(start_processes().device) if is_quantised else "cpu",
        attention=source.attention,
    )
    processor = RuiChatProcessor.for_language_model(lm.folder, lm.num_ids)
    model = build_model(lm, processor, config.model, seed=config.seed)
    objective = AlignObjective(model, config.contrastive)
    made_from = tuple(sorted(lm.base.files.items()))
    return Built(
        objective,
        model,
        processor,
        objective,
        made_from=made_from,
        is_quantised=is_quantised,
    )


def align_needs(config: AlignConfig, launch: Launch) -> list[Need]:
    """Memory that the stage takes, from its settings alone.

    Raises:
        PrerequisiteError: the language model isn't there.
        UnknownShapeError: its memory isn't computed here.
    """
    source, model = config.language_model, config.model
    language, dtype = language_shape(source)
    shapes = Shapes(
        language,
        RegionShape(model.bag_dim, language.width, model.pointer_dim),
        base_of(dtype if source.dtype == "auto" else source.dtype, source.quantise),
    )
    names = Names(recompute=RECOMPUTE, quantise="language_model.quantise")
    return [need_of("align", shapes, plan_of(config, 0), sizes_of(config), names, launch)]


def train_align(
    config: AlignConfig, root: Path, out: Path, log: Log = print, *, anyway: bool = False
) -> Path:
    """Run the stage; see `running.run_stage`."""
    stage = Stage(
        "align",
        lambda launch: align_needs(config, launch),
        lambda: outline_of_source(config),
        lambda whole: build(config, whole),
    )
    return run_stage(stage, config, root, out, log, anyway=anyway)
