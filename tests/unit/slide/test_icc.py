"""Colours go through the slide's own ICC profile where that is asked for, and only there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from dicoms import Written, write_series
from drawn import draw_tissue, swapping_profile
from PIL import Image, ImageCms
from pydicom.dataset import Dataset

from ruichat.errors import ConfigError, InputError
from ruichat.slide.opening import open_slide

PICTURE = draw_tissue(300, 260)
SWAPPED = PICTURE[..., ::-1]
GREY = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def write_png(folder: Path, profile: bytes | None) -> Path:
    Image.fromarray(PICTURE).save(folder / "a.png", icc_profile=profile)
    return folder / "a.png"


def write_tiff(folder: Path, profile: bytes | None) -> Path:
    with tifffile.TiffWriter(folder / "a.tif") as tiff:
        for step in (1, 2):
            tiff.write(
                np.ascontiguousarray(PICTURE[::step, ::step]),
                tile=(64, 64),
                photometric="rgb",
                compression="zlib",
                subfiletype=int(step > 1),
                iccprofile=profile,
            )
    return folder / "a.tif"


def write_ome(folder: Path, profile: bytes | None) -> Path:
    path = folder / "a.ome.tif"
    tifffile.imwrite(path, PICTURE, ome=True, photometric="rgb", tile=(64, 64), iccprofile=profile)
    return path


def write_dicom(folder: Path, profile: bytes | None, *, planar: bool = False) -> Path:
    """`planar` is what OpenSlide refuses."""
    path = write_series(folder / "a", PICTURE, Written())
    data = pydicom.dcmread(path)
    if planar:
        frames = np.frombuffer(data.PixelData, np.uint8).reshape(-1, 64, 64, 3)
        data.PixelData, data.PlanarConfiguration = np.moveaxis(frames, 3, 1).tobytes(), 1
    light = Dataset()
    light.OpticalPathIdentifier = "1"
    if profile is not None:
        light.ICCProfile = profile + b"\0" * (len(profile) % 2)
    data.OpticalPathSequence = [light]
    data.save_as(path)
    return path


WRITERS: dict[str, Callable[[Path, bytes | None], Path]] = {
    "plain": write_png,
    "openslide": write_tiff,
    "tiff": write_ome,
    "openslide, DICOM": write_dicom,
    "dicom": lambda folder, profile: write_dicom(folder, profile, planar=True),
}


@pytest.mark.parametrize("name", WRITERS)
def test_colours_are_converted_only_on_request(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path, swapping_profile())
    with open_slide(path, mpp=0.5) as plain, open_slide(path, mpp=0.5, icc=True) as managed:
        assert plain.opened_by == managed.opened_by == name.partition(",")[0]
        assert (plain.icc, managed.icc, managed.warnings[:1]) == (False, True, plain.warnings[:1])
        assert np.array_equal(plain.read(plain.bounds0, mpp=0.5), PICTURE)
        got = managed.read(managed.bounds0, mpp=0.5).astype(int)
        tiles = managed.read_tiles(np.array([[10, 20], [74, 20]]), span0=64, tile_px=64)
        small = managed.thumbnail(100).astype(int)
    assert np.abs(got - SWAPPED).max() <= 2
    assert np.abs(tiles[1].astype(int) - SWAPPED[20:84, 74:138]).max() <= 2
    assert small[..., 0].mean() < small[..., 2].mean() + 40


@pytest.mark.parametrize("name", WRITERS)
def test_a_slide_without_a_profile_is_left_as_it_is_and_told(name: str, tmp_path: Path) -> None:
    with open_slide(WRITERS[name](tmp_path, None), mpp=0.5, icc=True) as slide:
        assert any("no ICC profile" in warning for warning in slide.warnings)
        assert np.array_equal(slide.read(slide.bounds0, mpp=0.5), PICTURE)


@pytest.mark.parametrize("profile", [b"no profile at all" * 20, swapping_profile()[:200], GREY])
@pytest.mark.parametrize("name", WRITERS)
def test_a_broken_profile_is_an_input_error(name: str, profile: bytes, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path, profile)
    with pytest.raises(InputError, match=r"ICC profile of .* can't be used") as caught:
        open_slide(path, mpp=0.5, icc=True)
    assert "without --icc" in caught.value.hint
    with open_slide(path, mpp=0.5) as slide:
        assert np.array_equal(slide.read(slide.bounds0, mpp=0.5), PICTURE)


def test_tiles_are_converted_where_they_are_reduced(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        PICTURE,
        photometric="rgb",
        compression="jpeg",
        compressionargs={"outcolorspace": "ycbcr", "level": 95},
        tile=(64, 64),
        iccprofile=swapping_profile(),
    )
    with open_slide(path, mpp=0.5) as plain, open_slide(path, mpp=0.5, icc=True) as managed:
        want, got = (slide.read(slide.bounds0, mpp=1.0).astype(int) for slide in (plain, managed))
    assert np.abs(got - want[..., ::-1]).mean() < 2


def test_bags_of_other_colours_are_other_bags(tmp_path: Path) -> None:
    from fakes import MeanColourEncoder

    from ruichat.features.extract import ExtractConfig, cache_key, extract

    encoder = MeanColourEncoder(tile_px=64)
    path = write_png(tmp_path, swapping_profile())
    plain, managed = (ExtractConfig.for_encoder(encoder.card, icc=icc) for icc in (False, True))
    with open_slide(path, mpp=0.5) as one, open_slide(path, mpp=0.5, icc=True) as two:
        assert cache_key(one, encoder, plain) != cache_key(two, encoder, managed)
        with pytest.raises(ConfigError, match="opened with icc=True"):
            extract(two, encoder, plain, cache=None)
