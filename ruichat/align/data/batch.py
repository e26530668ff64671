"""Dialogues with their slides as tensors, and what a model makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ruichat.align.data.packing import STEP
from ruichat.model.processing import IGNORED, Encoded, RuiChatProcessor
from ruichat.truth.datasets.laying import Laid


@dataclass(frozen=True, slots=True)
class DialogueBatch:
    """b dialogues about a slide each, their tiles one after the other.

    Attributes:
        segment: of each tile, row times k plus region.
        region_mask: which regions exist.
        said: ids of the assistant's words alone, for `align`'s contrastive loss.
        said_mask: 0 where padded.
    """

    input_ids: Int[Tensor, "b t"]
    attention_mask: Int[Tensor, "b t"]
    labels: Int[Tensor, "b t"]
    tiles: Float[Tensor, "m d"]
    segment: Int[Tensor, " m"]
    region_geometry: Float[Tensor, "b k g"]
    region_mask: Bool[Tensor, "b k"]
    said: Int[Tensor, "b u"]
    said_mask: Int[Tensor, "b u"]


def encode_batch(model: Any, batch: DialogueBatch) -> Float[Tensor, "b k e"]:
    """Region vectors of a batch; its slides are one long row to the region encoder."""
    b, k = batch.region_mask.shape
    flat = model.encode_regions(
        batch.tiles[None], batch.segment[None], batch.region_geometry.flatten(0, 1)[None]
    )
    return flat.view(b, k, -1)


def words_loss(
    model: Any, batch: DialogueBatch, regions: Float[Tensor, "b k e"]
) -> Float[Tensor, ""]:
    """Loss summed over the assistant's words."""
    return model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        labels=batch.labels,
        region_embeds=regions,
        region_mask=batch.region_mask,
        skip_logits=True,
        use_cache=False,
        num_items_in_batch=1,
    ).loss


def collate(
    spelled: Sequence[Encoded], laid: Sequence[Laid], processor: RuiChatProcessor
) -> DialogueBatch:
    """Words padded on the right, tiles joined, regions padded to the most of them."""
    words = processor.collate(spelled, multiple_of=STEP)
    b, k = len(laid), max(one.num_regions for one in laid)
    geometry = np.zeros((b, k, laid[0].geometry.shape[1]), np.float32)
    mask = np.zeros((b, k), bool)
    for row, one in enumerate(laid):
        geometry[row, : one.num_regions] = one.geometry
        mask[row, : one.num_regions] = True
    # Without the end of an answer: it says nothing of a slide.
    said = processor.collate(
        [Encoded(ids, ids) for ids in (_said(one, processor.end_id) for one in spelled)], STEP
    )
    return DialogueBatch(
        input_ids=torch.from_numpy(words.input_ids),
        attention_mask=torch.from_numpy(words.attention_mask),
        labels=torch.from_numpy(words.labels),
        tiles=torch.from_numpy(np.concatenate([one.embeddings for one in laid])),
        segment=torch.from_numpy(
            np.concatenate([one.region + row * k for row, one in enumerate(laid)])
        ),
        region_geometry=torch.from_numpy(geometry),
        region_mask=torch.from_numpy(mask),
        said=torch.from_numpy(said.input_ids),
        said_mask=torch.from_numpy(said.attention_mask),
    )


def _said(one: Encoded, end: int) -> list[int]:
    return [label for label in one.labels if label not in (IGNORED, end)]
