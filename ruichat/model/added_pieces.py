"""Pieces that a language model's vocabulary lacks: rows of their own beside its tables.

The language model is neither resized nor unfrozen for them, and they are saved with what is ours.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ruichat.model.configuration import RuiChatConfig


class AddedPieces(nn.Module):
    """Embeddings, and output rows unless the language model ties both, of the added pieces.

    Args:
        config: their number, the LM's width and vocabulary.
    """

    def __init__(self, config: RuiChatConfig) -> None:
        super().__init__()
        size = (config.num_added, config.text_config.hidden_size)
        self.first: int = config.text_config.vocab_size
        self.embed = nn.Parameter(torch.empty(size))
        self.head = None if config.tie_word_embeddings else nn.Parameter(torch.empty(size))

    def embed_ids(self, input_ids: Int[Tensor, "b t"], table: nn.Module) -> Float[Tensor, "b t e"]:
        """Word embeddings by the LM's table, those of added pieces by ours."""
        added = input_ids >= self.first
        words = table(input_ids.masked_fill(added, 0))
        rows = self.embed[(input_ids - self.first).clamp(min=0)]
        # Gemma's table multiplies what it looks up; ours then lie in the same units.
        rows = rows * getattr(table, "embed_scale", 1.0)
        return torch.where(added[..., None], rows.to(words.dtype), words)

    def logits(self, hidden: Float[Tensor, "*p e"]) -> Float[Tensor, "*p a"]:
        """Of the added pieces alone."""
        rows = self.embed if self.head is None else self.head
        return hidden @ rows.to(hidden.dtype).T
