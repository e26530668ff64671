"""Brings a slide near to what is said of it, and away from what is said of others."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional


class Contrast(nn.Module):
    """Symmetric contrastive loss between pooled regions and the words of the assistant.

    The language model reads the words alone, without the slide: with it, its states would hold
    the answer. Trained along and dropped afterwards.

    Args:
        width: of the language model.
        shared: width of the space in which both meet.

    Source:
        Radford et al. 2021, arXiv:2103.00020. Ours: regions are averaged, words are the mean of
        the language model's last states.
    """

    def __init__(self, width: int, shared: int = 256) -> None:
        super().__init__()
        self.of_slide = nn.Linear(width, shared, bias=False)
        self.of_words = nn.Linear(width, shared, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(2.659))  # 1 / 0.07, as in the source

    def forward(
        self,
        model: Any,
        said: Int[Tensor, "b t"],
        said_mask: Int[Tensor, "b t"],
        regions: Float[Tensor, "b k w"],
        region_mask: Bool[Tensor, "b k"],
        about: Int[Tensor, " b"] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean over the micro-batch; zero for a single row, which has no others.

        What is said of a slide in another row is no other's: such pairs are left out.

        Args:
            model: ours; its language model reads the words.
            said: what the assistant says about each slide.
            said_mask: which of its positions are words.
            regions: as `encode_regions` gives them.
            region_mask: which regions exist.
            about: number of each row's slide; each has its own if missing.
        """
        width = self.of_slide.in_features
        exists = region_mask[..., None].to(regions.dtype)
        slide = (regions[..., :width] * exists).sum(1) / exists.sum(1)
        words = self.of_words(_read(model, said, said_mask).to(self.of_words.weight.dtype))
        slide = functional.normalize(self.of_slide(functional.layer_norm(slide, [width])), dim=-1)
        logits = self.log_scale.clamp(max=4.605).exp() * (
            slide @ functional.normalize(words, dim=-1).T
        )
        if len(logits) == 1:
            return 0 * logits.sum()
        target = torch.arange(len(logits), device=logits.device)
        if about is not None:
            twin = (about[:, None] == about) & (target[:, None] != target)
            logits = logits.masked_fill(twin, float("-inf"))
        return (
            functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
        ) / 2


@torch.no_grad()
def _read(
    model: Any, said: Int[Tensor, "b t"], said_mask: Int[Tensor, "b t"]
) -> Float[Tensor, "b e"]:
    hidden = model.language_model(
        inputs_embeds=model.embed(said, None, None), attention_mask=said_mask, use_cache=False
    ).last_hidden_state
    mask = said_mask[..., None].to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
