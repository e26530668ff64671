"""The report of an adaptation: what was gained, what was forgotten, how long it took."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ruichat.align.adaptation.scores import CurvePoint, QuestionScores, TileScores
from ruichat.histology import Language
from ruichat.storage.artifacts import write_atomic


@dataclass(frozen=True)
class Adaptation:
    """An adaptation and its scores.

    Attributes:
        model: what was adapted.
        name: of what came out.
        site: name of the site.
        labels: its labels.
        num_learned: tiles that were learned from.
        num_held_out: tiles that were measured on.
        rehearsed: old tiles that were rehearsed.
        notes: what was done to images that didn't fit.
        tiles: scores before and after.
        curve: scores by number of tiles.
        left_out: numbers of tiles that a label doesn't have.
        fewest: training tiles of the label that has the fewest.
        questions: answers before and after, by site.
        seconds: time of each step.
    """

    model: str
    name: str
    site: str
    labels: tuple[str, ...]
    num_learned: int
    num_held_out: int
    rehearsed: int
    notes: tuple[str, ...]
    tiles: tuple[TileScores, TileScores]
    curve: tuple[CurvePoint, ...]
    left_out: tuple[int, ...]
    fewest: int
    questions: tuple[dict[str, QuestionScores], dict[str, QuestionScores]]
    seconds: dict[str, float]


def write_report(adaptation: Adaptation, out: Path) -> None:
    """Write `report.json`, `report.md` and `report.zh.md`."""
    values = _rounded(asdict(adaptation))
    text = json.dumps(values, indent=1, ensure_ascii=False)
    write_atomic(out / "report.json", (text + "\n").encode())
    write_atomic(out / "report.md", as_markdown(adaptation, "en").encode())
    write_atomic(out / "report.zh.md", as_markdown(adaptation, "zh").encode())


def as_markdown(adaptation: Adaptation, language: Language) -> str:
    """The report in one language."""
    words, a = _WORDS[language], adaptation
    lines = [f"# {words['title']}: {a.name}", ""]
    lines += [
        words["made"].format(
            model=a.model, site=a.site, n=a.num_learned, held=a.num_held_out, old=a.rehearsed
        ),
        "",
        *(f"{note}." for note in a.notes),
        f"## {words['before_after']}",
        "",
        f"| | {words['before']} | {words['after']} |",
        "|---|---|---|",
    ]
    before, after = a.tiles
    for field in ("labels", "classes", "old", "known"):
        values = (getattr(before, field), getattr(after, field))
        lines.append(f"| {words[field]} | {_number(values[0])} | {_number(values[1])} |")
    for site in a.questions[0]:
        cells = [_answers(side[site]) for side in a.questions]
        lines.append(f"| {words[f'questions_{site}']} | {cells[0]} | {cells[1]} |")
    lines += ["", f"## {words['curve']}", "", words["curve_head"], "|---|---|---|---|---|---|"]
    for point in a.curve:
        spread = f"{_number(point.labels)} ({_number(point.low)}-{_number(point.high)})"
        others = [_number(v) for v in (point.colour, point.shuffled, point.old)]
        cells = [str(point.per_label), spread, *others, f"{point.seconds:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    if a.left_out:
        numbers = ", ".join(map(str, a.left_out))
        lines += ["", words["left_out"].format(numbers=numbers, fewest=a.fewest)]
    times = ", ".join(f"{words[step]} {value:.0f} s" for step, value in a.seconds.items())
    lines += ["", f"{words['time']}: {times}.", ""]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _answers(scores: QuestionScores) -> str:
    right = f"{_number(scores.right)} ({_number(scores.low)}-{_number(scores.high)})"
    return f"{right}; {_number(scores.blind)}; {_number(scores.cited)}"


def _rounded(value: Any) -> Any:
    """Floats to four places: the number of tiles tells no more."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value


_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "title": "Adaptation",
        "made": "{model} adapted to {site}: learned from {n} tiles, measured on {held} others, "
        "{old} old tiles rehearsed.",
        "before_after": "Before and after",
        "before": "before",
        "after": "after",
        "labels": "the site's labels, balanced accuracy",
        "classes": "our classes on the site's tiles, balanced accuracy",
        "old": "our classes on old tiles, balanced accuracy",
        "known": "share of the site's tiles that are familiar",
        "questions_new": "slides of the new site: answered rightly (95 %); blind; right citations",
        "questions_old": "slides of the old site: answered rightly (95 %); blind; right citations",
        "curve": "By number of tiles",
        "curve_head": "| tiles of each label | labels (least-largest draw) | colour alone | "
        "shuffled labels | old tiles | seconds |",
        "left_out": "Left out: {numbers}. One label has no more than {fewest} tiles to learn from.",
        "time": "Time",
        "encode": "encoding",
        "head": "head",
        "lora": "language model",
        "calibrate": "calibration",
    },
    "zh": {
        "title": "适配",
        "made": "{model} 适配到 {site}：用 {n} 个图块学习，在另外 {held} 个图块上测量，"
        "复习 {old} 个旧图块。",
        "before_after": "适配前后",
        "before": "适配前",
        "after": "适配后",
        "labels": "该中心的标签，平衡准确率",
        "classes": "本模型的类别在该中心图块上，平衡准确率",
        "old": "本模型的类别在旧图块上，平衡准确率",
        "known": "该中心图块中被视为熟悉组织的比例",
        "questions_new": "新中心的切片：答对（95 %）；不看图；引用正确",
        "questions_old": "旧中心的切片：答对（95 %）；不看图；引用正确",
        "curve": "按图块数量",
        "curve_head": "| 每个标签的图块 | 标签（最低-最高） | 仅颜色 | 打乱标签 | 旧图块 | 秒 |",
        "left_out": "未列出：{numbers}。有标签可供学习的图块只有 {fewest} 个。",
        "time": "用时",
        "encode": "编码",
        "head": "分类头",
        "lora": "语言模型",
        "calibrate": "校准",
    },
}
