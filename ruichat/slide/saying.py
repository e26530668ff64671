"""What a decoder says of a file, fit to be shown: it may quote the file, and that a name."""

from __future__ import annotations

import re

MAX_CHARS = 200

_QUOTED = re.compile(
    r"(?P<open>[\"'`])(?:(?!(?P=open)).)*(?P=open)|[\u201c\u2018].*?[\u201d\u2019]", re.DOTALL
)
_MARKS = str.maketrans("", "", "\"'`\u201c\u201d\u2018\u2019")


def say(error: BaseException) -> str:
    """Kind and message of an error, without what it quotes."""
    text = _QUOTED.sub("...", str(error)).translate(_MARKS)
    text = "".join(c if c.isprintable() else " " for c in text)[:MAX_CHARS].strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
