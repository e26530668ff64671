"""What opens, and what every bad input is told."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawn import draw_tissue
from PIL import Image

from ruichat.errors import InputError, MissingMppError
from ruichat.slide.opening import open_slide
from ruichat.slide.readers import READERS
from ruichat.units import Region0

PICTURE = draw_tissue(260, 240)


def test_the_file_states_the_resolution(make_tiff: Callable[..., Path]) -> None:
    with open_slide(make_tiff(mpp=0.25), mpp=0.5) as slide:
        assert slide.mpp.value == pytest.approx(0.25)
        assert slide.vendor == "generic-tiff"
        assert "contradicts" in slide.warnings[0]


def test_without_a_resolution_the_user_must_give_it(make_tiff: Callable[..., Path]) -> None:
    path = make_tiff(mpp=None)
    with pytest.raises(MissingMppError):
        open_slide(path)
    with open_slide(path, mpp=0.5) as slide:
        assert slide.mpp.source == "user"


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.webp", "misnamed.svs"])
def test_plain_images_open_with_the_users_mpp(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    kind = {"svs": "PNG", "webp": "WEBP"}.get(path.suffix[1:], path.suffix[1:].upper())
    Image.fromarray(PICTURE).save(
        path, format=kind, **({"lossless": True} if kind == "WEBP" else {})
    )
    with open_slide(path, mpp=0.5) as slide:
        assert np.array_equal(slide.read(slide.bounds0, mpp=0.5), PICTURE)


def test_screen_resolution_is_not_taken_for_mpp(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg", dpi=(72, 72))
    with pytest.raises(MissingMppError, match="352"):
        open_slide(tmp_path / "a.jpg")


@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "jpeg"])
def test_striped_tiff_opens_and_states_its_mpp(compression: str | None, tmp_path: Path) -> None:
    path = tmp_path / "striped.tif"
    tifffile.imwrite(
        path,
        PICTURE,
        photometric="rgb",
        compression=compression,
        resolution=(20_000, 20_000),
        resolutionunit=3,
    )
    with open_slide(path) as slide:
        assert slide.mpp.value == pytest.approx(0.5)
        got = slide.read(slide.bounds0, mpp=0.5).astype(int)
        assert np.abs(got - PICTURE).mean() < (12 if compression == "jpeg" else 1e-9)


@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_ome_tiff_states_its_mpp(tile: tuple[int, int] | None, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.4, "PhysicalSizeY": 0.4}
    tifffile.imwrite(path, PICTURE, photometric="rgb", metadata=metadata, tile=tile)
    with open_slide(path) as slide:
        assert slide.mpp.value == pytest.approx(0.4)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.dstack([PICTURE, np.zeros(PICTURE.shape[:2], np.uint8)])
    rgba[:100, :, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png", mpp=0.5) as slide:
        got = slide.read(slide.bounds0, mpp=0.5)
    assert np.array_equal(got[:100], PICTURE[:100])
    assert (got[100:] == 255).all()


@pytest.mark.parametrize("alpha", ["unassalpha", "assocalpha"])
def test_transparency_of_a_tiff_is_laid_over_white(alpha: str, tmp_path: Path) -> None:
    rgba = np.dstack([PICTURE, np.zeros(PICTURE.shape[:2], np.uint8)])
    rgba[:100, :, 3] = 255
    if alpha == "assocalpha":
        rgba[100:] = 0
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=[alpha])
    with open_slide(tmp_path / "a.tif", mpp=0.5) as slide:
        got = slide.read(slide.bounds0, mpp=0.5)
    assert np.array_equal(got[:100], PICTURE[:100])
    assert (got[100:] == 255).all()


def test_a_palette_tiff_opens_in_its_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(PICTURE).quantize(32)
    picture.save(tmp_path / "a.tif")
    with open_slide(tmp_path / "a.tif", mpp=0.5) as slide:
        assert np.array_equal(slide.thumbnail(), np.asarray(picture.convert("RGB")))


def test_white_may_be_zero_in_a_grey_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", 255 - PICTURE[..., 0], photometric="miniswhite")
    with open_slide(tmp_path / "a.tif", mpp=0.5) as slide:
        assert np.array_equal(slide.thumbnail()[..., 2], PICTURE[..., 0])


def test_inks_are_not_taken_for_rgb(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).convert("CMYK").save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"SEPARATED.*16-bit RGB"):
        open_slide(tmp_path / "a.tif", mpp=0.5)


def test_grey_images_open_as_rgb(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PICTURE[..., 0])
    Image.fromarray(PICTURE[..., 0]).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        with open_slide(tmp_path / name, mpp=0.5) as slide:
            assert np.array_equal(slide.thumbnail()[..., 2], PICTURE[..., 0])


def _missing(folder: Path) -> Path:
    return folder / "nothing.svs"


def _empty(folder: Path) -> Path:
    (folder / "empty.svs").touch()
    return folder / "empty.svs"


def _text(folder: Path) -> Path:
    (folder / "notes.svs").write_text("not a slide at all")
    return folder / "notes.svs"


def _folder(folder: Path) -> Path:
    return folder


def _truncated_png(folder: Path) -> Path:
    Image.fromarray(PICTURE).save(folder / "whole.png")
    data = (folder / "whole.png").read_bytes()
    (folder / "cut.png").write_bytes(data[: len(data) // 2])
    return folder / "cut.png"


def _truncated_jpeg(folder: Path) -> Path:
    Image.fromarray(PICTURE).save(folder / "whole.jpg")
    data = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    return folder / "cut.jpg"


def _truncated_tiff(folder: Path) -> Path:
    tifffile.imwrite(folder / "whole.tif", PICTURE, photometric="rgb")
    data = (folder / "whole.tif").read_bytes()
    (folder / "cut.tif").write_bytes(data[: len(data) // 2])
    return folder / "cut.tif"


def _sixteen_bit(folder: Path) -> Path:
    tifffile.imwrite(folder / "deep.tif", PICTURE[..., 0].astype(np.uint16) * 257)
    return folder / "deep.tif"


def _deep_png(folder: Path) -> Path:
    Image.fromarray(PICTURE[..., 0].astype(np.uint16)).save(folder / "deep.png")
    return folder / "deep.png"


def _dicom_that_is_none(folder: Path) -> Path:
    (folder / "series").mkdir()
    (folder / "series" / "1.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 200)
    return folder / "series"


def _null_byte(folder: Path) -> Path:
    return Path("a\0b.svs")


def _two_folders(folder: Path) -> Path:
    for name in ("one", "two"):
        (folder / "series" / name).mkdir(parents=True)
        (folder / "series" / name / "1.dcm").touch()
    return folder / "series"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "a.svs")
    return folder / "a.svs"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_missing, "no file"),
        (_empty, "empty"),
        (_text, "not a slide"),
        (_folder, "folder, not a slide"),
        (_truncated_png, "damaged"),
        (_truncated_jpeg, "damaged"),
        (_truncated_tiff, "truncated|damaged"),
        (_sixteen_bit, "8-bit"),
        (_deep_png, "8-bit"),
        (_dicom_that_is_none, "none of the 1 DICOM"),
        (_null_byte, "no file"),
        (_two_folders, "2 folders of DICOM files"),
        (_pipe, "not a file"),
    ],
)
def test_bad_input_is_named_with_a_remedy(
    make: Callable[[Path], Path], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        open_slide(make(tmp_path), mpp=0.5)
    assert caught.value.hint
    assert caught.value.exit_code == 4
    # Servers tell what is wrong with a file that is there, and not where it lies.
    if make is not _missing:
        assert str(tmp_path) not in f"{caught.value.message} {caught.value.hint}"


def test_a_folder_of_slides_names_them(tmp_path: Path) -> None:
    (tmp_path / "one.svs").write_bytes(b"x")
    with pytest.raises(InputError, match=r"one\.svs"):
        open_slide(tmp_path)


def test_a_truncated_pyramid_fails_with_an_input_error_when_read(
    make_tiff: Callable[..., Path],
) -> None:
    path = make_tiff(1024, 1024)
    data = bytearray(path.read_bytes())
    whole = data.index(b"\x78")  # damage inside the first compressed tiles, not the directory
    data[whole + 200 : whole + 60_000] = b"\xaa" * (60_000 - 200)
    path.write_bytes(data)
    with open_slide(path) as slide, pytest.raises(InputError, match="damaged"):
        slide.read(Region0(0, 0, 1024, 1024), mpp=0.5)


def _png_that_claims(path: Path, width: int, height: int) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
    return path


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = _png_that_claims(tmp_path / "bomb.png", 60_000, 60_000)
    with pytest.raises(InputError, match=r"is 60000 x 60000 px; .* million pixels") as caught:
        open_slide(path, mpp=0.5)
    assert "pyramidal" in caught.value.hint


def test_only_our_own_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png", mpp=0.5) as slide:
        assert (slide.width0, slide.height0) == (260, 240)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_an_index_file_may_not_point_outside_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "a.vms"
    path.write_text("[Virtual Microscope Specimen]\nImageFile=../../secret.jpg\n")
    with pytest.raises(InputError, match="outside its own folder"):
        open_slide(path, mpp=0.5)


def test_readers_are_cards() -> None:
    assert list(READERS) == ["dicom", "openslide", "plain", "tiff"]
    assert all(READERS.get(name).summary for name in READERS)


def test_tiles_too_large_to_decode_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PICTURE, photometric="rgb", tile=(64, 64), byteorder="<")
    data = bytearray(path.read_bytes())
    entry = data.index(struct.pack("<HHI", 322, 4, 1))
    data[entry : entry + 12] = struct.pack("<HHII", 322, 4, 1, 1 << 30)
    path.write_bytes(data)
    with pytest.raises(InputError, match="tiles claim to be 1073741824 x"):
        open_slide(path, mpp=0.5)
