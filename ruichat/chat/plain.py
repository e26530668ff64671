"""Text from outside, made safe to print."""

from __future__ import annotations

import re
import unicodedata

_LINE_BREAKS = re.compile(r"[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")


def strip_controls(text: str) -> str:
    """Text that can't steer a terminal: no control, format, surrogate or private characters.

    Line breaks and tabs become spaces; that drops escape sequences, zero-width and
    right-to-left marks, whatever their source.
    """
    spaced = _LINE_BREAKS.sub(" ", text)
    return "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))
