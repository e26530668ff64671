"""Dialogues about drawn bags, as files in a folder: what an alignment reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fakes_bags import drawn_bag

from ruichat.truth.datasets.dialogue import Dialogue

DIM = 384
"""Of mini's embeddings."""

ANSWERS = ("Yes: irregular glands [R2].", "Mostly necrosis.", "No.", "It is mucus [R1][R3].")


def write_bags(folder: Path, num: int = 4, tiles: int = 9, digest: str = "e" * 64) -> Path:
    """Bags of mini's width: slide0 to slide3, each with more tiles than the last."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(num):
        bag = drawn_bag(tiles + 2 * i, DIM, seed=i)
        replace(bag, encoder_digest=digest).save(folder / f"slide{i}.h5")
    return folder


def write_dialogues(path: Path, num: int = 12, *, num_slides: int = 4, **changes: Any) -> Path:
    """Questions about those slides, one turn or two."""
    lines: list[bytes] = []
    for i in range(num):
        turns = [
            {"role": "user", "text": "Is there tumour on this slide, and where?"},
            {"role": "assistant", "text": ANSWERS[i % 4]},
        ]
        if i % 3 == 0:
            turns += [
                {"role": "user", "text": f"What tissue is in region {1 + i % 4}?"},
                {"role": "assistant", "text": ANSWERS[(i + 1) % 4]},
            ]
        values = {
            "id": f"d{i}",
            "patient": f"p{i % num_slides}",
            "slides": [f"slide{i % num_slides}"],
            "num_regions": 4,
            "turns": turns,
        }
        lines.append(Dialogue.model_validate(values | changes).to_line())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines))
    return path
