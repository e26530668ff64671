"""Ids of our pieces in one model's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ruichat.errors import ArtifactError
from ruichat.model import vocabulary as v
from ruichat.model.text_tokenizer import TextTokenizer


@dataclass(frozen=True)
class Pieces:
    """Where structure, regions and facts lie among the ids of a model.

    Attributes:
        ids: of every piece of ours and of the tokenizer's own structure, by name.
        num_base: ids of the language model's own vocabulary; added pieces follow.
        added: names of the added pieces, in order of their ids.
        end: closes every answer.
        unused: ids of the vocabulary that the tokenizer doesn't use.
    """

    ids: Mapping[str, int]
    num_base: int
    added: tuple[str, ...]
    end: int
    unused: range

    @classmethod
    def of(cls, tokenizer: TextTokenizer, num_base: int, end: str) -> Pieces:
        """Look pieces up, and give ids to those that are missing.

        Args:
            tokenizer: of the language model.
            num_base: rows of its word embeddings, at least the tokenizer's ids.
            end: name of the piece or token that closes every answer.

        Raises:
            ArtifactError: the tokenizer has more ids than the language model.
        """
        if tokenizer.num_ids > num_base:
            raise ArtifactError(
                f"the tokenizer has {tokenizer.num_ids} ids, the language model {num_base}",
                hint="Give the tokenizer that belongs to the language model",
            )
        added = tuple(piece for piece in v.OUR_PIECES if tokenizer.find(piece) is None)
        ids = dict(tokenizer.structure)
        for piece in v.OUR_PIECES:
            found = tokenizer.find(piece)
            ids[piece] = num_base + added.index(piece) if found is None else found
        if end not in ids:
            raise ArtifactError(
                f"answers end with {end!r}, which the tokenizer doesn't have",
                hint="Copy the checkpoint folder again",
            )
        return cls(ids, num_base, added, ids[end], range(tokenizer.num_ids, num_base))

    @property
    def pad(self) -> int:
        """Fills rows up where nothing is read; any id would do."""
        return self.ids.get(v.PAD, 0)

    @property
    def cannot(self) -> int:
        """Id of `<|cannot|>`."""
        return self.ids[v.CANNOT]

    @property
    def first_region(self) -> int:
        """Id of [R1]; the other names follow."""
        return self.ids[v.REGION_PIECES[0]]

    @property
    def think(self) -> int:
        """Opens a thought."""
        return self.ids[v.THINK]

    @property
    def think_end(self) -> int:
        """Closes a thought."""
        return self.ids[v.THINK_END]

    @cached_property
    def never_written(self) -> tuple[int, ...]:
        """Structure that neither thought nor answer may contain."""
        written = {v.CANNOT, *v.THINK_PIECES, *v.REGION_PIECES, *v.FACT_PIECES}
        barred = {i for name, i in self.ids.items() if name not in written and i != self.end}
        return tuple(sorted(barred | set(self.unused)))
