"""DICOM slides: the pixels that were written, however frames are coded and organised."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicoms import Written, edit, write_level, write_series
from drawn import draw_tissue
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless, JPEGLSLossless, RLELossless

from ruichat.errors import InputError, UnsuitableSlideError
from ruichat.slide.dicom_reader import open_reader
from ruichat.slide.geometry import Box
from ruichat.slide.opening import open_slide
from ruichat.slide.openslide_reader import open_reader as open_with_openslide

PICTURE = draw_tissue(300, 200, seed=2)
SHUFFLED = [int(i) for i in np.random.default_rng(0).permutation(20)]
BY_COLUMN = [row * 5 + column for column in range(5) for row in range(4)]
BOXES = [Box(0, 0, 300, 200), Box(64, 64, 64, 64), Box(50, 30, 100, 90), Box(295, 195, 5, 5)]


def pixels(reader: Any, level: int, box: Box) -> NDArray[np.uint8]:
    out = np.zeros((box.height, box.width, 3), np.uint8)
    reader.read_many(level, [box], [out])
    return out


def off(reader: Any, box: Box, level: int = 0) -> float:
    """Mean difference from the picture that was written."""
    want = PICTURE[:: 2**level, :: 2**level][box.y : box.y + box.height, box.x : box.x + box.width]
    return float(np.abs(pixels(reader, level, box).astype(int) - want).mean())


@pytest.mark.parametrize(
    ("how", "mean"),
    [
        (Written(), 0),
        (Written("jpeg"), 6),
        (Written("jpeg-rgb"), 3),
        (Written("j2k"), 0),
        (Written("j2k-lossy"), 1),
        (Written("jpeg", extended=True), 6),
        (Written("jpeg", basic=False), 6),
        (Written(sparse=True), 0),
        (Written(sparse=True, order=SHUFFLED), 0),
        (Written(sparse=True, order=BY_COLUMN), 0),
        (Written("jpeg", sparse=True, order=SHUFFLED), 6),
        (Written("j2k", sparse=True, order=SHUFFLED, extended=True), 0),
        (Written(sparse=True, order=SHUFFLED, more={"DimensionOrganizationType": None}), 0),
    ],
    ids=str,
)
def test_frames_are_found_and_decoded(how: Written, mean: float, tmp_path: Path) -> None:
    path = write_series(tmp_path / "a", PICTURE, how)
    ours, theirs = open_reader(path), open_with_openslide(path)
    assert ours is not None and theirs is not None
    assert ours.level_sizes == theirs.level_sizes == ((300, 200),)
    assert ours.file_mpp == pytest.approx((0.5, 0.5)) and ours.objective == 20
    for box in BOXES:
        assert off(ours, box) <= mean
        got, want = pixels(ours, 0, box).astype(int), pixels(theirs, 0, box)
        assert (np.abs(got - want) <= 2).mean() >= 0.999
    ours.close()
    theirs.close()


def test_missing_frames_are_white(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a", PICTURE, Written(sparse=True, order=[0, 7, 19]))
    reader = open_reader(path)
    assert reader is not None
    assert off(reader, Box(0, 0, 64, 64)) == off(reader, Box(128, 64, 64, 64)) == 0
    assert off(reader, Box(256, 192, 44, 8)) == 0
    assert (pixels(reader, 0, Box(64, 0, 64, 64)) == 255).all()
    straddling = pixels(reader, 0, Box(32, 0, 64, 64))
    assert np.array_equal(straddling[:, :32], PICTURE[:64, 32:64])
    assert (straddling[:, 32:] == 255).all()


def test_levels_are_those_of_the_series(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    levels = [Written("jpeg"), Written("jpeg", mpp=1.0), Written("jpeg", mpp=2.0)]
    path = write_series(folder, PICTURE, *levels, Written(kind="LABEL"), Written(kind="OVERVIEW"))
    write_series(tmp_path / "b", PICTURE, Written())
    shutil.copy(tmp_path / "b" / "level0.dcm", folder / "other.dcm")
    shutil.copy(path, folder / "again.dcm")
    (folder / "notes.txt").write_text("no slide")
    for name in ("level0.dcm", "level2.dcm"):
        reader = open_reader(folder / name)
        assert reader is not None
        assert reader.level_sizes == ((300, 200), (150, 100), (75, 50))
        assert off(reader, Box(10, 10, 100, 80), level=1) < 6
        assert len(reader.files) == 3


def test_a_folder_whose_files_are_named_in_capitals_is_one_slide(tmp_path: Path) -> None:
    write_series(tmp_path / "a", PICTURE, Written(), Written(mpp=1.0))
    for file in (tmp_path / "a").iterdir():
        file.rename(file.with_suffix(".DCM"))
    for place in (tmp_path / "a", tmp_path):
        with open_slide(place) as slide:
            assert (slide.width0, slide.height0) == (300, 200)


def _planar(path: Path) -> None:
    data = pydicom.dcmread(path)
    frames = np.frombuffer(data.PixelData, np.uint8).reshape(-1, 64, 64, 3)
    data.PixelData = np.moveaxis(frames, 3, 1).tobytes()
    data.PlanarConfiguration = 1
    data.save_as(path)


def _luminance(path: Path) -> None:
    from PIL import Image

    data = pydicom.dcmread(path)
    frames = np.frombuffer(data.PixelData, np.uint8).reshape(-1, 64, 3)
    data.PixelData = np.asarray(Image.fromarray(frames).convert("YCbCr")).tobytes()
    data.PhotometricInterpretation = "YBR_FULL"
    data.save_as(path)


def _off_the_grid(path: Path) -> None:
    """The image moves three pixels to the left, and with it all frames."""
    data = pydicom.dcmread(path)
    for frame in data.PerFrameFunctionalGroupsSequence:
        place = frame.PlanePositionSlideSequence[0]
        place.ColumnPositionInTotalImagePixelMatrix += 3
        place.RowPositionInTotalImagePixelMatrix += 5
    data.TotalPixelMatrixColumns += 3
    data.TotalPixelMatrixRows += 5
    data.save_as(path)


def _implicit(path: Path) -> None:
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    pydicom.dcmwrite(path, data, implicit_vr=True, little_endian=True, enforce_file_format=True)


def _run_length(path: Path) -> None:
    data = pydicom.dcmread(path)
    data.compress(RLELossless)
    data.save_as(path)


def _jpeg_ls(path: Path) -> None:
    data = pydicom.dcmread(path)
    frames = np.frombuffer(data.PixelData, np.uint8).reshape(-1, 64, 64, 3)
    data.PixelData = encapsulate([imagecodecs.jpegls_encode(f) for f in frames])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = JPEGLSLossless
    data.save_as(path)


def _high_throughput(path: Path) -> None:
    data = pydicom.dcmread(path)
    frames = np.frombuffer(data.PixelData, np.uint8).reshape(-1, 64, 64, 3)
    data.PixelData = encapsulate([imagecodecs.htj2k_encode(f) for f in frames])
    data["PixelData"].is_undefined_length = True
    data.PhotometricInterpretation = "YBR_RCT"
    data.file_meta.TransferSyntaxUID = HTJ2KLossless
    data.save_as(path)


@pytest.mark.parametrize(
    ("change", "sparse", "mean", "shift"),
    [
        (_planar, False, 0, (0, 0)),
        (_luminance, False, 1, (0, 0)),
        (_off_the_grid, True, 0, (3, 5)),
        (_implicit, False, 0, (0, 0)),
        (_implicit, True, 0, (0, 0)),
        (_run_length, False, 0, (0, 0)),
        (_jpeg_ls, False, 0, (0, 0)),
        (_high_throughput, False, 0, (0, 0)),
    ],
)
def test_what_openslide_refuses_opens(
    change: Any, sparse: bool, mean: float, shift: tuple[int, int], tmp_path: Path
) -> None:
    how = Written(sparse=sparse, order=SHUFFLED if sparse else None)
    path = write_series(tmp_path / "a", PICTURE, how)
    change(path)
    with pytest.raises(InputError):
        open_with_openslide(path)
    with open_slide(path) as slide:
        assert (slide.vendor, slide.opened_by, slide.mpp.value) == ("dicom", "dicom", 0.5)
        got = slide.read(slide.bounds0, mpp=0.5)
    x, y = shift
    assert np.abs(got[y:, x:].astype(int) - PICTURE).mean() <= mean
    assert (got[:y] == 255).all() and (got[:, :x] == 255).all()


def test_a_level_may_lie_in_several_files(tmp_path: Path) -> None:
    sparse, full = tmp_path / "sparse", tmp_path / "full"
    for folder in (sparse, full):
        folder.mkdir()
        for i, order in enumerate((SHUFFLED[:8], SHUFFLED[8:]) if folder == sparse else ()):
            write_level(folder / f"{i}.dcm", PICTURE, "1.2.5", Written(sparse=True, order=order))
    for name, first in (("b", 0), ("a", 12)):
        order = range(first, 12 if first == 0 else 20)
        more = {"ConcatenationFrameOffsetNumber": first, "InConcatenationNumber": 1 + first // 12}
        write_level(full / f"{name}.dcm", PICTURE, "1.2.6", Written(order=order, more=more))
    with open_slide(sparse) as slide:
        assert slide.opened_by == "dicom"
        assert np.array_equal(slide.read(slide.bounds0, mpp=0.5), PICTURE)
    reader = open_reader(full / "a.dcm")
    assert reader is not None and off(reader, Box(0, 0, 300, 200)) == 0


def test_of_focal_planes_the_middle_one_is_read(tmp_path: Path) -> None:
    order = [*reversed(range(20)), *range(20), *reversed(range(20))]
    path = write_series(
        tmp_path / "a", PICTURE, Written(order=order, more={"TotalPixelMatrixFocalPlanes": 3})
    )
    with open_slide(path) as slide:
        assert "3 focal planes the middle" in slide.warnings[0]
        assert np.array_equal(slide.read(slide.bounds0, mpp=0.5), PICTURE)


def test_planes_in_depth_may_be_stated_frame_by_frame(tmp_path: Path) -> None:
    order = [*range(20), *reversed(range(20)), *range(20)]
    path = write_series(tmp_path / "a", PICTURE, Written(sparse=True, order=order))
    data = pydicom.dcmread(path)
    pixels = np.frombuffer(data.PixelData, np.uint8).reshape(60, 64, 64, 3).copy()
    pixels[:20], pixels[40:] = 0, 99
    data.PixelData = pixels.tobytes()
    for i, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        depth = (-2.5, 0, "1.25")[i // 20]
        frame.PlanePositionSlideSequence[0].ZOffsetInSlideCoordinateSystem = depth
    data.save_as(path)
    reader = open_reader(path)
    assert reader is not None and "3 focal planes" in reader.warnings[0]
    assert off(reader, Box(0, 0, 300, 200)) == 0


def test_without_spacing_the_size_of_the_imaged_volume_counts(tmp_path: Path) -> None:
    path = write_series(
        tmp_path / "a",
        PICTURE,
        Written(more={"SharedFunctionalGroupsSequence": None, "ImagedVolumeWidth": 0.15}),
    )
    edit(path, ImagedVolumeHeight=0.1)
    reader = open_reader(path)
    assert reader is not None and reader.file_mpp == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}, "1 channel;"),
        ({"BitsAllocated": 16}, "16-bit pixels with 3 channels"),
        ({"NumberOfOpticalPaths": 3}, "3 optical paths"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "another kind"),
    ],
)
def test_what_is_no_brightfield_slide_is_refused_as_such(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = write_series(tmp_path / "a", PICTURE, Written())
    edit(path, **changes)
    with pytest.raises(UnsuitableSlideError, match=words):
        open_reader(path)


@pytest.mark.parametrize(
    ("how", "changes", "words"),
    [
        (Written(), {"NumberOfFrames": 21}, "too short|21 frames"),
        (Written("jpeg"), {"NumberOfFrames": 19}, "19 frames"),
        (Written("jpeg"), {"NumberOfFrames": 3_999_999}, "too short"),
        (Written("jpeg"), {"NumberOfFrames": 2**31 - 1}, "claims to have 2147483647 frames"),
        (Written(), {"TotalPixelMatrixColumns": 2**31}, "claims to be 2147483648 x 200 px"),
        (Written(), {"Rows": 65_535, "Columns": 65_535}, "frames of 65535 x 65535"),
        (Written(), {"Rows": 0}, "frames of 64 x 0"),
        (Written(sparse=True), {"PerFrameFunctionalGroupsSequence": []}, "positions for 0"),
        (Written(), {"ImageType": ["ORIGINAL", "PRIMARY", "LABEL"]}, "without an image"),
        (Written(), {"PhotometricInterpretation": "CMYK"}, "colours of the kind CMYK"),
    ],
)
def test_damaged_headers_are_input_errors(
    how: Written, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = write_series(tmp_path / "a", PICTURE, how)
    edit(path, **changes)
    with pytest.raises(InputError, match=words) as caught:
        open_reader(path)
    assert caught.value.hint


def test_other_files_are_none_of_its_business(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"0123" * 100)
    assert open_reader(tmp_path / "a.dcm") is None
