"""The wording of answers in Chinese."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ruichat.truth.dialogues.answers import (
    Cited,
    Half,
    Reason,
    Share,
    Words,
    cite,
    region_name,
)
from ruichat.truth.dialogues.reading import Topic


class Chinese(Words):
    """Chinese answers."""

    language = "zh"
    yes = ("有", "未见")
    polar: ClassVar[dict[str, str]] = {"yes": "是，", "no": "否，"}
    normality: ClassVar[dict[str, str]] = {"yes": "未见异常", "no": "不正常"}
    alike: ClassVar[dict[str, str]] = {"yes": "两者均为", "no": "两者不同"}
    malignant_tumour = "恶性肿瘤"
    malign = "恶性"
    from_organ = "来自"
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
        return f"不正常，有肿瘤：{self.listed(parts)}。"

    def normal(self, parts: Sequence[Cited]) -> str:
        return f"未见异常：{self.listed(parts)}。"

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
        return f"组织{self.from_organ}{self.organs[organ]} {cite(regions)}。"

    def quality(self) -> str:
        return "对焦：{focus}。染色：{stain}。"
