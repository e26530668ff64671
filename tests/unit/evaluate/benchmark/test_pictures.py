"""Dialogues about pictures: shown to a model that looks, with the controls of slides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes_benchmark import AskedModel, ViewingModel, backend_of, write_lines
from PIL import Image
from pydantic import ValidationError

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")
pytest.importorskip("nltk")

from ruichat.errors import ConfigError, InputError
from ruichat.evaluate.benchmark.config import BenchmarkConfig
from ruichat.evaluate.benchmark.pictures import PictureFolders, read_picture
from ruichat.evaluate.benchmark.run import run_benchmark
from ruichat.evaluate.report import Report
from ruichat.truth.datasets.dialogue import Dialogue

NUM = 8


def record(number: int, *tiles: str) -> dict[str, Any]:
    """Every second picture is red, and is asked about."""
    return {
        "format": "ruichat-dialogue-1",
        "id": f"d{number}",
        "tiles": list(tiles) or [f"set/{number}.png"],
        "turns": [
            {"role": "user", "text": "Is it red?"},
            {"role": "assistant", "text": "No." if number % 2 else "Yes."},
        ],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures" / "set").mkdir(parents=True)
    for number in range(NUM):
        colour = (30, 20, 200) if number % 2 else (200, 20, 30)
        image = Image.new("RGB", (60, 30), colour)
        image.save(tmp_path / "pictures" / "set" / f"{number}.png")
    write_lines(tmp_path / "asked.jsonl", [record(number) for number in range(NUM)])
    return tmp_path


def run(folder: Path, model: AskedModel, **changes: object) -> Report:
    values = {"data": [{"file": "asked.jsonl", "patients": "unknown"}], "pictures": ["pictures"]}
    config = BenchmarkConfig.model_validate(values | changes)
    return run_benchmark(config, folder, folder / "run", backend=backend_of(model))


def test_a_model_that_looks_is_told_from_its_controls(folder: Path) -> None:
    model = ViewingModel(lambda _slide, _question: "No.")
    report = run(folder, model)
    row = next(one for one in report.rows if one.name == "balanced accuracy" and not one.where)
    assert row.score.value == 1 and row.controls["blind"].value == 0.5
    assert row.controls["other"].value < 1
    assert {picture.rgb.shape for picture in model.pictures} == {(30, 60, 3)}
    assert report.manifest["blind"] is False
    assert not any("measurements" in note for note in report.notes)


def test_pictures_need_a_model_that_looks_and_files_that_are_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match="asked reads bags of slides"):
        run(folder, AskedModel())
    missing = [*(record(number) for number in range(NUM)), record(9), record(10, "a.png", "b.png")]
    write_lines(folder / "asked.jsonl", missing)
    with pytest.raises(InputError, match="2 of 10 dialogues can't be shown what they are about"):
        run(folder, ViewingModel())
    report = run(folder, ViewingModel(), missing="leave_out")
    assert sum("1 dialogues left out" in note for note in report.notes) == 2
    with pytest.raises(ValidationError, match="give bags or pictures"):
        run(folder, ViewingModel(), bags=["bags"])


def test_a_picture_is_found_by_its_path_or_its_only_name(folder: Path) -> None:
    (folder / "pictures" / "more").mkdir()
    for name in ("set/same.png", "more/same.png", "more/own.JPG"):
        Image.new("RGB", (4, 4)).save(folder / "pictures" / name)
    found = PictureFolders([folder / "pictures"])

    def of(name: str) -> Path | None:
        return found.of(Dialogue.model_validate(record(0, name)))

    assert of("more/same.png") == folder / "pictures" / "more" / "same.png"
    assert of("same.png") is None
    assert of("images/own.jpg") == folder / "pictures" / "more" / "own.JPG"
    (folder / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="can't be read"):
        read_picture(folder / "broken.png", 100)
    assert read_picture(folder / "pictures" / "set" / "0.png", 20).rgb.shape == (10, 20, 3)
