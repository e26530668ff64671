"""Names and shapes of the arrays in each published weights file, by the encoder's card.

Written down from what the authors published, not from the code that places them.
"""

from __future__ import annotations

from collections.abc import Callable

from published import vits

Layout = dict[str, tuple[int, ...]]

LAYOUTS: dict[str, Callable[[], Layout]] = {**vits.LAYOUTS}
