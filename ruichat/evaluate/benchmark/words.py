"""The words of a benchmark's reports, English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ruichat.histology import Language

CONTROLS: Mapping[str, str] = {
    "blind": "the same questions without any slide",
    "other": "the same questions on another patient's slide",
    "majority": "what is right most often among other patients' questions",
    "borrowed": "the reference of another patient's question of the same kind",
    "chance": "an option, yes or no, or as many regions cited, by lot",
}
"""What stands beside a score, and how it is made."""

CHINESE: Mapping[str, str] = {
    "choice": "选择题",
    "closed": "是非题",
    "open": "开放问题",
    "report": "报告",
    "caption": "描述",
    "all": "全部",
    "accuracy, as answered": "准确率（按回答）",
    "accuracy, by likelihood": "准确率（按选项似然，每词元平均）",
    "accuracy, by total likelihood": "准确率（按选项总似然）",
    "balanced accuracy": "平衡准确率",
    "says yes": "回答“是”的比例",
    "recall of words": "词召回率",
    "F1 of words": "词 F1",
    "exact match": "完全一致",
    "claims, precision": "论断精确率",
    "claims, recall": "论断召回率",
    "claims contradicted": "与参考矛盾的论断",
    "cited area that is true": "所引区域中正确的面积",
    "true area that is cited": "正确区域中被引用的面积",
    "cited regions that exist": "所引区域确实存在",
    "accuracy over all orders": "各种选项顺序的平均准确率",
    "right in every order": "每种选项顺序都正确",
    "follows the words": "选项换位后仍选同样的文字",
    "follows the label": "选项换位后仍选同样的字母",
    "not answered": "未能回答",
    "cut off": "达到长度上限被截断",
    "left open": "回答“无法判定”",
    "slide minus none": "有切片减无切片",
    "slide minus another's": "本人切片减他人切片",
    "by likelihood": "按似然",
    "en": "英文",
    "zh": "中文",
    "blind": "无切片",
    "other": "他人切片",
    "majority": "多数答案",
    "borrowed": "他人参考",
    "chance": "随机",
    "the same questions without any slide": "同样的问题，不给切片",
    "the same questions on another patient's slide": "同样的问题，给另一位患者的切片",
    "what is right most often among other patients' questions": "其他患者的问题中最常见的正确答案",
    "the reference of another patient's question of the same kind": "另一位患者同类问题的参考答案",
    "an option, yes or no, or as many regions cited, by lot": "随机选选项、是或否，或同样多的区域",
    "patients": "患者",
}

HEADS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "title": "Benchmark of {model}",
        "blind": "**Asked blind: no slide was shown. "
        "These scores say what the questions alone tell.**",
        "score": "score",
        "interval": "95 %",
        "controls": "Controls",
        "notes": "Notes",
        "how": "How it was made",
        "interval_of": "Intervals: 95 %, percentile bootstrap over {units}.",
        "difference": "difference",
        "compare": "{one} against {two}",
        "p": "p",
        "paired": "{num} questions that both answered. Differences: 95 %, paired percentile "
        "bootstrap over patients; p two-sided.",
        "differing": "The runs differ in: {names}.",
    },
    "zh": {
        "title": "{model} 的评测",
        "blind": "**未给切片：以下分数只说明仅凭问题本身能答对多少。**",
        "score": "分数",
        "interval": "95 %",
        "controls": "对照",
        "notes": "说明",
        "how": "如何得出",
        "interval_of": "区间：95 %，按{units}自助抽样。",
        "difference": "差值",
        "compare": "{one} 与 {two} 的比较",
        "p": "p",
        "paired": "两者都回答了的 {num} 个问题。差值：95 %，按患者配对自助抽样；p 为双侧。",
        "differing": "两次运行的不同之处：{names}。",
    },
}


NOTES: Mapping[str, Mapping[Language, str]] = {
    "blind": {
        "en": "no slides: no folder of bags is given, so {num} dialogues are asked blind; these "
        "scores say what the questions alone tell",
        "zh": "缺少切片：未给 bag 文件夹，{num} 个对话不看切片提问；分数只说明仅凭问题能答对多少",
    },
    "broken": {
        "en": "{file}: {num} broken records left out",
        "zh": "{file}：略去 {num} 条有错误的记录",
    },
    "no_bag": {
        "en": "{num} dialogues left out: without a bag",
        "zh": "略去 {num} 个对话：没有 bag",
    },
    "several_slides": {
        "en": "{num} dialogues left out: about several slides, and a model is shown one",
        "zh": "略去 {num} 个对话：涉及多张切片，而模型只看一张",
    },
    "pictures": {
        "en": "{num} dialogues left out: about pictures of tiles, which have no bag",
        "zh": "略去 {num} 个对话：针对图块图片，没有 bag",
    },
    "no_picture": {
        "en": "{num} dialogues left out: their picture isn't in the folders, or several may be it",
        "zh": "略去 {num} 个对话：文件夹中没有其图片，或有多张同名",
    },
    "not_one_picture": {
        "en": "{num} dialogues left out: about slides or several pictures, and one is shown",
        "zh": "略去 {num} 个对话：针对切片或多张图片，而模型只看一张图片",
    },
    "several_bags": {
        "en": "{num} dialogues are about patients with several bags: the first by name is shown",
        "zh": "{num} 个对话的患者有多个 bag：按名称取第一个",
    },
    "no_patient": {
        "en": "{num} of {of} dialogues name no patient: each slide or tile counts as one",
        "zh": "{of} 个对话中有 {num} 个未注明患者：每张切片或图块算作一位患者",
    },
    "one_patient": {
        "en": "there is one patient only, so nobody else's slide could be shown",
        "zh": "只有一位患者，无法换用他人切片",
    },
    "limit": {
        "en": "{num} of {of} dialogues were asked, in a seeded order",
        "zh": "按种子确定的顺序提问了 {of} 个对话中的 {num} 个",
    },
    "failed": {
        "en": "{num} dialogues failed, the last with: {error}; they count as wrong, and are asked "
        "again by the same command",
        "zh": "{num} 个对话失败，最后一个的错误为：{error}；计为答错，再次运行同一命令会重新提问",
    },
    "no_facts": {
        "en": "{num} bags hold no measurements: no facts were told",
        "zh": "{num} 个 bag 没有测量值：未告知测量事实",
    },
    "no_likelihood": {
        "en": "the model doesn't say how likely an option is: no score by likelihood",
        "zh": "模型不给出选项的似然：没有按似然的分数",
    },
    "no_synonyms": {
        "en": "METEOR matches words and stems alone: WordNet's data isn't installed, so these "
        "scores are lower than those with synonyms",
        "zh": "METEOR 只匹配词与词干：未安装 WordNet 数据，分数低于使用同义词的分数",
    },
}
"""What a reader must know of a run, by name."""


@dataclass(frozen=True)
class Note:
    """Something a reader must know.

    Attributes:
        name: among `NOTES`.
        values: that its words hold.
    """

    name: str
    values: Mapping[str, object] = field(default_factory=dict[str, object])

    def say(self, language: Language) -> str:
        """In words."""
        return NOTES[self.name][language].format(**self.values)


def word(text: str, language: Language) -> str:
    """A word of a report in that language; what has no translation, a file's name, stays."""
    return CHINESE.get(text, text) if language == "zh" else text
