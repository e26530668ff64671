"""Array types that the packages of numpy can't tell apart at run time."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Strings = NDArray[Any]
"""Text labels; their dtype holds the length of the longest, so no one dtype fits all."""
