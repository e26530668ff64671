"""The docs' table of encoders is that of the cards, and their example runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from encoder_table import DOCS, HEADINGS, with_table

from ruichat.features.encoders.loading import build_module


@pytest.mark.parametrize("page", HEADINGS)
def test_the_docs_show_the_cards(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert text == with_table(page), "Run: PYTHONPATH=. python tests/encoder_table.py"


@pytest.mark.parametrize("page", HEADINGS)
def test_the_docs_example_is_an_encoder(page: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    card = names["my_vit"]()
    with torch.device("meta"):
        module = build_module(card.architecture)
        pixels = torch.empty((2, 3, card.input_px, card.input_px))
    assert module(pixels).shape == (2, card.dim)
