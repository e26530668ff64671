"""What a region's name takes in and gives out, in rows of one dialogue or of several."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ruichat.errors import InputError


def at_names(
    index: Int[Tensor, "b t"],
    region_embeds: Float[Tensor, "s k w"],
    region_mask: Bool[Tensor, "s k"] | None,
    slide_of_token: Int[Tensor, "b t"] | None,
) -> Float[Tensor, "b t w"]:
    """Region vectors where their names stand, zeros elsewhere.

    Args:
        index: of the region that a token names, outside of 0 to k where it names none.
        region_embeds: of s slides.
        region_mask: which of the k regions exist; all if missing.
        slide_of_token: see `RuiChatForConditionalGeneration.forward`.
    """
    num, k, width = region_embeds.shape
    if region_mask is not None:
        region_embeds = region_embeds * region_mask[..., None].to(region_embeds.dtype)
    slide = slide_of_token
    if slide is None:
        slide = torch.arange(num, device=index.device)[:, None].expand_as(index)
    named = (index >= 0) & (index < k) & (slide >= 0)
    added = region_embeds.reshape(num * k, width)[torch.where(named, slide * k + index, 0)]
    return added * named[..., None].to(added.dtype)


def name_bias(
    pointer: nn.Module,
    hidden: Float[Tensor, "b t e"],
    region_embeds: Float[Tensor, "s k w"] | None,
    region_mask: Bool[Tensor, "s k"] | None,
    slide_of_token: Int[Tensor, "b t"] | None,
    num_names: int,
) -> Tensor:
    """What to add to the names' logits: the pointer's score, -inf for names of nothing."""
    if region_embeds is None:
        return hidden.new_full((num_names,), float("-inf"), dtype=torch.float32)
    region_embeds = region_embeds[..., : hidden.shape[-1]]
    slides, k, _ = region_embeds.shape
    if region_mask is None:
        region_mask = region_embeds.new_ones((slides, k), dtype=torch.bool)
    if slide_of_token is None:
        score = pointer(hidden, region_embeds).float()
        exists = region_mask[:, None].bool()
    else:
        slide = slide_of_token.clamp(min=0)
        every = region_embeds.reshape(1, slides * k, -1).expand(len(hidden), -1, -1)
        score = pointer(hidden, every).float().unflatten(-1, (slides, k))
        score = score.gather(2, slide[..., None, None].expand(-1, -1, 1, k)).squeeze(2)
        exists = region_mask.bool()[slide] & (slide_of_token >= 0)[..., None]
    score = score.masked_fill(~exists, float("-inf"))
    return functional.pad(score, (0, num_names - k), value=float("-inf"))


def check_packed(
    slide_of_token: Int[Tensor, "b t"],
    position_ids: Tensor | None,
    attention_mask: Tensor | None,
    attention: str,
) -> None:
    """Refuse packed rows whose dialogues would see each other.

    Args:
        slide_of_token: of the rows.
        position_ids: have to begin anew with each dialogue; transformers tells them apart by it.
        attention_mask: would keep it from doing so.
        attention: name of the implementation.

    Raises:
        InputError: what is missing or too much.
    """
    if position_ids is None or attention_mask is not None:
        raise InputError(
            "packed rows need position_ids that begin anew with each dialogue, and no "
            "attention_mask, which would let dialogues see each other",
            hint="Fill rows up with tokens at position 0 and slide -1",
        )
    if "flash" in attention and len(slide_of_token) > 1:
        raise InputError(
            f"{attention} reads packed dialogues from one row, not {len(slide_of_token)}",
            hint="Pack the batch into one row",
        )
