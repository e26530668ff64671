"""What a reader must know of a slide before trusting an answer, in both languages."""

from __future__ import annotations

import re

from ruichat.chat.facts import SlideFacts
from ruichat.histology import Language

MIN_LEFT_OUT = 0.03
"""Share of tissue left out from which the reader is told; chance alone leaves out a hundredth."""

_STAIN = re.compile(r"^stain is implausible for H&E: (?P<share>\d+%) of the tissue")
_CHINESE: tuple[tuple[re.Pattern[str], str], ...] = (
    (_STAIN, "染色不符合HE：只有{share}的组织具有HE的颜色。请检查染色和文件的颜色，回答可能有误"),
    (
        re.compile(r"^--mpp (?P<user>\S+) contradicts the file's (?P<file>\S+) um/px"),
        "--mpp {user} 与文件中的 {file} µm/px 不符：采用文件的值",
    ),
    (
        re.compile(r"^the file states (?P<file>\S+) um/px, which is implausible"),
        "文件中的 {file} µm/px 不合理：采用 --mpp 的值",
    ),
    (
        re.compile(r"^pixels are not square \((?P<x>\S+) x (?P<y>\S+) um\): (?P<used>\S+) is used"),
        "像素不是正方形（{x} × {y} µm）：采用 {used}",
    ),
    (
        re.compile(r"^(?P<num>\d+) of (?P<whole>\d+) tiles left out"),
        "{whole}个图块中有{num}个未读取：模糊、有墨迹、折叠或在气泡下",
    ),
    (
        re.compile(r"^nearly every tile is blurred, inked, folded or under a bubble"),
        "几乎每个图块都模糊、有墨迹、折叠或在气泡下，回答可能有误",
    ),
)


def _in_chinese(warning: str) -> str:
    """A warning of the slide in Chinese; one that isn't known here as it is."""
    for pattern, words in _CHINESE:
        match = pattern.search(warning)
        if match is not None:
            return words.format(**match.groupdict())
    return warning


def warnings(facts: SlideFacts, calibrated: bool, language: Language) -> tuple[str, ...]:
    """What a reader must know before trusting an answer about this slide."""
    zh = language == "zh"
    found = [_in_chinese(warning) if zh else warning for warning in facts.warnings]
    if facts.stain == "atypical" and not any(_STAIN.search(w) for w in facts.warnings):
        found.append(
            "颜色不符合典型HE染色，回答可能不可靠"
            if zh
            else "the colours are not typical of H&E; the answer may be unreliable"
        )
    if facts.left_out_fraction >= MIN_LEFT_OUT:
        share = f"{facts.left_out_fraction:.0%}"
        found.append(
            f"{share}的组织未读取：模糊、有墨迹或折叠，或为模型不认识的组织"
            if zh
            else f"{share} of the tissue was not read: it is blurred, inked or folded, or of a "
            "kind that the model doesn't know"
        )
    if facts.focus_grade == "poor":
        found.append("切片模糊" if zh else "the slide is out of focus")
    if not facts.is_classified:
        found.append(
            "该模型没有图块分类器：未测量组织组成，也不识别陌生组织"
            if zh
            else "the model has no tile classifier: tissue composition isn't measured, and tissue "
            "that the model doesn't know isn't recognised"
        )
    if not calibrated:
        found.append(
            "该模型未经校准，仅作描述"
            if zh
            else "the model carries no calibration; its answers are descriptive only"
        )
    return tuple(dict.fromkeys(found))
