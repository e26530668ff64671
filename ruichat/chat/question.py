"""A question as data: cleaned, measured, its language and its kind."""

from __future__ import annotations

import re
import unicodedata

from ruichat.errors import InputError
from ruichat.histology import Language

MAX_QUESTION_CHARS = 1000
"""Longer text isn't a question about one slide and would crowd the model's prompt."""

KINDS = (
    "presence",
    "where",
    "type",
    "content",
    "dominant",
    "amount",
    "side",
    "compare",
    "describe",
    "count",
    "other",
)
"""Groups for which confidence is calibrated separately."""

_CJK = re.compile(r"[㐀-鿿豈-﫿]")
_LATIN_WORD = re.compile(r"[A-Za-z]+")
_CJK_SHARE_OF_CHINESE = 0.25
"""A Chinese question keeps Latin names (HER2, R7); a quarter of its words in Chinese is enough."""

_NAMED_REGION = re.compile(
    r"(?<![A-Za-z0-9])\[?[Rr](\d{1,4})\]?(?![A-Za-z0-9])"
    r"|(?:区域|\b[Rr]egions?)\s*(\d{1,4})(?![\d.%])"
)


def clean_question(text: str, *, max_chars: int = MAX_QUESTION_CHARS) -> str:
    """The question without control characters and outer blanks.

    Raises:
        InputError: nothing is left, or it is longer than `max_chars`.
    """
    if len(text) > max_chars:
        raise InputError(
            f"the question has {len(text)} characters; at most {max_chars} are allowed",
            hint="Ask one short question about the slide",
        )
    question = " ".join(strip_controls(text).split())
    if not question:
        raise InputError("the question is empty", hint="Ask what the slide shows")
    return question


def strip_controls(text: str) -> str:
    """Text that can't steer a terminal: no control, format, surrogate or private characters.

    Line breaks and tabs become spaces; that drops escape sequences, zero-width and
    right-to-left marks, whatever their source.
    """
    spaced = re.sub(r"[\t\r\n\v\f\x85\u2028\u2029]", " ", text)
    return "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))


def question_language(text: str) -> Language:
    """Chinese if a quarter of the words are Chinese characters, else English."""
    num_cjk = len(_CJK.findall(text))
    num_latin = len(_LATIN_WORD.findall(text))
    return "zh" if num_cjk and num_cjk >= _CJK_SHARE_OF_CHINESE * (num_cjk + num_latin) else "en"


def named_regions(text: str) -> tuple[int, ...]:
    """Numbers of the regions a question names as R7, [R7], region 7 or 区域7, each once."""
    found = (int(a or b) for a, b in _NAMED_REGION.findall(text))
    return tuple(dict.fromkeys(found))


_KIND_RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (
            "compare",
            r"\bcompar\w*|\bmore\b.*\bthan\b|\bwhich (?:of|has more|contains? more|region has)"
            r"|\bdiffer\w*|\bversus\b|\bvs\b|比较|相比|对比|哪个更|哪一个更|区别|谁更|更多",
        ),
        (
            "side",
            r"\b(?:left|right|upper|lower|top|bottom)\b|左|右|上半|下半|上部|下部|上方|下方|哪一侧|哪侧",
        ),
        (
            "amount",
            r"\bhow (?:much|large|big)\b|\bpercent\w*|\bproportion|\bfraction|\bshare\b|\barea\b|\bsize\b"
            r"|多少|占比|比例|百分|面积|多大",
        ),
        ("count", r"\bhow many\b|\bcount\b|\bnumber of\b|几个|几处|数量|计数"),
        (
            "where",
            r"\bwhere\b|\bwhich (?:regions?|areas?|parts?)\b|\blocat\w*|\bshow me\b|\bpoint\b"
            r"|哪里|哪儿|何处|位于|位置|哪些区域|哪个区域|什么地方|哪些部位|在哪",
        ),
        (
            "dominant",
            r"\bdominant|\bmain(?:ly)?\b|\bmost(?:ly)?\b|\bpredomina\w*|\bmajority\b|主要|为主|最多|占优",
        ),
        (
            "describe",
            r"\bdescri\w*|\bsummar\w*|\boverview\b|\breport\b|\btell me about\b|描述|概述|总结|概括|介绍",
        ),
        (
            "type",
            r"\b(?:what|which) (?:type|kind|sort|tumou?r|cancer|carcinoma|organ|diagnosis)|\bdiagnos\w*"
            r"|\bhistolog\w* type|\bclassif\w*|类型|哪种|哪类|什么肿瘤|什么癌|诊断|何种|来源",
        ),
        (
            "presence",
            r"\bis there\b|\bare there\b|\bis (?:this|it)\b|\bdoes\b|\bdo\b|\bany\b|\bcan you see\b|\bpresent\b"
            r"|\bcontain|\bhave\b|\bsee\b|有没有|是否|有无|吗|存在|可见|含有",
        ),
        ("content", r"\bwhat\b|什么|何物|哪些组织|组织"),
    )
)


def question_kind(text: str) -> str:
    """A group from `KINDS`, by words alone; it only chooses which calibration applies.

    A question that names one region and asks what it shows is "content", one that names two
    is "compare", whatever other words it holds.
    """
    regions = named_regions(text)
    if len(regions) >= 2:
        return "compare"
    for kind, pattern in _KIND_RULES:
        if pattern.search(text):
            unspecific = kind in ("type", "where", "describe", "dominant")
            return "content" if regions and unspecific else kind
    return "other"
