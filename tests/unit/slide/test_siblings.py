"""Parts of a slide lie in its folder and are files, whatever its index says."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from dicoms import Written, write_series
from drawn import draw_tissue

from ruichat.errors import InputError
from ruichat.slide.opening import open_slide
from ruichat.slide.siblings import INDEX_BYTES, check_files, check_siblings

PICTURE = draw_tissue(130, 70)


def write_mirax(folder: Path, index: str = "Index.dat", data: str = "Data0000.dat") -> Path:
    """The files of a MIRAX slide, without pixels."""
    parts = folder / "slide"
    parts.mkdir()
    (parts / "Slidedat.ini").write_text(
        f"\ufeff[GENERAL]\r\nSLIDE_ID = x/y\r\n[HIERARCHICAL]\r\nINDEXFILE = {index}\r\n"
        f"[DATAFILE]\r\nFILE_COUNT = 1\r\nFILE_0 = {data}\r\n"
    )
    for name in ("Index.dat", "Data0000.dat"):
        (parts / name).write_bytes(b"\0" * 100)
    (folder / "slide.mrxs").write_bytes(b"\xff\xd8\xff\xd9")
    return folder / "slide.mrxs"


def write_vms(folder: Path, image: str = "a.jpg", more: str = "") -> Path:
    """The index of a Hamamatsu slide."""
    folder.mkdir(exist_ok=True)
    path = folder / "slide.vms"
    path.write_text(
        "[Virtual Microscope Specimen]\nNoLayers=1\nNoJpegColumns=1\nNoJpegRows=1\n"
        f"ImageFile={image}\nMapFile=map.jpg\nOptimisationFile=a.opt\nDate=1/2/2010\n{more}"
    )
    return path


def outside(folder: Path) -> Path:
    """A file that is none of the slide's business."""
    path = folder / "elsewhere" / "secret.dat"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"secret")
    return path


@pytest.mark.parametrize("name", ["../secret.dat", "/etc/passwd", "a\\\\b.dat", "sub/a.dat", ".."])
def test_names_that_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    for i, write in enumerate(
        [
            lambda folder: write_mirax(folder, index=name),
            lambda folder: write_mirax(folder, data=name),
            lambda folder: write_vms(folder, image=name),
            lambda folder: write_vms(folder, more=f"ImageFile(1,0)={name}\n"),
        ]
    ):
        (tmp_path / str(i)).mkdir()
        with pytest.raises(InputError, match="outside its own folder"):
            check_siblings(write(tmp_path / str(i)))


def test_other_values_may_hold_anything(tmp_path: Path) -> None:
    check_siblings(write_mirax(tmp_path))
    check_siblings(write_vms(tmp_path / "vms", more="AuthCode=a/b..c\n"))


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # a socket's path may have 100 characters
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.fchdir(here)
    os.close(here)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _link_out(path: Path) -> None:
    path.symlink_to(outside(path.parents[2]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_pipe, "not a file"),
        (_socket, "not a file"),
        (_device, "not a file"),
        (_link_out, "leads outside"),
    ],
)
@pytest.mark.parametrize("name", ["Slidedat.ini", "Index.dat", "Data0000.dat"])
def test_parts_that_are_no_files_of_the_folder_are_refused(
    make: Callable[[Path], None], words: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    path = write_mirax(tmp_path / "in")
    (tmp_path / "in" / "slide" / name).unlink()
    make(tmp_path / "in" / "slide" / name)
    with pytest.raises(InputError, match=words):
        check_siblings(path)


def test_a_mirax_folder_that_is_a_link_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    path = write_mirax(tmp_path / "a")
    shutil.move(tmp_path / "a" / "slide", tmp_path / "b" / "slide")
    (tmp_path / "a" / "slide").symlink_to(tmp_path / "b" / "slide")
    with pytest.raises(InputError, match="leads outside"):
        check_siblings(path)


def test_an_endless_index_is_refused(tmp_path: Path) -> None:
    path = write_vms(tmp_path)
    path.write_bytes(b"[Virtual Microscope Specimen]\n" + b"a=b\n" * (INDEX_BYTES // 4))
    with pytest.raises(InputError, match="more than"):
        check_siblings(path)


@pytest.mark.parametrize("make", [_pipe, _socket, _device])
def test_what_lies_beside_a_dicom_file_must_be_files(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = write_series(tmp_path / "a", PICTURE, Written())
    make(path.parent / "b.dcm")
    for given in (path, path.parent):
        with pytest.raises(InputError, match=r"b\.dcm.*not a file"):
            open_slide(given)


def test_a_dicom_level_may_not_be_a_link_out(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a", PICTURE, Written(), Written(mpp=1.0))
    (tmp_path / "b").mkdir()
    level = path.parent / "level1.dcm"
    level.rename(tmp_path / "b" / "level1.dcm")
    level.symlink_to(tmp_path / "b" / "level1.dcm")
    for given in (path, path.parent):
        with pytest.raises(InputError, match="leads outside"):
            open_slide(given)
    level.unlink()
    level.symlink_to(outside(tmp_path))
    with open_slide(path) as slide:
        assert len(slide.level_downsamples) == 1


def test_a_series_that_is_linked_file_by_file_opens(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a", PICTURE, Written(), Written(mpp=1.0))
    (tmp_path / "links").mkdir()
    for name in ("level0.dcm", "level1.dcm"):
        (tmp_path / "links" / name).symlink_to(path.parent / name)
    with open_slide(tmp_path / "links" / "level0.dcm") as slide:
        assert len(slide.level_downsamples) == 2


def test_a_reader_may_not_name_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    slide = tmp_path / "a" / "slide.kfb"
    slide.touch()
    check_files(slide, [slide, tmp_path / "a" / "gone"])
    with pytest.raises(InputError, match="leads outside"):
        check_files(slide, [slide, outside(tmp_path)])
