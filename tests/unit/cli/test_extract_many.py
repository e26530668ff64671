"""`features extract` on folders: lines, totals, exit codes, a second run that does nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from drawn import draw_tissue, write_pyramid
from fakes import COUNTED_PX, counted_card
from rich.console import Console
from typer.testing import CliRunner

from ruichat.cli import features as features_cli
from ruichat.cli.progress import WorkBar
from ruichat.errors import ConfigError, InputError
from ruichat.features.encoder import ENCODERS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two slides in a tree, one of which lacks its resolution, and a text."""
    card = counted_card()
    monkeypatch.setattr(ENCODERS, "_cards", {card.name: card})
    picture = draw_tissue(4 * COUNTED_PX, 4 * COUNTED_PX)
    (tmp_path / "slides" / "deep").mkdir(parents=True)
    write_pyramid(tmp_path / "slides" / "a.tif", picture, mpp=0.5)
    write_pyramid(tmp_path / "slides" / "deep" / "b.tif", picture[::-1], mpp=None)
    (tmp_path / "slides" / "notes.txt").write_text("")
    return tmp_path / "slides"


def invoke(*arguments: str | Path) -> tuple[int, str, str]:
    command = ["extract", "--encoder", "counted", "--workers", "1", *map(str, arguments)]
    result = CliRunner().invoke(features_cli.app, command)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_folder_is_done_as_far_as_it_can_be(folder: Path, tmp_path: Path) -> None:
    code, out, err = invoke(folder, "--out", tmp_path / "bags")
    assert code == 4
    assert out.startswith("1 slides done, 0 were there, 1 failed; 16 tiles in ")
    assert "1 files are no slides" in out
    (line,) = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert "b.tif" in line and "--mpp" in line
    code, out, _ = invoke(folder, "--out", tmp_path / "bags", "--mpp", "0.5", "--json")
    *slides, summary = map(json.loads, out.splitlines())
    assert code == 0
    assert {Path(s["slide"]).name: s["status"] for s in slides} == {
        "a.tif": "skipped",
        "b.tif": "done",
    }
    assert (summary["done"], summary["skipped"], summary["tiles"]) == (1, 1, 32)


def test_what_cannot_be_meant_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="need a folder"):
        invoke(folder)
    with pytest.raises(ConfigError, match="unknown engine 'spark'"):
        invoke(folder, "--out", tmp_path / "bags", "--engine", "spark")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no slides among 0 files"):
        invoke(tmp_path / "empty", "--out", tmp_path / "bags")


def test_one_slide_goes_to_a_file_or_to_a_store(folder: Path, tmp_path: Path) -> None:
    code, out, _ = invoke(folder / "a.tif", "--out", tmp_path / "one.h5", "--json")
    assert (code, json.loads(out)["num_tiles"]) == (0, 16)
    assert (tmp_path / "one.h5").is_file()
    invoke(folder / "a.tif", "--out", tmp_path / "bags")
    assert (tmp_path / "bags" / "a.h5").is_file()


def test_the_bar_counts_slides_and_the_tiles_that_are_known() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with WorkBar(3, console=console) as bar:
        bar.tiles("a", 10, 40)
        bar.tiles("b", 5, 60)
        bar.slide("a", 40)
        bar.slide("c", 0)
    text = screen.getvalue()
    assert "2/3" in text and "45/100" in text
