"""The embedded tile encoder `mini`: a small residual network read out as texture statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ruichat.features.mini.encoder import MiniEncoder

__all__ = ["load_mini"]


def load_mini() -> MiniEncoder:
    """The shipped encoder; what its card's loader names."""
    from ruichat.features.mini.encoder import MiniEncoder

    return MiniEncoder.load()
