"""A question as data: cleaned, measured, its language and its kind."""

from __future__ import annotations

import re

from ruichat.chat.plain import strip_controls
from ruichat.errors import InputError
from ruichat.histology import Language
from ruichat.model.mentions import find_mentions

MAX_QUESTION_CHARS = 1000
"""Longer text isn't a question about one slide and would crowd the model's prompt."""

KINDS = (
    "presence",
    "presence_where",
    "where",
    "type",
    "content",
    "region_presence",
    "dominant",
    "amount",
    "side",
    "compare",
    "describe",
    "quality",
    "help",
    "other",
)
"""Groups for which confidence is calibrated separately."""

_CJK = re.compile(r"[㐀-鿿豈-﫿]")
_LATIN_WORD = re.compile(r"[A-Za-z]+")
_CJK_SHARE_OF_CHINESE = 0.25
"""A Chinese question keeps Latin names (HER2, R7); a quarter of its words in Chinese is enough."""

_FAR_REGION = re.compile(r"(?<![A-Za-z0-9])\[?R(\d{3,4})\]?(?![A-Za-z0-9])")
_MAX_REGION = 99


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


def question_language(text: str) -> Language:
    """Chinese if a quarter of the words are Chinese characters, else English."""
    num_cjk = len(_CJK.findall(text))
    num_latin = len(_LATIN_WORD.findall(text))
    return "zh" if num_cjk and num_cjk >= _CJK_SHARE_OF_CHINESE * (num_cjk + num_latin) else "en"


def named_regions(text: str) -> tuple[int, ...]:
    """Numbers of the regions a question names as R7, [R7], region 7 or 区域7, each once."""
    near = [mention.number for mention in find_mentions(text, _MAX_REGION)]
    far = [int(number) for number in _FAR_REGION.findall(text)]
    return tuple(dict.fromkeys(near + far))


_RULES: dict[str, re.Pattern[str]] = {
    kind: re.compile(pattern, re.IGNORECASE)
    for kind, pattern in {
        "help": r"\bwhat can (?:you|i)\b|\bwho are you\b|\bwhat are you\b|\bhow do i\b|\bhelp\b"
        r"|你能(?:做|回答|干)|你是谁|你会什么|能问什么|怎么用|帮助",
        "quality": r"\bfocus\w*|\bblur\w*|\bsharp\w*|\bstain\w*|\bquality\b|\bresolution\b"
        r"|\bmpp\b|\bH&E\b"
        r"|清晰|模糊|染色|质量|对焦|聚焦|分辨率",
        "compare": r"\bcompar\w*|\bmore\b.*\bthan\b|\bwhich (?:of|one|has more|contains? more)\b"
        r"|\bdiffer\w*"
        r"|\bversus\b|\bvs\b|比较|相比|对比|哪个更|哪一个|区别|谁更|更多",
        "side": r"\b(?:left|right|upper|lower|top|bottom)\b|左|右|上半|下半|上部|下部|上方|下方"
        r"|哪一侧|哪侧|哪半",
        "amount": r"\bhow (?:much|large|big|many)\b|\bpercent\w*|\bproportion|\bfraction"
        r"|\bshare\b|\barea\b|\bsize\b"
        r"|\bextent\b|\bnumber of\b|多少|占比|比例|百分|面积|多大|几个|数量",
        "where": r"\bwhere\b|\bwhich (?:regions?|areas?|parts?)\b|\blocat\w*|\bshow me\b|\bpoint\b"
        r"|哪里|哪儿|何处|位于|位置|哪些区域|哪个区域|什么地方|哪些部位|在哪",
        "dominant": r"\bdominant|\bdominat\w*|\bmain(?:ly)?\b|\bmost(?:ly)?\b|\bpredomina\w*"
        r"|\bmajority\b"
        r"|主要|为主|最多|占优|大部分",
        "describe": r"\bdescri\w*|\bsummar\w*|\boverview\b|\breport\b|\btell me about\b|描述"
        r"|概述|总结|概括|介绍|小结",
        "type": r"\b(?:what|which) (?:type|kind|sort|tumou?r|cancer|carcinoma|organ|diagnosis)"
        r"|\bdiagnos\w*"
        r"|\bhistolog\w* type|\bclassif\w*|类型|哪种|哪类|什么肿瘤|什么癌|诊断|何种",
        "presence": r"^\s*(?:is|are|has|can)\b|\b(?:is|are|was) (?:there|this|it|that)\b"
        r"|\bdoes\b|\bdo\b|\bany\b|\bcan you see\b|\bpresent\b"
        r"|\bcontains?\b|\bhave\b|\bseen?\b|有没有|是否|有无|吗|存在|可见|含有",
        "content": r"\bwhat\b|什么|何物|哪些组织|组织",
    }.items()
}
"""Words that show a kind; of several that match, the first counts."""

_UNSPECIFIC = frozenset({"type", "where", "describe", "dominant", "content"})


def question_kind(text: str) -> str:
    """A group from `KINDS`, by words alone; it only chooses which calibration applies.

    A question that names two regions compares them; one that names a single region asks what it
    holds or whether it holds something, whatever other words it has.
    """
    kinds = [kind for kind, pattern in _RULES.items() if pattern.search(text)]
    num_named = len(named_regions(text))
    if num_named >= 2:
        return "compare"
    if not kinds:
        return "content" if num_named else "other"
    if num_named:
        unspecific = kinds[0] in _UNSPECIFIC and "presence" not in kinds
        specific = "region_presence" if "presence" in kinds else kinds[0]
        return "content" if unspecific else specific
    if kinds[0] == "where" and "presence" in kinds:
        return "presence_where"
    return kinds[0]
