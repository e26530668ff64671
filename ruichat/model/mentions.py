"""Find where a user speaks of regions: R7, region 7, regions 3 and 5, 区域7."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NUMBER = r"0*([1-9][0-9]?)"
_END = r"(?![0-9A-Za-z]|\.[0-9]|\s*%)"
# "R1 resection" speaks of a margin, not of a region.
_NOT_MARGIN = r"(?!\s*(?:resection|margin|status|切除|切缘))"
_SHORT = rf"(?<![0-9A-Za-z])\[?R[ \-_]?{_NUMBER}{_END}{_NOT_MARGIN}\]?"
_WORD = (
    rf"(?:(?<![0-9A-Za-z])(?:regions?|areas?)\s*(?:no\.?|number|#)?\s*|区域\s*)R?{_NUMBER}{_END}"
)
_ORDINAL = rf"第\s*{_NUMBER}\s*(?:号|个)?\s*区域?"
_FIRST = re.compile(f"{_SHORT}|{_WORD}|{_ORDINAL}", re.IGNORECASE)
# After "regions 3", further numbers may follow without the word.
_NEXT = re.compile(
    rf"(\s*(?:,\s*and|,|and|or|vs\.?|versus|with|to|&|和|与|及|或|、|,|跟|同)\s*){_NUMBER}{_END}",
    re.IGNORECASE,
)
_LIST_OPENS = re.compile(r"regions|areas|区域\s*[0-9]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mention:
    """Characters `start` to `end` of a text name region `number`, 1 for R1."""

    start: int
    end: int
    number: int


def find_mentions(text: str, max_number: int) -> Iterator[Mention]:
    """Mentions in order, without overlap; numbers above `max_number` stay words."""
    at = 0
    while (match := _FIRST.search(text, at)) is not None:
        number = int(next(group for group in match.groups() if group))
        at = match.end()
        if number <= max_number:
            yield Mention(match.start(), at, number)
        while _LIST_OPENS.search(match[0]) and (more := _NEXT.match(text, at)) is not None:
            at = more.end()
            if int(more[2]) <= max_number:
                yield Mention(more.end(1), at, int(more[2]))
