"""Nothing that a file says about a patient leaves the process that decodes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tifffile
from dicoms import Written, write_series
from drawn import draw_tissue
from hypothesis import given
from hypothesis import strategies as st

from ruichat.errors import InputError
from ruichat.slide.opening import open_slide
from ruichat.slide.sandbox import SandboxedReader
from ruichat.slide.saying import MAX_CHARS, say

NAME = "Jane Doe"
PICTURE = draw_tissue(300, 260)


@pytest.mark.parametrize(
    "text",
    [
        f'line "{NAME}" is no pair',
        f"line '{NAME}' is no pair",
        f"Key file contains line \u201c{NAME}\u201d which is not a pair",
        f"`{NAME}`",
    ],
)
def test_what_is_quoted_is_not_said(text: str) -> None:
    assert NAME not in say(ValueError(text))


@given(st.text())
def test_any_message_is_short_and_printable(text: str) -> None:
    said = say(KeyError(text))
    assert said.startswith("KeyError") and said.isprintable() and len(said) <= MAX_CHARS + 10


def _svs(folder: Path) -> Path:
    about = (
        f"Aperio Image Library v11\r\n300x260|MPP = 0.5|AppMag = 20|Patient = {NAME}|User = {NAME}"
    )
    tifffile.imwrite(
        folder / "a.svs",
        PICTURE,
        photometric="rgb",
        tile=(64, 64),
        description=about,
        metadata=None,
    )
    return folder / "a.svs"


def _ome(folder: Path) -> Path:
    metadata = {"axes": "YXS", "Name": NAME, "Description": NAME, "PhysicalSizeX": 0.5}
    tifffile.imwrite(folder / "a.ome.tif", PICTURE, ome=True, photometric="rgb", metadata=metadata)
    return folder / "a.ome.tif"


def _dicom(folder: Path) -> Path:
    more = {"PatientName": NAME.replace(" ", "^"), "ContainerIdentifier": NAME}
    return write_series(folder / "s", PICTURE, Written(more=more))


def _dicom_read_here(folder: Path) -> Path:
    return write_series(
        folder / "s", PICTURE, Written(more={"PatientName": NAME}), Written(kind="LABEL")
    )


@pytest.mark.parametrize("write", [_svs, _ome, _dicom, _dicom_read_here])
def test_no_name_leaves_the_child(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path)
    reader = SandboxedReader(path)
    assert reader._child is not None
    reply = reader._child.ask({"open": str(path), "icc": False}, 8)
    reader.close()
    assert set(reply) == {
        *("opened_by", "vendor", "level_sizes", "file_mpp", "objective", "warnings"),
        *("reductions", "stored_tiles", "files"),
    }
    assert "Doe" not in json.dumps(reply)


def test_no_name_leaves_the_child_in_an_error(tmp_path: Path) -> None:
    (tmp_path / "slide").mkdir()
    (tmp_path / "slide" / "Slidedat.ini").write_text(f"[GENERAL]\n{NAME}\nSLIDE_ID={NAME}\n")
    (tmp_path / "slide.mrxs").write_bytes(b"\xff\xd8\xff\xd9")
    with pytest.raises(InputError) as caught:
        open_slide(tmp_path / "slide.mrxs")
    assert "Doe" not in str(caught.value)
