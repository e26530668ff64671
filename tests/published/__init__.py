"""Names and shapes of the arrays in each published weights file, by the encoder's card.

Written down from what the authors published, not from the code that places them.
"""

from __future__ import annotations

from collections.abc import Callable

from published import towers, vits

Layout = dict[str, tuple[int, ...]]

LAYOUTS: dict[str, Callable[[], Layout]] = {**vits.LAYOUTS, **towers.LAYOUTS}
"""Parameters that make the embedding."""

BESIDE: dict[str, Callable[[], Layout]] = {**towers.BESIDE}
"""What the file holds beside them: statistics, tables, towers of text."""
