"""`ruichat align adapt` on mini and a drawn site: a checkpoint that answers, and its report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from ruichat.cli.main import app
from ruichat.features.tile_classifier import TileClassifier
from ruichat.histology import KEYS
from ruichat.slide.phantom import PhantomConfig, draw_phantom

pytest.importorskip("sklearn")

KINDS = {"nests": "carcinoma_nests", "stromal": "stroma"}
NUM = 8


def write_site(folder: Path) -> None:
    """Windows of a drawn slide that show one kind each, in a strong violet stain."""
    (folder / "tiles").mkdir(parents=True)
    lines = ["file,label,patient"]
    found = dict.fromkeys(KINDS, 0)
    for seed in range(20):
        phantom = draw_phantom(PhantomConfig(seed=seed, width0=1536, height0=1536))
        for y in range(0, 1536 - 224, 160):
            for x in range(0, 1536 - 224, 160):
                classes = phantom.classes[y : y + 224, x : x + 224]
                for label, key in KINDS.items():
                    if found[label] < NUM and (classes == KEYS.index(key)).mean() > 0.8:
                        name = f"tiles/{label}_{found[label]}.png"
                        rgb = phantom.rgb[y : y + 224, x : x + 224] * np.array([0.8, 0.7, 1.0])
                        Image.fromarray(rgb.astype(np.uint8)).save(folder / name)
                        lines.append(f"{name},{label},P00{found[label] // 2}")
                        found[label] += 1
        if min(found.values()) == NUM:
            break
    assert min(found.values()) == NUM
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    root = tmp_path_factory.mktemp("adapt")
    write_site(root / "site")
    settings = {
        "name": "mini-elsewhere",
        "site": {
            "tiles": {"name": "elsewhere", "folder": "site", "group_column": "patient"},
            "labels": KINDS,
        },
        "lora": {"slides_per_step": 2, "loop": {"steps": 3, "learning_rate": 1e-4}},
        "calibrate": {"num_slides": 14, "turns": 4},
        "scores": {"per_label": [2, 4, 999], "draws": 2, "num_slides": 2, "questions_per_slide": 2},
        "bags": {"max_regions": 4, "min_side": 3, "max_side": 5},
        "release_features": True,
    }
    (root / "adapt.yaml").write_text(yaml.safe_dump(settings))
    command = ["align", "adapt", "--config", str(root / "adapt.yaml"), "--data", str(root)]
    result = CliRunner().invoke(app, [*command, "--out", str(root / "run"), "--json"])
    assert result.exit_code == 0, result.output
    return root / "run", json.loads(result.stdout)


def test_it_learns_the_site_and_keeps_the_old(adapted: tuple[Path, dict[str, object]]) -> None:
    _, report = adapted
    before, after = report["tiles"]
    assert after["labels"] > 0.8 and after["old"] > before["old"] - 0.05
    assert [point["per_label"] for point in report["curve"]] == [2, 4]
    assert report["left_out"] == [999] and report["fewest"] >= 4
    assert set(report["questions"][0]) == set(report["questions"][1]) == {"new", "old"}
    assert set(report["seconds"]) == {"encode", "head", "lora", "calibrate"}


def test_reports_stand_in_both_languages(adapted: tuple[Path, dict[str, object]]) -> None:
    out, _ = adapted
    english, chinese = ((out / name).read_text() for name in ("report.md", "report.zh.md"))
    assert english.count("|") == chinese.count("|") and english.count("\n") == chinese.count("\n")
    assert "Left out: 999" in english and "未列出：999" in chinese
    assert "mini adapted to elsewhere" in english and "mini 适配到 elsewhere" in chinese


def test_the_checkpoint_answers_about_a_slide(
    adapted: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    out, _ = adapted
    assert TileClassifier.load(out / "model" / "tiles.safetensors").site is not None
    runner = CliRunner()
    slide = tmp_path / "slide.tif"
    drawn = runner.invoke(
        app, ["phantom", "draw", str(slide), "--width", "1024", "--height", "1024"]
    )
    assert drawn.exit_code == 0, drawn.output
    asked = ["ask", str(slide), "Is there tumour?", "--model", str(out / "model"), "--json"]
    asked += ["--out", str(tmp_path)]
    result = runner.invoke(app, asked)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["model"] == "mini-elsewhere" and answer["text"]


def test_a_model_adapted_before_is_not_adapted_again(
    adapted: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    out, _ = adapted
    root = out.parent
    settings = yaml.safe_load((root / "adapt.yaml").read_text()) | {"model": "run/model"}
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(settings))
    command = ["align", "adapt", "--config", str(tmp_path / "again.yaml"), "--data", str(root)]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "run")])
    assert result.exit_code != 0
    assert "has been adapted to elsewhere before" in str(result.exception)


def test_what_is_released_names_no_patient(
    adapted: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    out, _ = adapted
    command = ["align", "export", str(out / "model"), "--out", str(tmp_path / "release")]
    result = CliRunner().invoke(app, [*command, "--licence", "MIT", "--data", "Drawn slides."])
    assert result.exit_code == 0, result.output
    for folder in (out / "model", tmp_path / "release"):
        for path in folder.rglob("*"):
            if path.is_file():
                assert not any(f"P00{n}".encode() in path.read_bytes() for n in range(4)), path.name
