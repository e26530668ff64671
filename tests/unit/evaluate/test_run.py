"""Whole evaluations in little, with data and without."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from fakes_chat import make_backend
from PIL import Image
from typer.testing import CliRunner

from ruichat.errors import ConfigError
from ruichat.evaluate.config import (
    EvaluateConfig,
    ProbeConfig,
    SplitRule,
    TileSuite,
)
from ruichat.evaluate.run import evaluate
from ruichat.truth.tile_folders import FolderConfig

pytest.importorskip("sklearn")


def write_source(root: Path) -> None:
    """Twelve groups of dark and pale tiles, a third of them held out."""
    folder = root / "tiles" / "drawn"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = [["file", "label", "group", "split"]]
    for number in range(48):
        dark, group = number % 2, number // 4
        rgb = np.clip(rng.normal(110 if dark else 210, 20, (224, 224, 3)), 0, 255)
        Image.fromarray(rgb.astype(np.uint8)).save(folder / f"{number}.png")
        label = "tumour" if dark else "stroma"
        rows.append([f"{number}.png", label, f"g{group}", "val" if group % 3 == 0 else "train"])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def config() -> EvaluateConfig:
    return EvaluateConfig.model_validate(
        {
            "sources": [
                {
                    "name": "drawn",
                    "labels": {"tumour": "carcinoma_nests", "stroma": "stroma"},
                    "group_column": "group",
                    "split_column": "split",
                }
            ],
            "folders": [{"name": "elsewhere", "folder": "tiles/elsewhere"}],
            "tiles": {
                "classified": ["drawn"],
                "probes": [{"name": "drawn"}, {"name": "elsewhere", "split": "folds"}],
                "unknown": ["elsewhere"],
            },
            "slides": {
                "num_laid": 6,
                "questions_per_slide": 3,
                "phantoms": {"num_fields": 0, "num_slides": 0, "num_control_fields": 0},
            },
            "num_draws": 20,
        }
    )


def test_a_whole_run_with_what_data_there_is(tmp_path: Path, config: EvaluateConfig) -> None:
    write_source(tmp_path)
    backend = make_backend("Yes, carcinoma nests [R1].")
    stages: list[str] = []
    report = evaluate(
        config,
        data_root=tmp_path,
        backend=backend,
        cache=tmp_path / "cache",
        progress=lambda stage, done, total: stages.append(stage),
    )
    rows = {row.name: row for row in report.rows}
    assert rows["drawn: shipped classifier"].score.value == 1
    probe = rows["drawn: probe, held-out groups"]
    assert probe.score.n == 16 and probe.score.value == 1
    assert set(probe.controls) == {"colour", "untrained"}
    assert rows["all kinds"].score.n > 0
    assert any("elsewhere" in line for line in report.skipped)
    assert "asking, true" in stages and "tiles" in stages
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["fingerprint"] == config.fingerprint()
    assert plain["data"]["drawn"] and plain["prompts"] and plain["decoding"]
    assert plain["model"]["encoder_digest"] == backend.encoder.digest


def test_two_runs_give_the_same_figures(tmp_path: Path, config: EvaluateConfig) -> None:
    write_source(tmp_path)
    reports = [
        evaluate(
            config, data_root=tmp_path, backend=make_backend("Yes [R1]."), cache=tmp_path / "c"
        )
        for _ in range(2)
    ]
    assert reports[0].rows == reports[1].rows


def test_without_data_every_part_says_why_it_is_left_out(
    tmp_path: Path, config: EvaluateConfig
) -> None:
    report = evaluate(
        config, data_root=tmp_path / "nothing", backend=make_backend("No."), cache=tmp_path
    )
    assert report.rows == ()
    text = " ".join(report.skipped)
    assert "drawn" in text and "elsewhere" in text and "slide questions" in text


def test_without_held_out_tiles_or_phantoms_no_slide_is_asked(
    tmp_path: Path, config: EvaluateConfig
) -> None:
    write_source(tmp_path)
    source = config.sources[0].model_copy(update={"split_column": "", "test_fraction": 0})
    report = evaluate(
        config.model_copy(update={"sources": (source,), "tiles": None}),
        data_root=tmp_path,
        backend=make_backend("No."),
        cache=tmp_path / "cache",
    )
    assert report.rows == ()
    assert "no windows of split 'test'" in " ".join(report.skipped)
    assert "no slide to ask about" in " ".join(report.skipped)


def test_a_name_that_nothing_defines_is_an_error(tmp_path: Path) -> None:
    config = EvaluateConfig(tiles=TileSuite(probes=(ProbeConfig(name="nowhere"),)))
    with pytest.raises(ConfigError, match="nowhere"):
        evaluate(config, data_root=tmp_path, backend=make_backend("No."), cache=tmp_path)


@pytest.mark.parametrize("split", ["folds", "runs"])
def test_known_tiles_are_probed_on_held_out_groups_alone(
    tmp_path: Path, config: EvaluateConfig, split: SplitRule
) -> None:
    write_source(tmp_path)
    suite = TileSuite(probes=(ProbeConfig(name="drawn", split=split),))
    with pytest.raises(ConfigError, match=f"splits 'drawn' by {split}"):
        evaluate(
            config.model_copy(update={"tiles": suite}),
            data_root=tmp_path,
            backend=make_backend("No."),
            cache=tmp_path / "cache",
        )


def test_own_tiles_are_probed(tmp_path: Path) -> None:
    write_source(tmp_path)
    own = FolderConfig(name="own", folder=str(tmp_path / "tiles" / "drawn"), group_column="group")
    suite = TileSuite(probes=(ProbeConfig(name="own", split="folds"),))
    report = evaluate(
        EvaluateConfig(folders=(own,), tiles=suite, num_draws=20),
        data_root=tmp_path,
        backend=make_backend("No."),
        cache=tmp_path / "cache",
    )
    [row] = report.rows
    assert row.name == "own: probe, 5 folds" and row.score.n == 48 and row.score.value > 0.9


def test_the_command_names_a_missing_config(tmp_path: Path) -> None:
    from ruichat.cli.evaluate import app

    result = CliRunner().invoke(app, ["run", str(tmp_path / "missing.yaml")])
    assert isinstance(result.exception, ConfigError)
