"""What a tokenizer must offer, and the one that we train ourselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from ruichat.errors import ArtifactError
from ruichat.model import vocabulary as v

_MATCHED_PIECE = re.compile("|".join(re.escape(p) for p in (*v.REGION_PIECES, *v.FACT_PIECES)))


@runtime_checkable
class TextTokenizer(Protocol):
    """Plain text to ids and back; pieces are only looked up by name."""

    file_name: ClassVar[str]
    """Under which a checkpoint keeps it."""

    @property
    def num_ids(self) -> int:
        """Its ids are 0 to this, less one."""
        ...

    @property
    def structure(self) -> Mapping[str, int]:
        """Ids by name of what text never encodes to."""
        ...

    def find(self, piece: str) -> int | None:
        """Id of one of our pieces, if this tokenizer has it."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; whatever it spells, none is structure or a piece of ours.

        Encoded apart and joined, the parts of a text are spelled as the text.
        """
        ...

    def spell(self, token_id: int) -> bytes:
        """UTF-8 bytes that an id adds to a text, part of a character perhaps; none of structure."""
        ...

    def to_bytes(self) -> bytes:
        """Content of its file."""
        ...


class SentencePieceTokenizer:
    """A tokenizer of ours: sentencepiece, with `vocabulary.SPECIAL_PIECES` as its first ids.

    Args:
        path: of the model file.

    Raises:
        ArtifactError: the file is missing, unreadable or of another vocabulary.
    """

    file_name: ClassVar[str] = "tokenizer.model"

    def __init__(self, path: Path) -> None:
        import sentencepiece

        self._path = path
        try:
            self._model: Any = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise ArtifactError(
                f"{path} is not a sentencepiece model: {error}",
                hint="Train one with: ruichat align mini",
            ) from error
        num = min(len(v.SPECIAL_PIECES), self.num_ids)
        if tuple(self._model.id_to_piece(i) for i in range(num)) != v.SPECIAL_PIECES:
            raise ArtifactError(
                f"{path.name} doesn't begin with this version's special pieces",
                hint="Train the tokenizer again with: ruichat align mini",
            )
        self._ids = {piece: i for i, piece in enumerate(v.SPECIAL_PIECES)}
        control = (v.PAD, v.BOS, v.EOS, v.UNK, *v.CONTROL_PIECES)
        self._structure = {piece: self._ids[piece] for piece in control}

    @property
    def num_ids(self) -> int:
        """See `TextTokenizer`."""
        return int(self._model.get_piece_size())

    @property
    def structure(self) -> Mapping[str, int]:
        """See `TextTokenizer`."""
        return self._structure

    def find(self, piece: str) -> int | None:
        """See `TextTokenizer`."""
        return self._ids.get(piece)

    def encode(self, text: str) -> list[int]:
        """See `TextTokenizer`."""
        ids: list[int] = []
        done = 0
        for match in _MATCHED_PIECE.finditer(text):
            # Cut after the bracket: the halves spell the same but match no piece.
            cut = match.start() + 1
            ids += self._model.encode(text[done:cut])
            done = cut
        return ids + self._model.encode(text[done:])

    def spell(self, token_id: int) -> bytes:
        """See `TextTokenizer`."""
        piece: str = self._model.id_to_piece(token_id)
        if self._model.is_byte(token_id):
            return bytes([int(piece[3:5], 16)])
        if self._model.is_control(token_id) or self._model.is_unknown(token_id):
            return b""
        return piece.replace("\u2581", " ").encode()

    def to_bytes(self) -> bytes:
        """See `TextTokenizer`."""
        return self._path.read_bytes()
