"""Our processor as TRL wants to see a tokenizer: where rows end, how ids are spelled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ruichat.model.processing import RuiChatProcessor


class TrainerTokenizer(PreTrainedTokenizerBase):
    """Pads on the left, ends answers, and spells; prompts come to the trainer as ids already.

    Args:
        processor: of the model.
    """

    def __init__(self, processor: RuiChatProcessor) -> None:
        pieces = processor.pieces
        names = {i: name for name, i in pieces.ids.items()}
        super().__init__(
            padding_side="left", pad_token=names.get(pieces.pad, ""), eos_token=names[pieces.end]
        )
        self._processor = processor

    def __len__(self) -> int:
        return self._processor.vocab_size + len(self._processor.pieces.added)

    @property
    def pad_token_id(self) -> int:
        """Fills rows up."""
        return self._processor.pieces.pad

    @property
    def eos_token_id(self) -> int:
        """Closes an answer."""
        return self._processor.pieces.end

    @property
    def bos_token_id(self) -> None:
        """None: a dialogue's beginning is part of its prompt."""
        return None

    def decode(self, token_ids: Any, *_: Any, **__: Any) -> Any:
        """Text of ids, or of each row of ids."""
        rows: Sequence[Any] = list(token_ids)
        if rows and not isinstance(rows[0], int):
            return [self._processor.decode(row) for row in rows]
        return self._processor.decode(rows)

    def save_pretrained(self, save_directory: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        """Write the processor's files beside a state of the trainer."""
        self._processor.save_pretrained(Path(save_directory))
        return ()
