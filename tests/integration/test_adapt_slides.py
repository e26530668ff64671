"""`ruichat align adapt` on drawn slides with outlines: the head alone learns, and is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from annotated import outline, write_annotations, write_listing
from typer.testing import CliRunner

from ruichat.cli.main import app
from ruichat.histology import KEYS
from ruichat.slide.phantom import PhantomConfig, draw_phantom, write_phantom
from ruichat.slide.phantom.config import PhantomClass

pytest.importorskip("sklearn")

KINDS: dict[str, PhantomClass] = {"Tumor": "carcinoma_nests", "Stroma": "stroma"}
SIDE = 1344
CELL = 56


def write_slide(folder: Path, name: str, seed: int) -> None:
    """A drawn slide with an outline around each square that shows one kind alone."""
    mix = dict.fromkeys(KINDS.values(), 1.0)
    phantom = draw_phantom(PhantomConfig(seed=seed, width0=SIDE, height0=SIDE, mix=mix))
    write_phantom(phantom, folder / f"{name}.tif")
    features = []
    for y in range(0, SIDE, CELL):
        for x in range(0, SIDE, CELL):
            classes = phantom.classes[y : y + CELL, x : x + CELL]
            for label, key in KINDS.items():
                if (classes == KEYS.index(key)).mean() > 0.9:
                    features.append(outline(label, (x, y, x + CELL, y + CELL)))
    write_annotations(folder / f"{name}.geojson", [*features, outline(None, (0, 0, SIDE, SIDE))])


def test_outlines_teach_the_head(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    for seed, name in enumerate("abc"):
        write_slide(tmp_path / "site", name, seed)
    write_listing(tmp_path / "site", "abc", ("P1", "P2", "P3"))
    settings = {
        "name": "mini-elsewhere",
        "site": {"slides": {"name": "elsewhere", "folder": "site/slides.csv"}, "labels": KINDS},
        "calibrate": {"num_slides": 14, "turns": 4},
        "scores": {"per_label": [2], "draws": 1, "num_slides": 0},
        "bags": {"max_regions": 4, "min_side": 3, "max_side": 5},
    }
    (tmp_path / "adapt.yaml").write_text(yaml.safe_dump(settings))
    command = ["align", "adapt", "--config", str(tmp_path / "adapt.yaml")]
    command += ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    before, after = report["tiles"]
    assert after["labels"] > 0.7 and before["classes"] is not None
    assert after["old"] > before["old"] - 0.05
    assert report["num_learned"] > report["num_held_out"] > 0
    assert "left out: 3 annotations without a class" in report["notes"]
    assert "left out: 3 annotations without a class" in result.stderr
    assert (tmp_path / "run" / "model" / "tiles.safetensors").is_file()
