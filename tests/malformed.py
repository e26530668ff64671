"""Slides that are broken or hostile: every way to make one that a test wants refused."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from dicoms import Written, edit, write_series
from drawn import draw_tissue
from PIL import Image

Make = Callable[[Path], Path]

PICTURE = draw_tissue(300, 260, margin=20)
_FORMS: dict[str, dict[str, Any]] = {
    "classic": {"photometric": "rgb", "compression": "zlib"},
    "BigTIFF": {"photometric": "rgb", "compression": "zlib"},
    "JPEG": {"photometric": "ycbcr", "compression": "jpeg"},
}
_CUTS = (0, 1, 3, 7, 8, 12, 20, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999)
"""Where files are cut: bytes, or shares of their length."""


def write_slide(path: Path, form: str = "classic") -> Path:
    """A sound pyramid of two levels."""
    with tifffile.TiffWriter(path, bigtiff=form == "BigTIFF") as tiff:
        for step in (1, 2):
            tiff.write(
                PICTURE[::step, ::step],
                tile=(64, 64),
                metadata=None,
                resolution=(20_000, 20_000),
                resolutionunit=3,
                **_FORMS[form],
            )
    return path


def cases() -> Iterator[tuple[str, Make]]:
    """Name and maker of every malformed slide."""
    for form in _FORMS:
        for cut in _CUTS:
            yield f"{form} cut at {cut}", _cut(form, cut)
    yield from _directories()
    yield from _not_files()
    yield from _bombs()
    yield from _siblings()
    yield from _ome()
    yield from _dicom()


def _cut(form: str, cut: float) -> Make:
    def make(folder: Path) -> Path:
        path = write_slide(folder / "cut.tif", form)
        data = path.read_bytes()
        path.write_bytes(data[: int(cut * len(data)) if isinstance(cut, float) else cut])
        return path

    return make


def _tag(tag: int, page: int, change: Callable[[Any, bytearray], None]) -> Make:
    """A slide of which one directory entry is changed."""

    def make(folder: Path) -> Path:
        path = write_slide(folder / "changed.tif")
        with tifffile.TiffFile(path) as tiff:
            entry = tiff.pages[page].tags[tag]  # type: ignore[union-attr]
        data = bytearray(path.read_bytes())
        change(entry, data)
        path.write_bytes(data)
        return path

    return make


def _value(number: int) -> Callable[[Any, bytearray], None]:
    """Puts a number in the place of an entry's value or of where its values lie."""

    def change(entry: Any, data: bytearray) -> None:
        data[entry.offset + 2 : entry.offset + 4] = struct.pack("<H", 4)
        data[entry.offset + 8 : entry.offset + 12] = struct.pack("<I", number)

    return change


def _count(number: int) -> Callable[[Any, bytearray], None]:
    """Says that an entry has so many values."""

    def change(entry: Any, data: bytearray) -> None:
        data[entry.offset + 4 : entry.offset + 8] = struct.pack("<I", number)

    return change


def _directories() -> Iterator[tuple[str, Make]]:
    for name, tag in (("width", 256), ("height", 257), ("tile width", 322), ("tile height", 323)):
        for number in (0, 1 << 31, (1 << 32) - 1):
            yield f"{name} of {number}", _tag(tag, 0, _value(number))
    for name, tag in (("offsets", 324), ("byte counts", 325)):
        yield f"tile {name} past the end", _tag(tag, 0, _value(1 << 30))
        yield f"2^31 tile {name}", _tag(tag, 0, _count(1 << 31))
        yield f"one of the tile {name}", _tag(tag, 0, _count(1))
    yield "a directory that follows itself", _next_directory(0, 0)
    yield "two directories in a loop", _next_directory(1, 0)
    yield "a next directory past the end", _next_directory(1, None)
    yield "a directory of 65,535 entries", _many_entries


def _next_directory(page: int, to: int | None) -> Make:
    def make(folder: Path) -> Path:
        path = write_slide(folder / "loop.tif")
        with tifffile.TiffFile(path) as tiff:
            places = [p.offset for p in tiff.pages]  # type: ignore[union-attr]
        data = bytearray(path.read_bytes())
        (num,) = struct.unpack_from("<H", data, places[page])
        target = len(data) + 1000 if to is None else places[to]
        struct.pack_into("<I", data, places[page] + 2 + 12 * num, target)
        path.write_bytes(data)
        return path

    return make


def _many_entries(folder: Path) -> Path:
    path = folder / "entries.tif"
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, 65_535) + b"\0" * 12 * 65_535 + b"\0" * 4)
    return path


def _not_files() -> Iterator[tuple[str, Make]]:
    def pipe(folder: Path) -> Path:
        os.mkfifo(folder / "slide.svs")
        return folder / "slide.svs"

    def dangling(folder: Path) -> Path:
        (folder / "slide.svs").symlink_to(folder / "gone.svs")
        return folder / "slide.svs"

    def circle(folder: Path) -> Path:
        (folder / "slide.svs").symlink_to(folder / "slide.svs")
        return folder / "slide.svs"

    def text(folder: Path) -> Path:
        (folder / "slide.svs").write_text("Aperio Image Library\n" * 100)
        return folder / "slide.svs"

    def noise(folder: Path) -> Path:
        (folder / "slide.svs").write_bytes(np.random.default_rng(0).bytes(100_000))
        return folder / "slide.svs"

    yield "a pipe", pipe
    yield "a device", lambda folder: Path("/dev/zero")
    yield "a folder without slides", lambda folder: folder
    yield "a link to nothing", dangling
    yield "a link to itself", circle
    yield "text with a slide's suffix", text
    yield "noise with a slide's suffix", noise


def _png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000))


def _bombs() -> Iterator[tuple[str, Make]]:
    def png(folder: Path) -> Path:
        (folder / "bomb.png").write_bytes(_png(100_000, 100_000))
        return folder / "bomb.png"

    def short_png(folder: Path) -> Path:
        (folder / "bomb.png").write_bytes(_png(10_000, 10_000))
        return folder / "bomb.png"

    def jpeg(folder: Path) -> Path:
        path = folder / "bomb.jpg"
        Image.fromarray(PICTURE).save(path)
        data = bytearray(path.read_bytes())
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", 17_000, 17_000)
        path.write_bytes(data)
        return path

    def strip(folder: Path) -> Path:
        path = folder / "bomb.tif"
        tifffile.imwrite(path, PICTURE, photometric="rgb", compression="zlib", metadata=None)
        with tifffile.TiffFile(path) as tiff:
            tags = tiff.pages[0].tags  # type: ignore[union-attr]
            places = [tags[tag].offset + 8 for tag in (256, 257)]
        data = bytearray(path.read_bytes())
        for place in places:
            struct.pack_into("<H", data, place, 65_000)
        path.write_bytes(data)
        return path

    yield "a picture of ten thousand million pixels", png
    yield "a picture whose pixels are missing", short_png
    yield "a JPEG that claims to be three hundred million pixels", jpeg
    yield "a strip that claims to be four thousand million pixels", strip


def _siblings() -> Iterator[tuple[str, Make]]:
    def vms(folder: Path) -> Path:
        inside = folder / "inside"
        inside.mkdir()
        (folder / "secret.jpg").write_bytes(b"\xff\xd8\xff\xd9")
        path = inside / "slide.vms"
        path.write_text(
            "[Virtual Microscope Specimen]\nNoLayers=1\nNoJpegColumns=1\nNoJpegRows=1\n"
            "ImageFile=../secret.jpg\nMapFile=../secret.jpg\n"
        )
        return path

    def mrxs(folder: Path) -> Path:
        (folder / "slide").mkdir()
        (folder / "slide" / "Slidedat.ini").write_text(
            "[GENERAL]\nSLIDE_ID=x\nIMAGENUMBER_X=1\nIMAGENUMBER_Y=1\n"
            "[HIERARCHICAL]\nHIER_COUNT=1\nNONHIER_COUNT=0\nINDEXFILE=../../secret.dat\n"
        )
        (folder / "slide.mrxs").write_bytes(b"\xff\xd8\xff\xd9")
        return folder / "slide.mrxs"

    def parts(change: Callable[[Path], None], **size: int) -> Make:
        def make(folder: Path) -> Path:
            across, down = size.get("across", 1), size.get("down", 1)
            (folder / "slide").mkdir()
            (folder / "slide" / "Slidedat.ini").write_text(
                f"[GENERAL]\nSLIDE_ID=x\nIMAGENUMBER_X={across}\nIMAGENUMBER_Y={down}\n"
                "[HIERARCHICAL]\nHIER_COUNT=1\nNONHIER_COUNT=0\nINDEXFILE=Index.dat\n"
                "[DATAFILE]\nFILE_COUNT=1\nFILE_0=Data.dat\n"
            )
            (folder / "slide" / "Index.dat").write_bytes(b"\0" * 100)
            (folder / "slide" / "Data.dat").write_bytes(b"\0" * 100)
            change(folder / "slide")
            (folder / "slide.mrxs").write_bytes(b"\xff\xd8\xff\xd9")
            return folder / "slide.mrxs"

        return make

    def pipe(folder: Path) -> None:
        (folder / "Data.dat").unlink()
        os.mkfifo(folder / "Data.dat")

    def index_pipe(folder: Path) -> None:
        (folder / "Slidedat.ini").unlink()
        os.mkfifo(folder / "Slidedat.ini")

    def link(folder: Path) -> None:
        (folder / "Data.dat").unlink()
        (folder / "Data.dat").symlink_to("/etc/passwd")

    def image_pipe(folder: Path) -> Path:
        os.mkfifo(folder / "a.jpg")
        (folder / "slide.vms").write_text(
            "[Virtual Microscope Specimen]\nNoLayers=1\nNoJpegColumns=1\nNoJpegRows=1\n"
            "ImageFile=a.jpg\nMapFile=a.jpg\n"
        )
        return folder / "slide.vms"

    def image_link(folder: Path) -> Path:
        path = image_pipe(folder)
        (folder / "a.jpg").unlink()
        (folder / "a.jpg").symlink_to("/etc/passwd")
        return path

    yield "an index that names files of another folder", vms
    yield "a MIRAX index that names a file of another folder", mrxs
    yield "a MIRAX slide without content", parts(lambda folder: None)
    yield "a MIRAX slide of 2^62 images", parts(lambda f: None, across=1 << 31, down=1 << 31)
    yield "a MIRAX slide whose data is a pipe", parts(pipe)
    yield "a MIRAX slide whose index is a pipe", parts(index_pipe)
    yield "a MIRAX slide whose data is a link out", parts(link)
    yield "a VMS slide whose image is a pipe", image_pipe
    yield "a VMS slide whose image is a link out", image_link


def _write_ome(folder: Path, changed: Callable[[str], str] = lambda text: text) -> Path:
    path = folder / "slide.ome.tif"
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    options: dict[str, Any] = {"photometric": "rgb", "compression": "zstd", "tile": (64, 64)}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(PICTURE, subifds=1, metadata=metadata, **options)
        tiff.write(PICTURE[::2, ::2], subfiletype=1, **options)
    with tifffile.TiffFile(path) as tiff:
        text = tiff.ome_metadata or ""
    tifffile.tiffcomment(path, changed(text).encode())
    return path


def _ome() -> Iterator[tuple[str, Make]]:
    def cut(share: float) -> Make:
        def make(folder: Path) -> Path:
            path = _write_ome(folder)
            data = path.read_bytes()
            path.write_bytes(data[: int(share * len(data))])
            return path

        return make

    def text(old: str, new: str) -> Make:
        return lambda folder: _write_ome(folder, lambda found: found.replace(old, new, 1))

    def loop(folder: Path) -> Path:
        path = _write_ome(folder)
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0]
            place = page.tags[330].valueoffset  # type: ignore[union-attr]
            here = page.offset
        data = bytearray(path.read_bytes())
        data[place : place + 4] = struct.pack("<I", here)
        path.write_bytes(data)
        return path

    def big_tiles(folder: Path) -> Path:
        path = _write_ome(folder)
        with tifffile.TiffFile(path) as tiff:
            tags = tiff.pages[0].tags  # type: ignore[union-attr]
            place = tags[324].valueoffset
        data = bytearray(path.read_bytes())
        data[place : place + 4] = struct.pack("<I", len(data) - 2)
        path.write_bytes(data)
        return path

    bomb = "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(20))
    for share in (0.05, 0.5, 0.8, 0.99):
        yield f"OME-TIFF cut at {share}", cut(share)
    yield (
        "OME-XML with an outer entity",
        text("<OME", '<!DOCTYPE OME [<!ENTITY a SYSTEM "file:///dev/zero">]><OME'),
    )
    yield (
        "OME-XML with a thousand million laughs",
        text("<OME", f'<!DOCTYPE OME [<!ENTITY a0 "ha">{bomb}]><OME'),
    )
    yield "OME-XML that isn't closed", text("</Image>", "")
    yield "OME-XML of ten megabytes", text("<Image", " " * 10_000_000 + "<Image")
    yield (
        "an OME-TIFF whose planes lie in other files",
        text(
            "<TiffData", '<TiffData><UUID FileName="/etc/passwd">urn:b</UUID></TiffData><TiffData'
        ),
    )
    yield "an OME-TIFF of four points in time", text('SizeT="1"', 'SizeT="4"')
    yield "an OME-TIFF whose level is the slide itself", loop
    yield "an OME-TIFF whose tile lies past its end", big_tiles


def _dicom() -> Iterator[tuple[str, Make]]:
    def cut(coding: str, share: float) -> Make:
        def make(folder: Path) -> Path:
            path = write_series(folder / "a", PICTURE, Written(coding))
            data = path.read_bytes()
            path.write_bytes(data[: int(share * len(data))])
            return path

        return make

    def header(how: Written, **changes: Any) -> Make:
        def make(folder: Path) -> Path:
            return edit(write_series(folder / "a", PICTURE, how), **changes)

        return make

    def beside(make_part: Callable[[Path], None]) -> Make:
        def make(folder: Path) -> Path:
            path = write_series(folder / "a", PICTURE, Written())
            make_part(folder / "a" / "b.dcm")
            return path

        return make

    def noise(folder: Path) -> Path:
        path = folder / "noise.dcm"
        path.write_bytes(b"\0" * 128 + b"DICM" + np.random.default_rng(0).bytes(50_000))
        return path

    for coding in ("native", "jpeg"):
        for share in (0.02, 0.3, 0.6, 0.97):
            yield f"DICOM ({coding}) cut at {share}", cut(coding, share)
    huge = 2**31 - 1
    yield (
        "a DICOM level of 2^62 pixels",
        header(Written(), TotalPixelMatrixColumns=huge, TotalPixelMatrixRows=huge),
    )
    yield "DICOM frames of 2^32 pixels", header(Written(), Rows=65_535, Columns=65_535)
    yield "DICOM of 2^31 frames", header(Written("jpeg"), NumberOfFrames=huge)
    yield "DICOM without frames", header(Written("jpeg"), NumberOfFrames=0)
    yield "DICOM of inks", header(Written(), PhotometricInterpretation="CMYK")
    yield (
        "DICOM in grey",
        header(Written(), SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2"),
    )
    yield "DICOM of another kind", header(Written(), SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    yield "DICOM beside a pipe", beside(os.mkfifo)
    yield "DICOM beside a device", beside(lambda part: part.symlink_to("/dev/zero"))
    yield "noise with DICOM's mark", noise
