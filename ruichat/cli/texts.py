"""Every wording of the terminal, in both languages, in one place."""

from __future__ import annotations

import os
from typing import Literal

from ruichat.histology import Language

Key = Literal[
    "stage_slide",
    "stage_model",
    "stage_features",
    "stage_facts",
    "stage_prompt",
    "class",
    "confidence",
    "ungrounded",
    "cut",
    "removed",
    "warning",
    "overlay",
    "geojson",
    "chat_intro",
    "chat_help",
    "chat_unknown",
    "chat_interrupted",
    "chat_at_prompt",
    "chat_no_answer",
    "chat_lang",
    "chat_new",
    "chat_think",
    "thinking_on",
    "thinking_off",
    "thinking_shown",
    "thought",
    "region",
    "leading",
    "box",
    "composition",
    "tumour",
    "known",
    "not_measured",
    "sends",
    "unencrypted",
    "at_most",
    "at_least",
    "rule_kept",
    "rule_missed",
]

_EN: dict[Key, str] = {
    "stage_slide": "opening the slide",
    "stage_model": "loading the model",
    "stage_features": "reading the slide",
    "stage_facts": "measuring",
    "stage_prompt": "preparing",
    "class": "class",
    "confidence": "confidence",
    "ungrounded": "no source cited",
    "cut": "cut off at the length limit: the end of the answer is missing; ask about less at once",
    "removed": "corrected",
    "warning": "warning",
    "overlay": "overlay",
    "geojson": "regions",
    "chat_intro": "Ask about the slide. /help lists the commands, Ctrl-D ends.",
    "chat_help": (
        "/regions   named regions and what they show\n"
        "/facts     what was measured\n"
        "/overlay   write picture and GeoJSON of the last answer\n"
        "/new       forget the earlier questions\n"
        "/think on|off|show   think before answering, or not, or show the thought too\n"
        "/lang en|zh|auto   language of messages\n"
        "/help      this list\n"
        "/quit      end (also Ctrl-D); Ctrl-C cancels an answer"
    ),
    "chat_unknown": "unknown command; /help lists them",
    "chat_interrupted": "(cancelled)",
    "chat_at_prompt": "(Ctrl-D or /quit ends)",
    "chat_no_answer": "ask something first",
    "chat_lang": "give en, zh or auto",
    "chat_new": "earlier questions are forgotten",
    "chat_think": "give on, off or show",
    "thinking_on": "the model thinks before it answers",
    "thinking_off": "the model answers at once",
    "thinking_shown": "the model thinks before it answers, and its thoughts are shown",
    "thought": "thought, not checked",
    "region": "region",
    "leading": "leading tissue",
    "box": "x, y, width, height (level 0)",
    "composition": "composition",
    "tumour": "tumour",
    "known": "familiar tissue",
    "not_measured": "not measured",
    "sends": "pictures of this slide leave this machine: each question sends them to {to}",
    "unencrypted": "the connection isn't encrypted: others on the network can see them",
    "at_most": "at most",
    "at_least": "at least",
    "rule_kept": "kept",
    "rule_missed": "MISSED by {by}",
}

_ZH: dict[Key, str] = {
    "stage_slide": "打开切片",
    "stage_model": "加载模型",
    "stage_features": "读取切片",
    "stage_facts": "测量",
    "stage_prompt": "准备",
    "class": "分级",
    "confidence": "置信度",
    "ungrounded": "未引用依据",
    "cut": "回答达到长度上限而被截断，结尾缺失；请缩小提问范围",
    "removed": "已更正",
    "warning": "注意",
    "overlay": "叠加图",
    "geojson": "区域文件",
    "chat_intro": "请就切片提问。/help 列出命令，Ctrl-D 结束。",
    "chat_help": (
        "/regions   各区域及其内容\n"
        "/facts     测量结果\n"
        "/overlay   写出上一回答的叠加图和GeoJSON\n"
        "/new       清除之前的问答\n"
        "/think on|off|show   先思考再回答；直接回答；显示思考过程\n"
        "/lang en|zh|auto   提示语言\n"
        "/help      本列表\n"
        "/quit      结束（或Ctrl-D）；Ctrl-C 取消当前回答"
    ),
    "chat_unknown": "未知命令；/help 列出全部命令",
    "chat_interrupted": "（已取消）",
    "chat_at_prompt": "（Ctrl-D 或 /quit 结束）",
    "chat_no_answer": "请先提问",
    "chat_lang": "请给出 en、zh 或 auto",
    "chat_new": "之前的问答已清除",
    "chat_think": "请给出 on、off 或 show",
    "thinking_on": "模型先思考再回答",
    "thinking_off": "模型直接回答",
    "thinking_shown": "模型先思考再回答，并显示思考过程",
    "thought": "思考过程（未经核对）",
    "region": "区域",
    "leading": "主要组织",
    "box": "x, y, 宽, 高（0级像素）",
    "composition": "组成",
    "tumour": "肿瘤",
    "known": "可识别组织",
    "not_measured": "未测量",
    "sends": "切片图像将离开本机：每次提问都会发送到 {to}",
    "unencrypted": "连接未加密：网络上的其他人可能看到图像",
    "at_most": "不超过",
    "at_least": "不低于",
    "rule_kept": "符合",
    "rule_missed": "不符合，相差 {by}",
}

_TEXTS: dict[Language, dict[Key, str]] = {"en": _EN, "zh": _ZH}


def say(key: Key, language: Language) -> str:
    """The wording of that key in that language."""
    return _TEXTS[language][key]


def terminal_language() -> Language:
    """Language of the terminal before any question is asked, from the locale's name."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable)
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"
