"""Where a thought may open, how long it may grow, and that it closes before the answer."""

from __future__ import annotations

from ruichat.model.pieces import Pieces


class ThoughtGate:
    """What may be written next, as far as thoughts go.

    Args:
        pieces: of the model.
        think: open one (True), none (False), or as the model chooses (None).
        max_tokens: text tokens after which a thought is closed.
    """

    def __init__(self, pieces: Pieces, think: bool | None, max_tokens: int) -> None:
        self._pieces, self._think, self._left = pieces, think, max_tokens
        self._may_open = think is not False
        self.is_open = False

    @property
    def barred(self) -> tuple[int, ...]:
        """Ids that can't come next."""
        think, close = self._pieces.think, self._pieces.think_end
        if self.is_open:
            return (think, self._pieces.end)
        return (close,) if self._may_open else (think, close)

    @property
    def forced(self) -> int | None:
        """The id that has to come next, if one has."""
        if self.is_open and self._left == 0:
            return self._pieces.think_end
        return self._pieces.think if self._may_open and self._think else None

    def pass_through(self, token_id: int) -> bool:
        """Take note of what was written; returns whether it belongs to a thought."""
        belongs = self.is_open or token_id == self._pieces.think
        if self.is_open:
            self._left -= 1
        self._may_open = False
        self.is_open = belongs and token_id != self._pieces.think_end
        return belongs
