"""`slide` and `features` on the command line: plain words, JSON, pictures, typed errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_tissue, swapping_profile, write_pyramid
from fakes import MeanColourEncoder
from PIL import Image
from typer.testing import CliRunner

from ruichat.cli import features as features_cli
from ruichat.cli import slide as slide_cli
from ruichat.errors import ConfigError, InputError, MissingMppError
from ruichat.features.encoder import ENCODERS, EncoderCard


@pytest.fixture
def tiff(tmp_path: Path) -> Path:
    return write_pyramid(tmp_path / "tissue.tif", draw_tissue(700, 520, margin=60), mpp=0.5)


@pytest.fixture
def fake_card(monkeypatch: pytest.MonkeyPatch) -> EncoderCard:
    card = MeanColourEncoder().card
    monkeypatch.setattr(ENCODERS, "_cards", {card.name: card})
    return card


def test_info_states_size_and_resolution(tiff: Path) -> None:
    result = CliRunner().invoke(slide_cli.app, ["info", str(tiff), "--json"])
    facts = json.loads(result.stdout)
    assert (facts["width0"], facts["height0"], facts["mpp"]) == (700, 520, 0.5)
    assert facts["mpp_source"] == "file" and facts["width_mm"] == 0.35
    plain = CliRunner().invoke(slide_cli.app, ["info", str(tiff)])
    assert "generic-tiff" in plain.stdout


def test_a_conflict_is_a_warning_on_stderr(tiff: Path) -> None:
    result = CliRunner().invoke(slide_cli.app, ["info", str(tiff), "--mpp", "0.25"])
    assert result.exit_code == 0
    assert "contradicts" in result.stderr and "contradicts" not in result.stdout


def test_check_measures_and_draws(tiff: Path, tmp_path: Path) -> None:
    out = tmp_path / "overlay.png"
    arguments = ["check", str(tiff), "--json", "--overlay", str(out)]
    result = CliRunner().invoke(slide_cli.app, arguments)
    facts = json.loads(result.stdout)
    assert facts["num_tiles"] == 6
    assert facts["tissue_mm2"] == pytest.approx(580 * 400 * 0.25e-6, rel=0.06)
    assert facts["warnings"] == []
    with Image.open(out) as image:
        assert image.width == 700 and image.height > 520  # a legend below
    assert facts["passed"] and {one["rule"] for one in facts["rules"]} >= {"max_pen", "max_blur"}


def test_check_says_which_rule_fails_and_by_how_much(tmp_path: Path) -> None:
    picture = draw_tissue(1100, 800, margin=60)
    picture[200:600, 200:700] = (picture[200:600, 200:700] * (0.2, 0.55, 0.3)).astype("u1")
    path = write_pyramid(tmp_path / "inked.tif", picture, mpp=0.5)
    masks = tmp_path / "masks"
    loose = CliRunner().invoke(slide_cli.app, ["check", str(path), "--masks", str(masks)])
    assert loose.exit_code == 0
    assert "MISSED by" in loose.stdout and "max_pen is 0." in loose.stderr
    with Image.open(masks / "pen.png") as image:
        assert np.asarray(image).sum() * 0.016**2 == pytest.approx(0.2 * 0.25, rel=0.2)
        assert float(image.text["downsample"]) == pytest.approx(32, rel=0.05)
    strict = CliRunner().invoke(slide_cli.app, ["check", str(path), "--strict", "--json"])
    assert isinstance(strict.exception, InputError) and strict.exception.exit_code == 4
    facts = json.loads(strict.stdout)
    missed = {one["rule"]: one["excess"] for one in facts["rules"] if not one["passed"]}
    assert not facts["passed"] and list(missed) == ["max_pen"]
    assert missed["max_pen"] == pytest.approx(facts["faults"]["pen"]["share"] - 0.1, abs=1e-3)


@pytest.mark.parametrize("link", [False, True])
def test_no_output_goes_over_the_slide(
    link: bool, tiff: Path, tmp_path: Path, fake_card: EncoderCard
) -> None:
    before, out = tiff.read_bytes(), tiff
    if link:
        out = tmp_path / "other-name.tif"
        out.symlink_to(tiff)
    check = ["check", str(tiff), "--overlay", str(out)]
    extract = ["extract", str(tiff), "--encoder", fake_card.name, "--out", str(out)]
    for app, arguments in ((slide_cli.app, check), (features_cli.app, extract)):
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, ConfigError)
        assert "is the slide itself" in str(result.exception)
    assert out.read_bytes() == tiff.read_bytes() == before


def test_the_name_of_a_file_cannot_steer_the_terminal(tiff: Path, tmp_path: Path) -> None:
    path = tiff.rename(tmp_path / "\x1b]0;gotcha\x07.tif")
    result = CliRunner().invoke(slide_cli.app, ["info", str(path)])
    assert "gotcha" in result.stdout
    assert "\x1b" not in result.stdout and "\x07" not in result.stdout


def test_a_missing_resolution_is_a_typed_error(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", draw_tissue(300, 300), mpp=None)
    result = CliRunner().invoke(slide_cli.app, ["check", str(path)])
    assert isinstance(result.exception, MissingMppError)
    assert "--mpp 0.25" in str(result.exception)


def test_extract_writes_a_bag_and_reads_no_tile_the_second_time(
    tiff: Path, tmp_path: Path, fake_card: EncoderCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUICHAT_CACHE", str(tmp_path / "cache"))
    arguments = ["extract", str(tiff), "--encoder", fake_card.name, "--json"]
    arguments += ["--out", str(tmp_path / "bag.h5")]
    first = json.loads(CliRunner().invoke(features_cli.app, arguments).stdout)
    second = json.loads(CliRunner().invoke(features_cli.app, arguments).stdout)
    assert (first["num_tiles"], first["tiles_read"]) == (6, 6)
    assert (second["num_tiles"], second["tiles_read"]) == (6, 0)
    assert (tmp_path / "bag.h5").exists()


def test_importing_the_commands_loads_nothing_heavy() -> None:
    code = (
        "import sys, ruichat.cli.slide, ruichat.cli.features; "
        "print(sorted({'torch','openslide','scipy','tifffile','numpy','PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_colours_are_managed_on_request(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    tissue = draw_tissue(700, 520, margin=60)
    Image.fromarray(tissue).save(path, icc_profile=swapping_profile())
    found: list[float] = []
    for more in ([], ["--icc"]):
        arguments = ["check", str(path), "--mpp", "0.5", "--json", *more]
        result = CliRunner().invoke(slide_cli.app, arguments)
        found.append(json.loads(result.stdout)["eosin_od"])
    assert abs(found[0] - found[1]) > 0.01


@pytest.mark.slides
def test_a_label_is_written_only_where_it_is_asked_for(shared_data: Path, tmp_path: Path) -> None:
    slide, out = shared_data / "slides" / "CMU-1-Small-Region.svs", tmp_path / "label.png"
    result = CliRunner().invoke(slide_cli.app, ["label", str(slide), "--out", str(out)])
    assert result.exit_code == 0 and "patient's name" in result.stderr
    with Image.open(out) as image:
        assert min(image.size) > 100
    assert {p.name for p in tmp_path.rglob("*")} == {"label.png"}


def test_a_slide_without_a_label_says_so(tiff: Path, tmp_path: Path) -> None:
    arguments = ["label", str(tiff), "--out", str(tmp_path / "a.png"), "--kind", "macro"]
    result = CliRunner().invoke(slide_cli.app, arguments)
    assert isinstance(result.exception, InputError)
    assert "holds no macro image" in str(result.exception)
    assert not (tmp_path / "a.png").exists()
