"""The wording of answers: one clean form for each thing that can be said, in both languages.

The program fills the fact pieces with their unit: "{tumour_percent}" becomes "34%".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ruichat.align.dialogues.reading import Topic
from ruichat.histology import BY_KEY, Language
from ruichat.model.vocabulary import CANNOT

Half = Literal["left", "right", "upper", "lower"]
Share = Literal["small", "moderate", "most"]
Reason = Literal[
    "ihc",
    "molecular",
    "outcome",
    "clinical",
    "identity",
    "modality",
    "beyond",
    "offtopic",
    "attack",
    "region",
    "noslide",
    "organ",
]

_GROUP_NAMES: dict[str, tuple[str, str]] = {
    "tumour": ("tumour", "肿瘤"),
    "squamous_carcinoma": ("squamous cell carcinoma", "鳞状细胞癌"),
    "adenocarcinoma": ("adenocarcinoma", "腺癌"),
}
_PLURAL = frozenset({"carcinoma_nests", "carcinoma_glands", "normal_glands"})


@dataclass(frozen=True, slots=True)
class Cited:
    """A topic and the regions named for it."""

    topic: Topic
    regions: tuple[int, ...]


def region_name(region: int) -> str:
    """The piece that names a region counted from 0."""
    return f"[R{region + 1}]"


def cite(regions: Sequence[int]) -> str:
    """Citation of regions, in reading order."""
    return "".join(region_name(region) for region in regions)


class Words(ABC):
    """Sentences of one language. Each method gives one whole answer unless it says otherwise."""

    language: ClassVar[Language]
    yes: ClassVar[tuple[str, str]]
    """How answers begin that say yes, and that say no."""
    polar: ClassVar[dict[str, str]]
    """How answers begin to questions for which a bare yes or no is an answer."""
    has: ClassVar[str]
    """What follows the name of the region that has more."""
    mixed: ClassVar[str]
    """Word in every answer that calls a region mixed."""
    both: ClassVar[str]
    """How answers begin that put two regions level."""
    alike: ClassVar[dict[str, str]]
    """How answers begin that say whether two regions show the same."""
    malignant_tumour: ClassVar[str]
    malign: ClassVar[str]
    """How answers begin that say malignant."""
    seen_in: ClassVar[str]
    """Words found in every answer that says where something is."""
    halves: ClassVar[dict[str, str]]
    shares: ClassVar[dict[str, str]]
    reasons: ClassVar[dict[Reason, str]]
    amounts: ClassVar[dict[str, str]]
    """Sentences around a fact piece; "{cites}" stands for citations."""
    organs: ClassVar[dict[str, str]]

    def name(self, topic: Topic) -> str:
        """Noun for a topic, without article."""
        if topic.key in _GROUP_NAMES:
            return _GROUP_NAMES[topic.key][self.language == "zh"]
        return BY_KEY[topic.key].name(self.language)

    def missing_name(self, topic: Topic) -> str:
        """Noun for a topic that isn't seen: of tumours only the malignant are ruled out."""
        return self.malignant_tumour if topic.key == "tumour" else self.name(topic)

    def cannot(self, reason: Reason) -> str:
        """Why there is no answer."""
        return CANNOT + self.reasons[reason]

    def amount(self, fact: str, regions: Sequence[int] = ()) -> str:
        """A measured number; `fact` is a name in `vocabulary.FACTS_NAMES`."""
        return self.amounts[fact].replace("{cites}", cite(regions))

    @abstractmethod
    def listed(self, parts: Sequence[Cited]) -> str:
        """Names with citations, a part of a sentence."""

    @abstractmethod
    def tissue(self, part: Cited, *, pure: bool) -> str:
        """What most of the tissue is, a part of a sentence."""

    @abstractmethod
    def tumour_found(self, parts: Sequence[Cited]) -> str:
        """Yes, there is tumour, of these types."""

    @abstractmethod
    def tumour_seen(self, parts: Sequence[Cited]) -> str:
        """There is tumour, of these types."""

    @abstractmethod
    def malignant(self, parts: Sequence[Cited]) -> str:
        """Malignant, not benign: tumour of these types."""

    @abstractmethod
    def not_normal(self, parts: Sequence[Cited]) -> str:
        """No, the tissue isn't normal: there is tumour of these types."""

    @abstractmethod
    def normal(self, parts: Sequence[Cited]) -> str:
        """Yes, the tissue is normal."""

    @abstractmethod
    def found(self, part: Cited) -> str:
        """Yes, it is seen."""

    @abstractmethod
    def missing(self, topic: Topic, background: str) -> str:
        """It isn't seen; the background says what is."""

    @abstractmethod
    def location(self, part: Cited) -> str:
        """Where it is seen."""

    @abstractmethod
    def tumour_type(self, parts: Sequence[Cited]) -> str:
        """Which tumour it is."""

    @abstractmethod
    def main_tissue(self, part: Cited, *, pure: bool) -> str:
        """What most of the tissue is."""

    @abstractmethod
    def also(self, parts: Sequence[Cited]) -> str:
        """What else is seen."""

    @abstractmethod
    def region(self, region: int, main: Topic | None, others: Sequence[Topic]) -> str:
        """What a region shows; without `main` it is mixed."""

    @abstractmethod
    def region_yes(self, region: int, topic: Topic) -> str:
        """Yes, the region shows it."""

    @abstractmethod
    def region_no(self, region: int, main: Topic) -> str:
        """No, the region shows something else."""

    @abstractmethod
    def half_more(self, half: Half, part: Cited) -> str:
        """One half holds more of it."""

    @abstractmethod
    def halves_equal(self, part: Cited) -> str:
        """Both halves hold about as much."""

    @abstractmethod
    def more(self, more: int, less: int, topic: Topic) -> str:
        """One region has more of it than another."""

    @abstractmethod
    def as_much(self, first: int, second: int, topic: Topic) -> str:
        """Two regions have about as much of it."""

    @abstractmethod
    def same(self, first: int, second: int, topic: Topic) -> str:
        """Two regions show the same."""

    @abstractmethod
    def different(self, first: int, topic: Topic, second: int, other: Topic) -> str:
        """Two regions show different tissue."""

    @abstractmethod
    def majority(self, part: Cited, *, more: bool) -> str:
        """Whether more than half of the tissue is that."""

    @abstractmethod
    def share(self, share: Share, part: Cited) -> str:
        """Roughly how much of the tissue it is."""

    @abstractmethod
    def organ(self, organ: str, regions: Sequence[int]) -> str:
        """Which organ the tissue is from."""

    @abstractmethod
    def quality(self) -> str:
        """Focus and stain."""


class English(Words):
    """English answers."""

    language = "en"
    yes = ("Yes", "No ")
    polar: ClassVar[dict[str, str]] = {"yes": "Yes,", "no": "No,"}
    alike: ClassVar[dict[str, str]] = {"yes": "Both are", "no": "They differ"}
    malignant_tumour = "malignant tumour"
    malign = "Malignant"
    has = "has"
    both = "Both"
    mixed = "mixed"
    seen_in = "seen in"
    halves: ClassVar[dict[str, str]] = {
        "left": "left half",
        "right": "right half",
        "upper": "upper half",
        "lower": "lower half",
        "both": "Both halves",
    }
    shares: ClassVar[dict[str, str]] = {
        "small": "a small part",
        "moderate": "a moderate part",
        "most": "most",
    }
    amounts: ClassVar[dict[str, str]] = {
        "tumour_percent": "Tumour makes up {tumour_percent} of the tissue {cites}.",
        "tumour_mm2": "The tumour covers {tumour_mm2} {cites}.",
        "necrosis_percent": "Necrosis makes up {necrosis_percent} of the tissue {cites}.",
        "lymphoid_percent": "Lymphoid tissue makes up {lymphoid_percent} of the tissue {cites}.",
        "tissue_mm2": "The tissue covers {tissue_mm2}.",
        "num_regions": "The slide is divided into {num_regions} regions.",
        "num_tiles": "{num_tiles} tiles of tissue were read.",
        "mpp": "The resolution is {mpp}.",
    }
    organs: ClassVar[dict[str, str]] = {
        "lung": "lung",
        "oral cavity": "oral cavity",
        "colorectum": "colorectum",
        "breast": "breast",
        "lymph node": "lymph node",
    }
    reasons: ClassVar[dict[Reason, str]] = {
        "ihc": "Cannot determine: this needs immunohistochemistry, H&E does not show it.",
        "molecular": "Cannot determine: this needs a molecular test, H&E does not show it.",
        "outcome": "Cannot determine: outcome and treatment cannot be read off an H&E slide.",
        "clinical": "Cannot determine: this needs clinical and gross findings beyond the slide.",
        "identity": "Cannot determine: the slide does not tell who the patient is.",
        "modality": "Cannot determine: only H&E slides can be read here, no other images.",
        "beyond": "Cannot determine: this finding is beyond what this model was trained to see.",
        "offtopic": "Cannot answer: only questions about this slide can be answered.",
        "attack": "Cannot do that: only questions about this slide can be answered.",
        "region": "Cannot determine: there is no such region; the slide has {num_regions} regions.",
        "noslide": "Cannot determine: no slide is open.",
        "organ": "Cannot determine: the tissues seen do not point to one organ.",
    }

    def _is(self, topic: Topic) -> str:
        return "are" if topic.key in _PLURAL else "is"

    def _subject(self, topic: Topic) -> str:
        name = self.name(topic)
        return f"a {name}" if topic.key == "colorectal_polyp" else name

    def listed(self, parts: Sequence[Cited]) -> str:
        return "; ".join(f"{self.name(part.topic)} {cite(part.regions)}" for part in parts)

    def tissue(self, part: Cited, *, pure: bool) -> str:
        adverb = "" if pure else "mainly "
        return f"the tissue is {adverb}{self.name(part.topic)} {cite(part.regions)}"

    def tumour_found(self, parts: Sequence[Cited]) -> str:
        return f"Yes, there is tumour: {self.listed(parts)}."

    def tumour_seen(self, parts: Sequence[Cited]) -> str:
        return f"There is tumour: {self.listed(parts)}."

    def malignant(self, parts: Sequence[Cited]) -> str:
        return f"Malignant: {self.listed(parts)}."

    def not_normal(self, parts: Sequence[Cited]) -> str:
        return f"No, there is tumour: {self.listed(parts)}."

    def normal(self, parts: Sequence[Cited]) -> str:
        return f"Yes, no malignant tumour is seen: {self.listed(parts)}."

    def found(self, part: Cited) -> str:
        topic = part.topic
        return f"Yes, {self._subject(topic)} {self._is(topic)} seen {cite(part.regions)}."

    def missing(self, topic: Topic, background: str) -> str:
        return f"No {self.missing_name(topic)} {self._is(topic)} seen; {background}."

    def location(self, part: Cited) -> str:
        subject = self._subject(part.topic)
        subject = subject[0].upper() + subject[1:]
        return f"{subject} {self._is(part.topic)} seen in {cite(part.regions)}."

    def tumour_type(self, parts: Sequence[Cited]) -> str:
        return f"The tumour is {self.listed(parts)}."

    def main_tissue(self, part: Cited, *, pure: bool) -> str:
        text = self.tissue(part, pure=pure)
        return f"T{text[1:]}."

    def also(self, parts: Sequence[Cited]) -> str:
        return f"Also seen: {self.listed(parts)}."

    def region(self, region: int, main: Topic | None, others: Sequence[Topic]) -> str:
        names = " and ".join(self.name(topic) for topic in others)
        if main is None:
            return f"{region_name(region)} is mixed: {names}."
        if others:
            return f"{region_name(region)} is mainly {self.name(main)}, with {names}."
        return f"{region_name(region)} is {self.name(main)}."

    def region_yes(self, region: int, topic: Topic) -> str:
        return f"Yes, {region_name(region)} shows {self.name(topic)}."

    def region_no(self, region: int, main: Topic) -> str:
        return f"No, {region_name(region)} shows {self.name(main)}."

    def half_more(self, half: Half, part: Cited) -> str:
        return f"The {self.halves[half]} has more {self.name(part.topic)} {cite(part.regions)}."

    def halves_equal(self, part: Cited) -> str:
        return f"Both halves have similar amounts of {self.name(part.topic)} {cite(part.regions)}."

    def more(self, more: int, less: int, topic: Topic) -> str:
        return f"{region_name(more)} has more {self.name(topic)} than {region_name(less)}."

    def as_much(self, first: int, second: int, topic: Topic) -> str:
        return f"Both have similar amounts of {self.name(topic)} {cite((first, second))}."

    def same(self, first: int, second: int, topic: Topic) -> str:
        return f"Both are {self.name(topic)} {cite((first, second))}."

    def different(self, first: int, topic: Topic, second: int, other: Topic) -> str:
        return (
            f"They differ: {region_name(first)} is {self.name(topic)} and "
            f"{region_name(second)} is {self.name(other)}."
        )

    def majority(self, part: Cited, *, more: bool) -> str:
        start = "Yes, more" if more else "No, less"
        return f"{start} than half of the tissue is {self.name(part.topic)} {cite(part.regions)}."

    def share(self, share: Share, part: Cited) -> str:
        name = self.name(part.topic)
        verb = "make" if part.topic.key in _PLURAL else "makes"
        tissue = f"{self.shares[share]} of the tissue {cite(part.regions)}"
        return f"{name[0].upper()}{name[1:]} {verb} up {tissue}."

    def organ(self, organ: str, regions: Sequence[int]) -> str:
        return f"The tissue is from the {self.organs[organ]} {cite(regions)}."

    def quality(self) -> str:
        return "Focus: {focus}. Stain: {stain}."


class Chinese(Words):
    """Chinese answers."""

    language = "zh"
    yes = ("有", "未见")
    polar: ClassVar[dict[str, str]] = {"yes": "是，", "no": "否，"}
    alike: ClassVar[dict[str, str]] = {"yes": "两者均为", "no": "两者不同"}
    malignant_tumour = "恶性肿瘤"
    malign = "恶性"
    has = "的"
    both = "两者"
    mixed = "混合"
    seen_in = "见于"
    halves: ClassVar[dict[str, str]] = {
        "left": "左半部分",
        "right": "右半部分",
        "upper": "上半部分",
        "lower": "下半部分",
        "both": "两侧",
    }
    shares: ClassVar[dict[str, str]] = {
        "small": "小部分",
        "moderate": "相当一部分",
        "most": "大部分",
    }
    amounts: ClassVar[dict[str, str]] = {
        "tumour_percent": "肿瘤约占组织的 {tumour_percent} {cites}。",
        "tumour_mm2": "肿瘤面积约为 {tumour_mm2} {cites}。",
        "necrosis_percent": "坏死约占组织的 {necrosis_percent} {cites}。",
        "lymphoid_percent": "淋巴组织约占组织的 {lymphoid_percent} {cites}。",
        "tissue_mm2": "组织面积为 {tissue_mm2}。",
        "num_regions": "切片共分为 {num_regions} 个区域。",
        "num_tiles": "共读取 {num_tiles} 个组织图块。",
        "mpp": "分辨率为 {mpp}。",
    }
    organs: ClassVar[dict[str, str]] = {
        "lung": "肺",
        "oral cavity": "口腔",
        "colorectum": "结直肠",
        "breast": "乳腺",
        "lymph node": "淋巴结",
    }
    reasons: ClassVar[dict[Reason, str]] = {
        "ihc": "无法确定：这需要免疫组化检查，HE切片不能显示。",
        "molecular": "无法确定：这需要分子检测，HE切片不能显示。",
        "outcome": "无法确定：预后和治疗不能从HE切片判断。",
        "clinical": "无法确定：这需要切片以外的临床和大体资料。",
        "identity": "无法确定：切片不能说明患者是谁。",
        "modality": "无法确定：这里只能阅读HE切片，不能阅读其他影像。",
        "beyond": "无法确定：该项目超出本模型的训练范围。",
        "offtopic": "无法回答：这里只能回答关于这张切片的问题。",
        "attack": "不能这样做：这里只能回答关于这张切片的问题。",
        "region": "无法确定：没有这个区域；切片共有 {num_regions} 个区域。",
        "noslide": "无法确定：没有打开切片。",
        "organ": "无法确定：所见组织不能指向某一个器官。",
    }

    def listed(self, parts: Sequence[Cited]) -> str:
        return "；".join(f"{self.name(part.topic)} {cite(part.regions)}" for part in parts)

    def tissue(self, part: Cited, *, pure: bool) -> str:
        name, cites = self.name(part.topic), cite(part.regions)
        return f"组织为{name} {cites}" if pure else f"组织以{name}为主 {cites}"

    def tumour_found(self, parts: Sequence[Cited]) -> str:
        return f"有肿瘤：{self.listed(parts)}。"

    def tumour_seen(self, parts: Sequence[Cited]) -> str:
        return self.tumour_found(parts)

    def malignant(self, parts: Sequence[Cited]) -> str:
        return f"恶性：{self.listed(parts)}。"

    def not_normal(self, parts: Sequence[Cited]) -> str:
        return f"否，有肿瘤：{self.listed(parts)}。"

    def normal(self, parts: Sequence[Cited]) -> str:
        return f"是，未见恶性肿瘤：{self.listed(parts)}。"

    def found(self, part: Cited) -> str:
        return f"有{self.name(part.topic)} {cite(part.regions)}。"

    def missing(self, topic: Topic, background: str) -> str:
        return f"未见{self.missing_name(topic)}；{background}。"

    def location(self, part: Cited) -> str:
        return f"{self.name(part.topic)}见于 {cite(part.regions)}。"

    def tumour_type(self, parts: Sequence[Cited]) -> str:
        return f"肿瘤为{self.listed(parts)}。"

    def main_tissue(self, part: Cited, *, pure: bool) -> str:
        return f"{self.tissue(part, pure=pure)}。"

    def also(self, parts: Sequence[Cited]) -> str:
        return f"另见：{self.listed(parts)}。"

    def region(self, region: int, main: Topic | None, others: Sequence[Topic]) -> str:
        names = "和".join(self.name(topic) for topic in others)
        if main is None:
            return f"{region_name(region)} 为混合组织：{names}。"
        if others:
            return f"{region_name(region)} 以{self.name(main)}为主，伴{names}。"
        return f"{region_name(region)} 为{self.name(main)}。"

    def region_yes(self, region: int, topic: Topic) -> str:
        return f"是，{region_name(region)} 为{self.name(topic)}。"

    def region_no(self, region: int, main: Topic) -> str:
        return f"否，{region_name(region)} 为{self.name(main)}。"

    def half_more(self, half: Half, part: Cited) -> str:
        return f"{self.halves[half]}的{self.name(part.topic)}更多 {cite(part.regions)}。"

    def halves_equal(self, part: Cited) -> str:
        return f"两侧的{self.name(part.topic)}相近 {cite(part.regions)}。"

    def more(self, more: int, less: int, topic: Topic) -> str:
        return f"{region_name(more)} 的{self.name(topic)}比 {region_name(less)} 多。"

    def as_much(self, first: int, second: int, topic: Topic) -> str:
        return f"两者的{self.name(topic)}相近 {cite((first, second))}。"

    def same(self, first: int, second: int, topic: Topic) -> str:
        return f"两者均为{self.name(topic)} {cite((first, second))}。"

    def different(self, first: int, topic: Topic, second: int, other: Topic) -> str:
        return (
            f"两者不同：{region_name(first)} 为{self.name(topic)}，"
            f"{region_name(second)} 为{self.name(other)}。"
        )

    def majority(self, part: Cited, *, more: bool) -> str:
        start = "是，超过一半" if more else "否，不到一半"
        return f"{start}的组织为{self.name(part.topic)} {cite(part.regions)}。"

    def share(self, share: Share, part: Cited) -> str:
        return f"{self.name(part.topic)}占组织的{self.shares[share]} {cite(part.regions)}。"

    def organ(self, organ: str, regions: Sequence[int]) -> str:
        return f"组织来自{self.organs[organ]} {cite(regions)}。"

    def quality(self) -> str:
        return "对焦：{focus}。染色：{stain}。"


WORDS: dict[Language, Words] = {"en": English(), "zh": Chinese()}
