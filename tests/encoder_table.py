"""The table of encoders in the docs, from the cards; run as a script, it writes it there."""

from __future__ import annotations

from pathlib import Path

from ruichat.features.card import EncoderCard
from ruichat.features.encoder import ENCODERS
from ruichat.features.encoders.cards import CARDS
from ruichat.features.encoders.catalogue import count_in_words

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- cards -->\n", "<!-- /cards -->\n"

HEADINGS = {
    "encoders.md": (
        "name",
        "encoder",
        "width",
        "tile",
        "parameters",
        "embedding",
        "weights",
        "revision",
        "licence",
    ),
    "encoders.zh.md": (
        "名称",
        "编码器",
        "维度",
        "图块",
        "参数量",
        "嵌入",
        "权重",
        "修订",
        "许可证",
    ),
}
WORDS = {
    "encoders.md": {"gated": "gated", "none": "not pinned", "included": "included"},
    "encoders.zh.md": {"gated": "需申请", "none": "未固定", "included": "随包附带"},
}


def table(page: str) -> str:
    """Markdown rows of all cards that come with the package."""
    headings = HEADINGS[page]
    rows = [headings, ("---",) * len(headings), *(row(card, page) for card in CARDS)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def row(card: EncoderCard, page: str) -> tuple[str, ...]:
    words = WORDS[page]
    weights = words["included"] if card.loader else f"`{card.files[0]}`"
    if card.hub:
        weights = f"[{card.hub}](https://huggingface.co/{card.hub})"
    return (
        f"`{card.name}`",
        card.title,
        str(card.dim),
        f"{card.tile_px} px, {card.tile_mpp:g} µm/px",
        count_in_words(card.num_parameters) if card.num_parameters else "",
        card.pooling,
        weights + (f", {words['gated']}" if card.gated else ""),
        f"`{card.revision[:8]}`" if card.revision else words["none"],
        card.license,
    )


def with_table(page: str) -> str:
    """The page as it should be."""
    text = (DOCS / page).read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table(page)}{END}{after}"


if __name__ == "__main__":
    assert set(ENCODERS) >= {card.name for card in CARDS}
    for page in HEADINGS:
        (DOCS / page).write_text(with_table(page), encoding="utf-8")
