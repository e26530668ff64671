"""How users type: case, punctuation, width, politeness. Varies a question without changing it."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ruichat.histology import Language
from ruichat.truth.dialogues.grammar import pick

_EN_BEFORE = (
    "Please tell me: ",
    "Quick question: ",
    "Hi, ",
    "Hello, ",
    "Question: ",
    "Hi there. ",
    "OK, ",
    "So, ",
    "Excuse me, ",
    "Please: ",
)
_EN_AFTER = (" Thanks.", " Thank you.", " Please.", " thanks", " Please answer briefly.")
_ZH_BEFORE = (
    "请问",
    "请问，",
    "你好，",
    "您好，",
    "麻烦问一下，",
    "麻烦看一下，",
    "请帮忙看看，",
    "老师，",
    "想问一下，",
    "请回答：",
    "问题：",
    "那么，",
)
_ZH_AFTER = ("谢谢", "谢谢！", "请简要回答。", "麻烦了", "谢谢。", "谢谢你")
_EN_SMALL = re.compile(r"\b(?:the|a|an|there|please|any)\b ?", re.IGNORECASE)
_ZH_SMALL = re.compile("[吗么的了呢请]")
_SPACES = re.compile(r"\s+")
_PIECE = re.compile(r"(\[R\d+\])")


def vary(text: str, language: Language, rng: np.random.Generator) -> str:
    """One way in which a user might type this question; region names stay as they are."""
    text = _SPACES.sub(" ", text).strip()
    return _vary_zh(text, rng) if language == "zh" else _vary_en(text, rng)


def _vary_en(text: str, rng: np.random.Generator) -> str:
    mark = text[-1] if text[-1] in "?.!:" else "?"
    text = text.rstrip("?.!:")
    if rng.random() < 0.06:
        text = _SPACES.sub(" ", _EN_SMALL.sub("", text)).strip() or text
    draw = rng.random()
    if draw < 0.12:
        before = pick(rng, _EN_BEFORE)
        keep = before.endswith(", ") or rng.random() < 0.5
        text = before + (text if keep else _capitalise(text))
    elif draw < 0.75:
        text = _capitalise(text)
    draw = rng.random()
    if draw < 0.12:
        text = _outside_pieces(text, str.lower)
    elif draw < 0.15:
        text = _outside_pieces(text, str.upper)
    draw = rng.random()
    if draw < 0.72:
        text += mark
    elif draw < 0.76:
        text += mark + mark
    elif draw < 0.79:
        text += " " + mark
    elif draw < 0.81:
        text += "？" if mark == "?" else "。"
    if rng.random() < 0.05:
        text += pick(rng, _EN_AFTER)
    if rng.random() < 0.04:
        text = _typo(text, rng)
    return text


def _vary_zh(text: str, rng: np.random.Generator) -> str:
    mark = text[-1] if text[-1] in "？。！：" else "？"
    text = text.rstrip("？。！：")
    if rng.random() < 0.06:
        text = _ZH_SMALL.sub("", text) or text
    if rng.random() < 0.12:
        text = _outside_pieces(text, str.lower)
    if rng.random() < 0.14:
        text = pick(rng, _ZH_BEFORE) + text
    draw = rng.random()
    if draw < 0.62:
        text += mark
    elif draw < 0.75:
        text += {"？": "?", "。": ".", "！": "!", "：": ":"}[mark]
    elif draw < 0.78:
        text += mark + mark
    if rng.random() < 0.05:
        text += ("" if text[-1] in "？。！?!." else "，") + pick(rng, _ZH_AFTER)
    if rng.random() < 0.08:
        text = text.replace("，", ",").replace("：", ":")
    if rng.random() < 0.05:
        text = text.replace("，", " ").replace("、", " ")
    return text


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def _outside_pieces(text: str, change: Callable[[str], str]) -> str:
    """Apply `str.lower` or `str.upper` outside region names."""
    parts = _PIECE.split(text)
    return "".join(part if i % 2 else change(part) for i, part in enumerate(parts))


def _typo(text: str, rng: np.random.Generator) -> str:
    """Swap, drop or double one letter inside a word of five letters or more."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
    if not long:
        return text
    i = pick(rng, long)
    word = words[i]
    at = 1 + int(rng.random() * (len(word) - 3))
    change = int(rng.random() * 3)
    if change == 0:
        word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    elif change == 1:
        word = word[:at] + word[at + 1 :]
    else:
        word = word[: at + 1] + word[at:]
    words[i] = word
    return " ".join(words)
