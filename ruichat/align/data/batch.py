"""Dialogues with their slides as tensors, in rows of their own or shared ones, and their loss."""

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
    """b dialogues about a slide each in r rows, their tiles one after the other.

    Attributes:
        attention_mask: 0 where padded; None where rows are shared.
        position_ids: of rows that are shared, beginning anew with each dialogue.
        slide_of_token: number of the dialogue whose slide each token speaks of, -1 where padded;
            None where dialogue i is row i.
        segment: of each tile, dialogue times k plus region.
        region_mask: which regions exist.
        said: ids of the assistant's words alone, for `align`'s contrastive loss.
        said_mask: 0 where padded.
        about: number of each dialogue's slide, the same for dialogues about the same one.
    """

    input_ids: Int[Tensor, "r t"]
    attention_mask: Int[Tensor, "r t"] | None
    position_ids: Int[Tensor, "r t"] | None
    slide_of_token: Int[Tensor, "r t"] | None
    labels: Int[Tensor, "r t"]
    tiles: Float[Tensor, "m d"]
    segment: Int[Tensor, " m"]
    region_geometry: Float[Tensor, "b k g"]
    region_mask: Bool[Tensor, "b k"]
    said: Int[Tensor, "b u"]
    said_mask: Int[Tensor, "b u"]
    about: Int[Tensor, " b"]


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
        position_ids=batch.position_ids,
        slide_of_token=batch.slide_of_token,
        labels=batch.labels,
        region_embeds=regions,
        region_mask=batch.region_mask,
        skip_logits=True,
        use_cache=False,
        num_items_in_batch=1,
    ).loss


def collate(
    spelled: Sequence[Encoded],
    laid: Sequence[Laid],
    processor: RuiChatProcessor,
    row: Sequence[int] | None = None,
    about: Sequence[int] | None = None,
) -> DialogueBatch:
    """Words padded on the right, tiles joined, regions padded to the most of them.

    Args:
        spelled: dialogues.
        laid: the slide of each.
        processor: spelled them.
        row: in which row each dialogue stands, behind those of the same row before it; each in
            its own if missing.
        about: number of each dialogue's slide; each about its own if missing.
    """
    words = processor.collate(spelled if row is None else _joined(spelled, row), multiple_of=STEP)
    position = slide = mask = None
    if row is None:
        mask = torch.from_numpy(words.attention_mask)
    else:
        position, slide = _places(spelled, row, words.input_ids.shape)
    k = max(one.num_regions for one in laid)
    geometry, exists = _geometry(laid, k)
    # Without the end of an answer: it says nothing of a slide.
    said = processor.collate(
        [Encoded(ids, ids) for ids in (_said(one, processor.end_id) for one in spelled)], STEP
    )
    return DialogueBatch(
        input_ids=torch.from_numpy(words.input_ids),
        attention_mask=mask,
        position_ids=position,
        slide_of_token=slide,
        labels=torch.from_numpy(words.labels),
        tiles=torch.from_numpy(np.concatenate([one.embeddings for one in laid])),
        segment=torch.from_numpy(
            np.concatenate([one.region + number * k for number, one in enumerate(laid)])
        ),
        region_geometry=geometry,
        region_mask=exists,
        said=torch.from_numpy(said.input_ids),
        said_mask=torch.from_numpy(said.attention_mask),
        about=torch.tensor(list(range(len(laid)) if about is None else about)),
    )


def _geometry(laid: Sequence[Laid], k: int) -> tuple[Float[Tensor, "b k g"], Bool[Tensor, "b k"]]:
    """Geometry of each slide's regions, padded to k, and which of them exist."""
    geometry = np.zeros((len(laid), k, laid[0].geometry.shape[1]), np.float32)
    exists = np.zeros((len(laid), k), bool)
    for number, one in enumerate(laid):
        geometry[number, : one.num_regions] = one.geometry
        exists[number, : one.num_regions] = True
    return torch.from_numpy(geometry), torch.from_numpy(exists)


def _places(
    spelled: Sequence[Encoded], row: Sequence[int], shape: tuple[int, ...]
) -> tuple[Int[Tensor, "r t"], Int[Tensor, "r t"]]:
    """Position of each token in its dialogue, and the dialogue's number; 0 and -1 where padded."""
    position, number = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    ends = [0] * shape[0]
    for own, (one, at) in enumerate(zip(spelled, row, strict=True)):
        start, ends[at] = ends[at], ends[at] + len(one.input_ids)
        position[at, start : ends[at]] = np.arange(len(one.input_ids))
        number[at, start : ends[at]] = own
    return torch.from_numpy(position), torch.from_numpy(number)


def _joined(spelled: Sequence[Encoded], row: Sequence[int]) -> list[Encoded]:
    """Dialogues of a row one after the other; none learns to begin another."""
    rows = [Encoded([], []) for _ in range(max(row) + 1)]
    for one, at in zip(spelled, row, strict=True):
        rows[at].input_ids.extend(one.input_ids)
        rows[at].labels.extend([IGNORED, *one.labels[1:]])
    return rows


def _said(one: Encoded, end: int) -> list[int]:
    return [label for label in one.labels if label not in (IGNORED, end)]
