"""Every slide at hand becomes a grid, or a typed error that names the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ruichat.cli import slide as slide_cli
from ruichat.errors import InputError, MissingMppError
from ruichat.slide.grid import GridConfig, lay_grid
from ruichat.slide.opening import open_slide
from ruichat.slide.quality import measure_tiles
from ruichat.slide.slide_quality import QualityConfig, SlideQuality, inspect_slide
from ruichat.slide.tissue import TissueConfig, find_tissue

pytestmark = pytest.mark.slides

TCGA = "tcga-cr-7395-01a-01-ts1.svs"
DICOM = "jcupitt-dicom/cmu-1-small-region"


@pytest.fixture(scope="module")
def tcga_quality(shared_data: Path) -> SlideQuality:
    with open_slide(shared_data / "slides" / TCGA, mpp=1.0) as slide:
        return inspect_slide(slide, find_tissue(slide, TissueConfig()), QualityConfig())


@pytest.mark.parametrize(
    ("name", "mpp", "area_mm2", "num_tiles"),
    [
        ("CMU-1-Small-Region.svs", None, 0.60, 53),
        ("derived_bcss_1008_breast.tif", None, 0.57, 48),
        ("derived_bcss_1015_breast.tif", None, 0.52, 45),
        (TCGA, 0.25, 0.65, 57),
    ],
)
def test_he_slides_get_a_grid_without_a_stain_warning(
    shared_data: Path, name: str, mpp: float | None, area_mm2: float, num_tiles: int
) -> None:
    with open_slide(shared_data / "slides" / name, mpp=mpp) as slide:
        tissue = find_tissue(slide, TissueConfig())
        grid = lay_grid(slide, tissue, GridConfig())
        some = slide.read_tiles(grid.xy0[::8], span0=grid.span0, tile_px=grid.tile_px)
    assert tissue.stain_warning is None and tissue.he_share > 0.95
    assert tissue.area_mm2 == pytest.approx(area_mm2, rel=0.1)
    assert abs(len(grid) - num_tiles) <= 4
    quality = measure_tiles(some)
    assert (quality.focus > 0.3).all()
    assert (quality.hematoxylin + quality.eosin > 0.05).all()


@pytest.mark.parametrize(
    ("x0", "y0", "side0"),
    [(0, 1600, 500), (3100, 0, 420), (2660, 3260, 500), (4200, 1950, 300)],
)
def test_rims_that_lie_double_are_found(
    shared_data: Path, x0: int, y0: int, side0: int, tcga_quality: SlideQuality
) -> None:
    """The four folds that can be seen; nuclei of 8 um tell 1 um/px, which the file doesn't."""
    mask, down = tcga_quality.finding("fold").mask, tcga_quality.downsample
    rows, columns = (
        slice(int(start / down), int((start + side0) / down) + 1) for start in (y0, x0)
    )
    assert mask[rows, columns].sum() >= 10


def test_of_a_slide_with_four_folds_little_else_is_taken_for_one(
    tcga_quality: SlideQuality,
) -> None:
    assert 0.005 < tcga_quality.finding("fold").share < 0.02


@pytest.mark.parametrize("name", ["google_camelyon_j2k.dcm", "google_camelyon_jpeg.dcm"])
def test_overviews_are_refused_as_such(shared_data: Path, name: str) -> None:
    with pytest.raises(MissingMppError, match=r"28\.97.*overview") as caught:
        open_slide(shared_data / "slides" / name)
    assert "full-resolution" in caught.value.hint


@pytest.mark.parametrize("name", [TCGA, "pathml_small_HE_levels.tiff"])
def test_without_a_resolution_the_remedy_is_named(shared_data: Path, name: str) -> None:
    with pytest.raises(MissingMppError) as caught:
        open_slide(shared_data / "slides" / name)
    assert "--mpp 0.25" in caught.value.hint


def test_a_region_smaller_than_a_tile_is_refused(shared_data: Path) -> None:
    path = shared_data / "slides" / "pathml_small_HE_levels.tiff"
    with open_slide(path, mpp=0.25) as slide:
        tissue = find_tissue(slide, TissueConfig())
        with pytest.raises(InputError, match="75 x 62 um"):
            lay_grid(slide, tissue, GridConfig())


@pytest.mark.parametrize("name", ["jcupitt-dicom", DICOM, f"{DICOM}/level-3-frames-0-1.dcm"])
def test_a_dicom_series_opens_by_folder_or_file_and_false_colours_are_told(
    shared_data: Path, name: str
) -> None:
    folder = shared_data / "slides"
    with open_slide(folder / name) as slide, open_slide(folder / DICOM) as whole:
        assert (slide.width0, slide.height0, slide.vendor) == (2220, 2967, "dicom")
        assert slide.digest == whole.digest
        tissue = find_tissue(slide, TissueConfig())
        grid = lay_grid(slide, tissue, GridConfig())
    assert tissue.stain_warning is not None and "YCbCr" in tissue.stain_warning
    assert 40 <= len(grid) <= 70


def test_the_thumbnail_is_of_tissue_not_of_the_label(shared_data: Path) -> None:
    with open_slide(shared_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        thumbnail = slide.thumbnail(300)
        assert thumbnail.shape == (300, 224, 3)
    assert (thumbnail[60:240, 80:150].astype(int)[..., 1] < 180).mean() > 0.5


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "derived_bcss_1015_breast.tif", TCGA])
def test_a_truncated_slide_is_an_input_error_at_the_latest_when_read(
    shared_data: Path, tmp_path: Path, name: str, share: float
) -> None:
    data = (shared_data / "slides" / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError) as caught, open_slide(cut, mpp=0.25) as slide:
        grid = lay_grid(slide, find_tissue(slide, TissueConfig()), GridConfig())
        slide.read_tiles(grid.xy0, span0=grid.span0, tile_px=grid.tile_px)
    assert caught.value.hint


def test_info_tells_false_colours_of_a_dicom_slide(shared_data: Path) -> None:
    result = CliRunner().invoke(slide_cli.app, ["info", str(shared_data / "slides" / DICOM)])
    assert result.exit_code == 0 and "YCbCr" in result.stderr
