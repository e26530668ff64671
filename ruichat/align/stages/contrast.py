"""Brings a slide near to what is said of it, and away from what is said of others."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ruichat.align.data.batch import DialogueBatch


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
        self, model: Any, batch: DialogueBatch, regions: Float[Tensor, "b k w"]
    ) -> Float[Tensor, ""]:
        """Mean over the micro-batch; zero for a single row, which has no others."""
        width = self.of_slide.in_features
        exists = batch.region_mask[..., None].to(regions.dtype)
        slide = (regions[..., :width] * exists).sum(1) / exists.sum(1)
        words = self.of_words(self._read(model, batch).to(self.of_words.weight.dtype))
        slide = functional.normalize(self.of_slide(functional.layer_norm(slide, [width])), dim=-1)
        logits = self.log_scale.clamp(max=4.605).exp() * (
            slide @ functional.normalize(words, dim=-1).T
        )
        if len(logits) == 1:
            return 0 * logits.sum()
        target = torch.arange(len(logits), device=logits.device)
        return (
            functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
        ) / 2

    @torch.no_grad()
    def _read(self, model: Any, batch: DialogueBatch) -> Float[Tensor, "b e"]:
        embeds = model.embed(batch.said, None, None)
        hidden = model.language_model(
            inputs_embeds=embeds, attention_mask=batch.said_mask, use_cache=False
        ).last_hidden_state
        mask = batch.said_mask[..., None].to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
