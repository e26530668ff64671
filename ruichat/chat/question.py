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

_SHORT_REGION = re.compile(r"\[?[Rr]\d{1,4}\]?")
_FAR_REGION = re.compile(
    r"(?:(?<![A-Za-z0-9])\[?R|(?i:\bregions?)\s*R?|区域\s*R?)(\d{3,4})"
    r"(?![A-Za-z0-9]|\.\d|\s*(?:%|[uµμ]m|mm|px|pixel|micro|微米|毫米|像素))"
)
"""Numbers too large for any slide's regions, so that a question about one is told so."""

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


def question_language(text: str, *, default: Language = "en") -> Language:
    """Chinese if a quarter of the words are Chinese characters, else English.

    A question without words of its own, such as "R7?", is in the `default` language: that of
    the question before it.
    """
    num_cjk = len(_CJK.findall(text))
    num_latin = len(_LATIN_WORD.findall(_SHORT_REGION.sub("", text)))
    if num_cjk + num_latin == 0:
        return default
    return "zh" if num_cjk and num_cjk >= _CJK_SHARE_OF_CHINESE * (num_cjk + num_latin) else "en"


def named_regions(text: str) -> tuple[int, ...]:
    """Numbers of the regions a question names as R7, [R7], region 7 or 区域7, each once."""
    near = [mention.number for mention in find_mentions(text, _MAX_REGION)]
    far = [int(number) for number in _FAR_REGION.findall(text)]
    return tuple(dict.fromkeys(near + far))


_WORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "help",
        (
            r"\bwhat can (?:you|i)\b|\b(?:who|what) are you\b|\bhow do i\b|\bhelp\b|\bmeans?\b"
            r"|\bmeant\b",
            r"\b(?:final|a) diagnosis\?|\bwhy do you\b|\bcan i (?:use|trust)\b",
            "你能(?:做|回答|干)|你是|你会|能问什么|怎么用|帮助|什么意思|概念|定义|例子|能信|在吗",
        ),
    ),
    (
        "quality",
        (
            r"\bfocus\w*|\bblur\w*|\bsharp\w*|\bstained\b|\bstaining\b|\bquality\b|\bH&E\b",
            r"\bproblems? with the\b",
            "清晰|清楚|模糊|虚焦|染色|质量|对焦|聚焦|HE切片|HE染色",
        ),
    ),
    (
        "type",
        (
            r"\b(?:choose|pick|select|options?|which of these|one of the following)\b|\(?A[).:]",
            "单选|可选|选项|请选择|哪一项|哪一个",
        ),
    ),
    (
        "side",
        (
            r"\b(?:left|right|upper|lower|top|bottom|above|below)\b",
            "左|右|[上下](?:半|部|方|面|多)|偏[上下]|上下|哪一?侧|哪半|哪边",
        ),
    ),
    (
        "compare",
        (
            r"\bcompar\w*|\bmore\b.*\bthan\b|\bhas more\b|\bcontains? more\b|\bdiffer\w*|\bvs\b"
            r"|\bversus\b",
            "比较|相比|对比|哪个更|区别|谁更|更多",
        ),
    ),
    (
        "amount",
        (
            r"\bhow (?:much|large|big|many|extensive)\b|\bpercent\w*|\bpropor\w*|\bfraction"
            r"|\bshare of\b|\bsize\b",
            r"\b(?:the|tissue|total|tumou?r) area\b|\bextent\b|\bamount\b|\bquantify\b|\bestimate\b"
            r"|\bnumber of\b",
            r"\bmore than half\b|\bresolution\b|\bmpp\b|\bcount\b",
            "多少|占比|比例|百分|面积|多大|几个(?!区域)|数量|一半|分辨率|的量|范围|多于|50%",
        ),
    ),
    (
        "where",
        (
            r"\bwhere\b|\bwhich (?:regions?|areas?|parts?|fields?)\b|\blocat\w*",
            r"\bshow (?:me|the)\b|\bpoint (?:to|out)\b",
            r"\btake me to\b|\bin what (?:part|area|region)|\b(?:list|name) the regions\b",
            "哪里|哪儿|何处|位于|位置|[哪几][些个几]*(?:区域|部位)|什么地方|在哪",
            "标出|列出|指出",
        ),
    ),
    (
        "dominant",
        (
            r"\bdomina\w*|\bmain(?:ly)?\b|\bmost(?:ly)?\b|\bpredomina\w*|\bmajority\b|\bprevail\w*"
            r"|\blargely\b",
            r"\bone word\b",
            "主要|为主|最多|最大|占优|优势|大部分|多数|一句话",
        ),
    ),
    (
        "describe",
        (
            r"\bdescri\w*|\bsummar\w*|\boverview\b|\breport\b|\btell me about\b|\bknow about\b"
            r"|\bfindings\b",
            r"\bwhat (?:do|does|can) (?:you|the \w+|this \w+|it) (?:see|show)\b",
            "描述|概述|总结|概括|介绍|小结|所见|表现|看到了什么",
        ),
    ),
    (
        "type",
        (
            r"\b(?:what|which) (?:type|kind|sort|tumou?r|cancer|carcinoma|organ|diagnosis)"
            r"|\bdiagnos\w*",
            r"\bhistolog\w* type|\bclassif\w*|\bimpression\b",
            "类型|哪种|哪类|什么肿瘤|什么癌|诊断|何种|印象|名称",
        ),
    ),
    (
        "presence",
        (
            r"^\s*(?:is|are|has|can|any)\b|\b(?:is|are|was) (?:there|this|it|that)\b",
            r"\bdoes\b|\bdo\b|\bany\b",
            r"\bpresent\b|\bcontains?\b|\bhave\b|\bseen?\b|\bbenign or malignant\b|\byes or no\b",
            "有没有|没有[？?]?$|是否|有无|(?<!什)么[？?。]?$|吗|存在|可见|含有|算不算|良恶性",
        ),
    ),
    ("content", (r"\bwhat\b", "什么|何物|哪些组织|组织")),
)
"""Words that show a kind; of several kinds that match, the first counts."""

_RULES = tuple((kind, re.compile("|".join(words), re.IGNORECASE)) for kind, words in _WORDS)

_UNSPECIFIC = frozenset({"type", "where", "describe", "dominant", "content"})


def question_kind(text: str) -> str:
    """A group from `KINDS`, by words alone; it only chooses which calibration applies.

    A question that names two regions compares them; one that names a single region asks what it
    holds or whether it holds something, whatever other words it has.
    """
    kinds = [kind for kind, pattern in _RULES if pattern.search(text)]
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
