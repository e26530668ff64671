"""A TIFF that lacks its end is refused, whichever kind of TIFF it is; whole ones pass."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from drawn import draw_tissue
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ruichat.errors import InputError
from ruichat.slide import tiff
from ruichat.slide.tiff_gate import check_tiff

PICTURE = draw_tissue(96, 80)


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_whole_files_pass_and_cut_ones_do_not(
    bigtiff: bool, byteorder: str, tile: tuple[int, int] | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as tiff:  # type: ignore[arg-type]
        for step in (1, 2):
            tiff.write(PICTURE[::step, ::step], photometric="rgb", tile=tile)
    check_tiff(path)
    data = path.read_bytes()
    for share in (0.2, 0.5, 0.9, 0.99):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(InputError, match="truncated"):
            check_tiff(path)


def test_an_offset_that_overflows_lies_past_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PICTURE, photometric="rgb", bigtiff=True, tile=(16, 16), byteorder="<")
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages.first.tags[324].valueoffset
    data = bytearray(path.read_bytes())
    data[place : place + 8] = struct.pack("<Q", 2**64 - 8)
    path.write_bytes(data)
    with pytest.raises(InputError, match="truncated or damaged"):
        check_tiff(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), head=st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0"]))
def test_any_bytes_pass_or_are_refused(data: bytes, head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(head + data)
    try:
        check_tiff(path)
    except InputError as error:
        assert error.hint


def test_a_chain_of_directories_that_bites_its_tail_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    sides = b"".join(struct.pack("<HHII", tag, 4, 1, 16) for tag in (256, 257))
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, 2) + sides + struct.pack("<I", 8))
    with pytest.raises(InputError, match="loop"):
        check_tiff(path)


def test_other_files_are_left_to_their_readers(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG")
    check_tiff(path)


def write_ndpi(path: Path, at: int, *, strip_at: int, tag: int = 65420) -> Path:
    """A Hamamatsu file, mostly a hole: one strip, two directories from a position on."""
    long, short = 4, 3
    entries = [
        *((256, long, 1, 640), (257, long, 1, 480), (259, short, 1, 7), (262, short, 1, 6)),
        *((273, long, 1, strip_at), (277, short, 1, 3), (279, long, 1, 5_000), (tag, long, 1, 1)),
    ]
    second = at + 4096

    def directory(following: int) -> bytes:
        body = b"".join(struct.pack("<HHII", *e[:3], e[3] & 0xFFFFFFFF) for e in entries)
        high = b"".join(struct.pack("<I", e[3] >> 32) for e in entries)
        return struct.pack("<H", len(entries)) + body + struct.pack("<Q", following) + high

    with path.open("wb") as file:
        file.write(b"II*\0" + struct.pack("<Q", at))
        file.seek(at)
        file.write(directory(second))
        file.seek(second)
        file.write(directory(0))
    return path


BEYOND = 5 << 30


@pytest.mark.parametrize("at", [100_000, BEYOND])
def test_long_offsets_of_ndpi_files_are_followed(at: int, tmp_path: Path) -> None:
    path = write_ndpi(tmp_path / "a.ndpi", at, strip_at=at - 10_000)
    check_tiff(path)
    with path.open("rb") as file:
        found = list(tiff.read_directories(file))
    assert [d.position for d in found] == [at, at + 4096]
    assert {d.size for d in found} == {(640, 480)}
    assert {d.number(tiff.STRIP_OFFSETS, 0) for d in found} == {at - 10_000}


@pytest.mark.parametrize("at", [100_000, BEYOND])
def test_an_ndpi_file_that_lacks_its_pixels_is_refused(at: int, tmp_path: Path) -> None:
    path = write_ndpi(tmp_path / "a.ndpi", at, strip_at=at + (1 << 33))
    with pytest.raises(InputError, match="past its end"):
        check_tiff(path)


def test_directories_beyond_4_gb_are_lost_in_other_classic_files(tmp_path: Path) -> None:
    path = write_ndpi(tmp_path / "a.tif", BEYOND, strip_at=1000, tag=65_000)
    with pytest.raises(InputError):
        check_tiff(path)


@pytest.mark.parametrize(
    ("options", "tag"),
    [
        ({}, 257),
        ({"compression": "zlib"}, 257),
        ({"compression": "lzw", "rowsperstrip": 80}, 257),
        ({"compression": "jpeg"}, 257),
    ],
)
def test_pixels_that_cannot_come_out_of_the_bytes_are_refused(
    options: dict[str, Any], tag: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PICTURE, photometric="rgb", metadata=None, byteorder="<", **options)
    check_tiff(path)
    with tifffile.TiffFile(path) as file:
        entry = file.pages[0].tags[tag]  # type: ignore[union-attr]
    data = bytearray(path.read_bytes())
    data[entry.offset + 2 : entry.offset + 12] = struct.pack("<HII", 4, 1, 600_000)
    path.write_bytes(data)
    with pytest.raises(InputError, match="can't come out of"):
        check_tiff(path)


@pytest.mark.parametrize("coding", ["zlib", "lzw", "packbits", "jpeg"])
def test_a_white_slide_passes(coding: str, tmp_path: Path) -> None:
    white = np.full((2048, 2048, 3), 255, np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, white, photometric="rgb", compression=coding, tile=(256, 256))
    check_tiff(path)
