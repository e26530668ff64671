"""Every fixed wording of an answer, in both languages; warnings stand in `warning_texts`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from ruichat.chat.answer import DiagnosisClass, Place, Share
from ruichat.chat.facts import SlideFacts, fact_values
from ruichat.chat.guard import GuardTopic
from ruichat.histology import BY_KEY, Language

CLASS_WORDS: dict[Language, dict[DiagnosisClass, str]] = {
    "en": {
        "I": "definite",
        "II": "qualified (favour)",
        "III": "descriptive only",
        "IV": "cannot determine",
    },
    "zh": {
        "I": "明确",
        "II": "考虑/倾向",
        "III": "仅作描述",
        "IV": "无法判定",
    },
}
"""The four diagnosis classes in words."""

_QUALIFIERS: dict[Language, dict[DiagnosisClass, str]] = {
    "en": {"I": "", "II": "Favour: ", "III": "Description only, no diagnosis: ", "IV": ""},
    "zh": {"I": "", "II": "考虑：", "III": "仅作描述，不作诊断：", "IV": ""},
}

_TOPIC: dict[Language, dict[GuardTopic, tuple[str, str]]] = {
    "en": {
        "ihc": (
            "protein expression and special stains are not visible on an H&E slide",
            "Immunohistochemistry or the special stain on the same block would tell",
        ),
        "molecular": (
            "genes and molecular status are not visible on an H&E slide",
            "A molecular test (sequencing, PCR or FISH) on the same block would tell",
        ),
        "outcome": (
            "outcome and survival can't be read off a slide",
            "They need the stage, the treatment and follow-up of the patient",
        ),
        "therapy": (
            "treatment and its effect can't be decided from a slide",
            "The treating team decides, with stage, biomarkers and the patient's condition",
        ),
        "stage": (
            "the stage can't be read off one slide",
            "It needs the whole specimen, the lymph nodes, imaging and clinical findings",
        ),
        "clinical": (
            "history, symptoms and the gross specimen are not on the slide",
            "The request form and the clinical record would tell",
        ),
        "identity": (
            "a slide's tissue doesn't say who the patient is, and RuiChat reads no label",
            "The laboratory information system would tell",
        ),
        "other_test": (
            "results of another examination are not visible on an H&E slide",
            "The report of that examination would tell",
        ),
        "untrained": (
            "this model has not learned to judge it",
            "Judge it at high power yourself",
        ),
    },
    "zh": {
        "ihc": (
            "HE切片上看不到蛋白表达和特殊染色结果",
            "可在同一蜡块上加做免疫组化或相应特殊染色",
        ),
        "molecular": (
            "HE切片上看不到基因和分子状态",
            "可在同一蜡块上做分子检测（测序、PCR或FISH）",
        ),
        "outcome": (
            "切片不能说明预后和生存",
            "需结合分期、治疗和随访",
        ),
        "therapy": (
            "切片不能决定治疗及其效果",
            "应由临床团队结合分期、生物标志物和患者情况决定",
        ),
        "stage": (
            "单张切片不能确定分期",
            "需结合完整标本、淋巴结、影像和临床资料",
        ),
        "clinical": (
            "切片上没有病史、症状和大体所见",
            "请查申请单和病历",
        ),
        "identity": (
            "组织本身不能说明患者身份，RuiChat也不读取标签",
            "请查实验室信息系统",
        ),
        "other_test": (
            "HE切片上看不到其他检查的结果",
            "请查该项检查的报告",
        ),
        "untrained": (
            "本模型没有学过判断这一项",
            "请在高倍镜下自行判断",
        ),
    },
}


_SUBJECTS: dict[Language, dict[GuardTopic, str]] = {
    "en": {
        "outcome": "outcome",
        "therapy": "treatment",
        "stage": "stage",
        "clinical": "clinical data",
        "identity": "the patient",
    },
    "zh": {
        "outcome": "预后",
        "therapy": "治疗",
        "stage": "分期",
        "clinical": "临床资料",
        "identity": "患者信息",
    },
}
"""What was asked about, where the words that showed it are no name of it."""


def cannot_topic(topic: GuardTopic, trigger: str, language: Language) -> str:
    """Why a question of that topic stays open, and what would answer it."""
    reason, remedy = _TOPIC[language][topic]
    trigger = _SUBJECTS[language].get(topic, trigger)
    if language == "zh":
        return f"无法判定（{trigger}）：{reason}。{remedy}。"
    return f"Cannot determine ({trigger}): {reason}. {remedy}."


_HELP: dict[Language, str] = {
    "en": (
        "Ask about this slide, for example: Is there tumour, and where? What is the diagnosis? "
        "What is in R7? How much necrosis is there? Does R3 or R12 hold more tumour? "
        "Describe the slide. Every answer names the regions it rests on; a pathologist decides."
    ),
    "zh": (
        "请就这张切片提问，例如：有肿瘤吗？在哪里？诊断是什么？R7里有什么？坏死有多少？"
        "R3和R12哪个肿瘤更多？描述一下这张切片。每个回答都标明所依据的区域，结论由病理医师作出。"
    ),
}


def help_text(language: Language) -> str:
    """What can be asked."""
    return _HELP[language]


def not_understood(language: Language) -> str:
    """The message has no word about the slide."""
    if language == "zh":
        return "没有看懂这个问题。" + _HELP["zh"]
    return "That wasn't understood as a question about the slide. " + _HELP["en"]


_PLACE: dict[Language, dict[Place, str]] = {
    "en": {"slide": "slide", "region": "drawn region"},
    "zh": {"slide": "切片", "region": "所画区域"},
}


def about_drawn(area_mm2: float, language: Language) -> str:
    """What goes before an answer about a region that a person drew."""
    area = f"{area_mm2:.2g}" if area_mm2 < 10 else f"{area_mm2:.0f}"
    return (
        f"所画区域（{area} mm²）：" if language == "zh" else f"In the drawn region ({area} mm²): "
    )


_COUNTED = re.compile(r"\bthe slide(?= (?:is divided into|has) \{num_regions\})", re.IGNORECASE)
_COUNTED_ZH = re.compile(r"切片(?=共(?:分为|有) ?\{num_regions\})")


def of_drawn(raw: str) -> str:
    """A model's words where the regions that it counts are those of what a person drew."""

    def name(match: re.Match[str]) -> str:
        return f"{match.group()[:3]} {_PLACE['en']['region']}"

    return _COUNTED_ZH.sub(_PLACE["zh"]["region"], _COUNTED.sub(name, raw))


def slide_heading(letter: str, language: Language) -> str:
    """What goes before the answer of one slide of several."""
    return f"切片{letter}：" if language == "zh" else f"Slide {letter}: "


def each_slide(language: Language) -> str:
    """That answers about several slides were not brought together."""
    if language == "zh":
        return "每张切片分别作答，结果未合并。"
    return "Each slide was answered for itself; nothing was added up over the slides."


def any_slide(
    yes: Sequence[str],
    no: Sequence[str],
    still_open: Sequence[str],
    not_asked: Sequence[str],
    language: Language,
) -> str:
    """What several slides say together where one yes is enough; by the letters of the slides."""
    if language == "zh":
        verdict = "是" if yes else "未定" if still_open or not_asked else "否"
        groups = (("是", yes), ("否", no), ("无法判定", still_open), ("未提问", not_asked))
        listed = "；".join(f"{word}：{'、'.join(group)}" for word, group in groups if group)
        return f"合并规则：任一切片为“是”，全例即为“是”。全例：{verdict}（{listed}）。"
    verdict = "yes" if yes else "open" if still_open or not_asked else "no"
    groups = (
        ("yes", yes),
        ("no", no),
        ("can't be determined", still_open),
        ("not asked", not_asked),
    )
    listed = "; ".join(f"{word}: {', '.join(group)}" for word, group in groups if group)
    return f"Rule: yes for the case if any slide says yes. The case: {verdict} ({listed})."


NotAsked = Literal["unreadable", "no_resolution", "gone", "too_many"]
"""Why a slide of a case isn't asked: it can't be read, its file states no resolution, it was
removed or its file isn't there, or it comes after as many slides as one question may be about."""

_NOT_ASKED: dict[Language, dict[NotAsked, str]] = {
    "en": {
        "unreadable": "can't be read",
        "no_resolution": "the file states no resolution",
        "gone": "removed or changed, or the file isn't there",
        "too_many": "one question is about {most} slides at most; ask about these one by one",
    },
    "zh": {
        "unreadable": "无法读取",
        "no_resolution": "文件未给出分辨率",
        "gone": "已移除或更改，或文件不在",
        "too_many": "一次最多向{most}张切片提问，请逐张询问",
    },
}


def slides_left_out(
    letters: Mapping[NotAsked, Sequence[str]], most: int, language: Language
) -> str:
    """Which slides of a case weren't asked, and why; `most` may be asked at once."""
    reasons = {why: _NOT_ASKED[language][why].format(most=most) for why in letters}
    if language == "zh":
        listed = "；".join(f"{'、'.join(letters[why])}（{reasons[why]}）" for why in letters)
        return f"未提问的切片：{listed}。"
    listed = "; ".join(f"{', '.join(letters[why])} ({reasons[why]})" for why in letters)
    return f"Slides not asked: {listed}."


def no_such_region(
    number: int, num_regions: int, language: Language, place: Place = "slide"
) -> str:
    """The question names a region that the slide, or what was drawn on it, doesn't have."""
    where = _PLACE[language][place]
    if language == "zh":
        return f"无法判定：没有区域R{number}，该{where}的区域为R1至R{num_regions}。"
    return (
        f"Cannot determine: there is no region R{number}; "
        f"the regions of this {where} are R1 to R{num_regions}."
    )


def unknown_tissue(
    facts: SlideFacts, known: float, limit: float, language: Language, place: Place = "slide"
) -> str:
    """Most of the slide looks like nothing the model was trained on; what was measured stands."""
    share, needed = f"{known:.0%}", f"{limit:.0%}"
    measured = measured_line(facts, language)
    if language == "zh":
        return (
            f"无法判定：该{_PLACE['zh'][place]}只有{share}的组织与模型训练过的组织相似（至少需要{needed}），"
            f"模型不认识这种组织。{measured}"
        )
    return (
        f"Cannot determine: only {share} of the tissue resembles what the model was trained on "
        f"(at least {needed} is needed), so it doesn't know this tissue. {measured}"
    )


def measured_line(facts: SlideFacts, language: Language) -> str:
    """What holds whatever the tissue is: area, tiles, focus, stain, resolution."""
    value = fact_values(facts, language)
    if language == "zh":
        return (
            f"已测得：组织面积{value['{tissue_mm2}']}，{value['{num_tiles}']}个图块，"
            f"清晰度{value['{focus}']}，染色{value['{stain}']}，分辨率{value['{mpp}']}。"
        )
    return (
        f"Measured: tissue {value['{tissue_mm2}']}, {value['{num_tiles}']} tiles, "
        f"focus {value['{focus}']}, stain {value['{stain}']}, {value['{mpp}']}."
    )


def low_confidence(
    confidence: float,
    alternatives: Sequence[Share],
    language: Language,
    place: Place = "slide",
) -> str:
    """The model's answer is too likely to be wrong; what the tiles look like is named as open."""
    options = alternatives_line(alternatives, language, place=place)
    if language == "zh":
        return f"无法判定：置信度仅{confidence:.0%}。{options}"
    return f"Cannot determine: confidence is only {confidence:.0%}. {options}".rstrip()


def no_node(language: Language, place: Place = "slide") -> str:
    """What a denied metastasis doesn't mean."""
    if language == "zh":
        where = "该切片上" if place == "slide" else "所画区域内"
        return f"{where}未识别出淋巴结，因此这不能说明淋巴结有无转移。"
    where = "on this slide" if place == "slide" else "in the drawn region"
    return f"No lymph node is recognised {where}, so this says nothing about lymph nodes."


def disputed(measured: Sequence[tuple[str, float]], language: Language) -> str:
    """The model's words contradict what was counted; the count is shown instead."""
    if language == "zh":
        counts = "，".join(f"{name} {share:.0%}" for name, share in measured)
        return f"无法判定：模型的说法与图块计数不符。按图块计数：{counts}。"
    counts = ", ".join(f"{name} {share:.0%}" for name, share in measured)
    return (
        "Cannot determine: the model's words contradict the count of tiles. "
        f"Counted by tile: {counts}."
    )


def alternatives_line(
    alternatives: Sequence[Share],
    language: Language,
    *,
    cited: bool = False,
    place: Place = "slide",
) -> str:
    """The leading tissue classes by measurement, or "" if there are none.

    Args:
        alternatives: the classes.
        language: of the line.
        cited: they were measured in the cited regions, not in the whole place.
        place: what the answer is about.
    """
    if not alternatives:
        return ""
    names = [f"{BY_KEY[s.key].name(language)} {s.fraction:.0%}" for s in alternatives]
    if language == "zh":
        where = "所引区域" if cited else {"slide": "全片", "region": "所画区域"}[place]
        return f"{where}图块分类的主要可能：{'、'.join(names)}。"
    where = "in the cited regions" if cited else f"of the {_PLACE['en'][place]}"
    return f"Leading tissue {where} by tile: {', '.join(names)}."


def no_answer(language: Language) -> str:
    """The model ended without a word, or with words that answer another question."""
    if language == "zh":
        return "无法判定：模型没有回答这个问题。"
    return "Cannot determine: the model gave no answer to this question."


def qualifier(diagnosis_class: DiagnosisClass | None, language: Language) -> str:
    """The words that go before an answer of that class; "" where it is definite or has none."""
    return "" if diagnosis_class is None else _QUALIFIERS[language][diagnosis_class]


def without_qualifier(text: str) -> str:
    """An answer's text as the model wrote it, without the words that go before it."""
    for words in _QUALIFIERS.values():
        for before in words.values():
            if before and text.startswith(before):
                return text.removeprefix(before)
    return text
