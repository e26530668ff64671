from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")
pytest.importorskip("nltk")

from fakes_benchmark import AskedModel, backend_of, write_world

from ruichat.cli.evaluate import app
from ruichat.model.chat_model import SlideContext

runner = CliRunner()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        "ruichat.evaluate.benchmark.run.load_backend",
        lambda name, options: backend_of(AskedModel()),
    )
    return write_world(tmp_path, num_slides=2)


def test_a_benchmark_and_a_comparison_from_the_command_line(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ran = runner.invoke(app, ["benchmark", str(world), "--out", str(out), "--limit", "6"])
    assert ran.exit_code == 0 and "6 of 8 dialogues were asked" in ran.output
    ran = runner.invoke(app, ["benchmark", str(world), "--out", str(out), "--json", "-"])
    assert ran.exit_code == 0
    assert json.loads(ran.stdout)["schema"] == "ruichat.evaluation/1"
    assert {"report.md", "report.zh.md", "report.json"} <= {file.name for file in out.iterdir()}
    beside = tmp_path / "beside.md"
    ran = runner.invoke(app, ["compare", str(out), str(out), "--markdown", str(beside)])
    assert ran.exit_code == 0 and "balanced accuracy" in ran.output
    assert "difference" in beside.read_text() and "差值" in (tmp_path / "beside.zh.md").read_text()
    ran = runner.invoke(app, ["compare", str(out), str(out), "--json", "-"])
    assert json.loads(ran.stdout)["common"] == 8


def test_failures_show_in_the_exit_code(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moody(slide: SlideContext | None, question: str) -> str:
        if question.startswith("Where"):
            raise RuntimeError("no")
        return "yes"

    monkeypatch.setattr(
        "ruichat.evaluate.benchmark.run.load_backend",
        lambda name, options: backend_of(AskedModel(moody)),
    )
    ran = runner.invoke(app, ["benchmark", str(world), "--out", str(tmp_path / "run")])
    assert ran.exit_code == 4 and "RuntimeError: no" in ran.output
