"""Phantoms on disk: OpenSlide opens them, the truth beside them is whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image
from typer.testing import CliRunner

from ruichat.cli.phantom import app
from ruichat.errors import ConfigError
from ruichat.slide.phantom import ALL_ARTEFACTS, Phantom, PhantomConfig, draw_phantom, write_phantom


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return draw_phantom(
        PhantomConfig(seed=2, width0=1101, height0=703, region_mm=0.2, artefacts=ALL_ARTEFACTS)
    )


@pytest.fixture(scope="module")
def written(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "drawn.tif"
    write_phantom(phantom, path)
    return path


def test_openslide_reads_resolution_and_pixels(phantom: Phantom, written: Path) -> None:
    with openslide.OpenSlide(written) as slide:
        assert slide.properties[openslide.PROPERTY_NAME_VENDOR] == "generic-tiff"
        assert float(slide.properties[openslide.PROPERTY_NAME_MPP_X]) == pytest.approx(0.5)
        assert slide.dimensions == (1101, 703)
        assert slide.level_downsamples[1] == pytest.approx(4, abs=0.03)
        pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
        small = np.asarray(slide.read_region((0, 0), 1, slide.level_dimensions[1]).convert("RGB"))
    assert np.abs(pixels.astype(int) - phantom.rgb).mean() < 4
    assert small.mean(axis=(0, 1)) == pytest.approx(phantom.rgb.mean(axis=(0, 1)), abs=1.5)


def test_mask_holds_the_class_indices(phantom: Phantom, written: Path) -> None:
    with Image.open(written.with_suffix(".mask.png")) as mask:
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), phantom.classes)
    with Image.open(written.with_suffix(".artefacts.png")) as flags:
        assert np.array_equal(np.asarray(flags), phantom.artefacts)


def test_truth_says_what_was_drawn(phantom: Phantom, written: Path) -> None:
    truth = json.loads(written.with_suffix(".json").read_text(encoding="utf-8"))
    assert truth["areas_mm2"] == pytest.approx(phantom.areas_mm2)
    assert truth["tissue_mm2"] == pytest.approx(sum(phantom.areas_mm2.values()))
    assert sum(truth["nuclei"].values()) == len(phantom.nuclei.xy0)
    assert truth["nuclei"]["mitosis"] == truth["mitoses"] == phantom.mitoses
    assert set(truth["artefact_fractions"]) == set(ALL_ARTEFACTS)
    assert PhantomConfig.model_validate(truth["config"]) == phantom.config


def test_no_artefacts_of_an_earlier_phantom_stay_beside_it(tmp_path: Path) -> None:
    plain = PhantomConfig(width0=128, height0=96, fill=True)
    flags = tmp_path / "a.artefacts.png"
    write_phantom(
        draw_phantom(plain.model_copy(update={"artefacts": ("pen",)})), tmp_path / "a.tif"
    )
    assert flags.is_file()
    write_phantom(draw_phantom(plain), tmp_path / "a.tif")
    assert not flags.exists()


def test_command_draws_and_reports(tmp_path: Path) -> None:
    out = tmp_path / "new" / "slide.tif"
    size = ["--width", "600", "--height", "400"]
    result = CliRunner().invoke(app, ["draw", str(out), "--seed", "3", "--json", *size])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["size0"] == [600, 400]
    assert facts["seed"] == 3
    assert out.is_file()
    assert (out.parent / facts["truth"]).is_file()
    assert (out.parent / facts["mask"]).is_file()


@pytest.mark.parametrize(
    "arguments", [["x.png"], ["x.tif", "--classes", "cartilage"], ["x.tif", "--width", "3"]]
)
def test_command_refuses_what_it_cannot_draw(tmp_path: Path, arguments: list[str]) -> None:
    arguments[0] = str(tmp_path / arguments[0])
    result = CliRunner().invoke(app, ["draw", *arguments])
    assert isinstance(result.exception, ConfigError)
    assert result.exception.hint
    assert not list(tmp_path.iterdir())
