"""A TIFF that lacks its end is refused, whichever kind of TIFF it is; whole ones pass."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import tifffile
from drawn import draw_tissue
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ruichat.errors import InputError
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
