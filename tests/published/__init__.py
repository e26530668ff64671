"""Names and shapes of the arrays in each published weights file, by the encoder's card.

Written down from what the authors published, not from the code that places them.
"""

from __future__ import annotations

from collections.abc import Callable

from published import towers, vits
from published.vits import STATED_ARRAYS, STATED_MILLIONS, UNDER, Layout

__all__ = ["BESIDE", "LAYOUTS", "STATED_ARRAYS", "STATED_MILLIONS", "UNDER", "Layout"]

LAYOUTS: dict[str, Callable[[], Layout]] = {**vits.LAYOUTS, **towers.LAYOUTS}
"""Parameters of the encoder, those that only its training used included."""

BESIDE: dict[str, Callable[[], Layout]] = {**vits.BESIDE, **towers.BESIDE}
"""What the file holds beside them: statistics, tables, heads, towers of text."""
