"""Cuts Chinese text into words before the tokenizer is trained on it.

Chinese is written without spaces, so a tokenizer trained on templated text would learn whole
phrases as pieces; a question that puts the same words together otherwise would then be spelled
in pieces the model hardly knows. Pieces learnt from words join in any order.
"""

from __future__ import annotations

import functools
import importlib.resources
import re

from ruichat.histology import CLASSES
from ruichat.truth.dialogues.phrasebook import load_phrasebook


@functools.cache
def _pattern() -> re.Pattern[str]:
    file = importlib.resources.files("ruichat.align") / "texts" / "words_zh.txt"
    book = load_phrasebook("zh")
    words = set(file.read_text(encoding="utf-8").split()) | {item.zh for item in CLASSES}
    words |= {mention.text for mentions in book.mentions.values() for mention in mentions}
    words |= {thing for things in book.things.values() for thing in things}
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + "|[^\\u4e00-\\u9fff]+)")


def split_words(text: str) -> list[str]:
    """Words and what lies between them, in order; joined they are the text."""
    return [part for part in _pattern().split(text) if part]
