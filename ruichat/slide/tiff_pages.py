"""Which pages of a TIFF are the levels of a slide, and whether it is one at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ruichat.errors import InputError, UnsuitableSlideError
from ruichat.slide.ome import UM, OmeError, OmeImage, is_ome, parse_ome

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

ROUNDING_PX = 2.0
"""Sides of a level may differ so much from the finest level's, divided: writers round each step."""

UM_PER_UNIT = {2: 25_400.0, 3: 10_000.0}
"""TIFF ResolutionUnit: inch, centimetre."""

RGB_NAMES = frozenset({("red", "green", "blue"), ("r", "g", "b")})

MAX_PAGES = 1_000


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The levels of a slide in a TIFF.

    Attributes:
        levels: the pages of each level, finest first: one, or three for red, green and blue.
        bits: of a sample that are used.
        file_mpp: resolution in x and y that the file states.
        objective: magnification that the file states.
        warnings: what the user should know.
        is_ome: whether OME-XML describes it.
        icc_profile: of its colours.
    """

    levels: tuple[tuple[TiffPage, ...], ...]
    bits: int
    file_mpp: tuple[float, float] | None
    objective: float | None
    warnings: tuple[str, ...]
    is_ome: bool
    icc_profile: bytes | None


def find_pyramid(path: Path, tiff: TiffFile) -> Pyramid:
    """The slide in a TIFF.

    Raises:
        InputError: it holds no image.
        UnsuitableSlideError: it is a stack of channels or points in time, or spread over files.
    """
    from tifffile import TiffPage

    chain = [page for page in tiff.pages if isinstance(page, TiffPage)]
    if not chain:
        raise InputError(f"{path.name} holds no image", hint="Export it again")
    finest = max(chain, key=_num_pixels)
    ome, objective, warnings = _describe(path, chain[0].description, _size(finest))
    same = [page for page in chain if _size(page) == _size(finest)]
    if ome is not None:
        depth = _check_stack(path, ome, finest.samplesperpixel)
        colours = 1 if finest.samplesperpixel > 1 else len(ome.samples)
    else:
        depth, colours = _check_imagej(path, chain[0].description), 1
    middle = depth // 2 if len(same) == depth else 0
    planes = same[middle : middle + colours]
    if len(planes) < colours:
        raise InputError(f"{path.name} lacks the plane of a colour", hint="Export it again")
    if depth > 1:
        which = "middle" if middle else "first"
        warnings += (f"of its {depth} focal planes the {which} one is read",)
    return Pyramid(
        levels=tuple(_levels(planes, chain)),
        bits=(ome.significant_bits if ome else None) or finest.bitspersample,
        file_mpp=(ome.mpp if ome else None)
        or _imagej_mpp(finest, chain[0].description)
        or _tag_mpp(finest),
        objective=objective,
        warnings=warnings,
        is_ome=ome is not None,
        icc_profile=finest.iccprofile,
    )


def _size(page: TiffPage) -> tuple[int, int]:
    return page.imagewidth, page.imagelength


def _num_pixels(page: TiffPage) -> int:
    return page.imagewidth * page.imagelength


def _levels(planes: list[TiffPage], chain: list[TiffPage]) -> Iterator[tuple[TiffPage, ...]]:
    """The finest level, and every coarser copy of it: below it in the file, or after it."""
    yield tuple(planes)
    below = [_below(plane) for plane in planes]
    coarser = list(zip(*below, strict=True)) if len({len(b) for b in below}) == 1 else []
    if len(planes) == 1:
        coarser += [(page,) for page in chain]
    known = {_size(planes[0])}
    for pages in sorted(coarser, key=lambda pages: -_num_pixels(pages[0])):
        sizes = {_size(page) for page in pages}
        if len(sizes) == 1 and not sizes & known and _is_copy(planes[0], pages[0]):
            known |= sizes
            yield pages


def _below(page: TiffPage) -> list[TiffPage]:
    from tifffile import TiffPage

    if page.pages is None:
        return []
    return [sub for sub in page.pages if isinstance(sub, TiffPage)]


def _is_copy(finest: TiffPage, page: TiffPage) -> bool:
    """Whether a page has the shape and the kind of pixels of a coarser level."""
    kinds = [(p.dtype, p.samplesperpixel, p.photometric, p.is_tiled) for p in (finest, page)]
    if kinds[0] != kinds[1] and not (kinds[0][:2] == kinds[1][:2] and page.is_reduced):
        return False
    factor = (_num_pixels(finest) / _num_pixels(page)) ** 0.5
    width, height = finest.imagewidth / factor, finest.imagelength / factor
    off = max(abs(page.imagewidth - width), abs(page.imagelength - height))
    return factor > 1 and off <= ROUNDING_PX


def _describe(
    path: Path, description: str, size: tuple[int, int]
) -> tuple[OmeImage | None, float | None, tuple[str, ...]]:
    """What OME-XML says about the image of a size; nothing for other files."""
    if not is_ome(description):
        return None, None, ()
    try:
        ome = parse_ome(description)
    except OmeError as error:
        raise UnsuitableSlideError(
            f"the OME-XML of {path.name} {error}", hint="Export the slide again as OME-TIFF"
        ) from error
    for image in ome.images:
        if image.size == size:
            return image, ome.objective, ()
    return None, ome.objective, ("its OME-XML doesn't describe the image: it isn't used",)


def _check_stack(path: Path, image: OmeImage, samples: int) -> int:
    """Refuse what isn't one brightfield picture in this file.

    Args:
        path: the file, for messages.
        image: what OME-XML says.
        samples: of a pixel of the page.

    Returns:
        Its focal planes.
    """
    if image.other_files:
        raise UnsuitableSlideError(
            f"{path.name} is one of several files of an OME-TIFF",
            hint="Export the slide as one OME-TIFF",
        )
    num = sum(image.samples)
    is_colour = num in (1, samples) or image.channel_names in RGB_NAMES
    if image.is_fluorescence or not is_colour:
        raise not_brightfield(path, f"{num} channels")
    if image.num_t > 1:
        raise not_brightfield(path, f"{image.num_t} points in time")
    if image.num_z > 1 and samples == 1 < num:
        raise not_brightfield(path, f"{num} colours in {image.num_z} focal planes each")
    return image.num_z


def _check_imagej(path: Path, description: str) -> int:
    """Refuse a stack of channels or points in time; the focal planes of any other image."""
    said = _imagej(description)
    for key, words in (("channels", "channels"), ("frames", "points in time")):
        if said.get(key, "1") != "1":
            raise not_brightfield(path, f"{said[key]} {words}")
    slices = said.get("slices", "1")
    return int(slices) if slices.isdigit() and len(slices) < 6 else 1


def _imagej(description: str) -> dict[str, str]:
    """What ImageJ says about an image; nothing for other files."""
    if not description.startswith("ImageJ="):
        return {}
    pairs = (line.partition("=") for line in description.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _imagej_mpp(page: TiffPage, description: str) -> tuple[float, float] | None:
    um = UM.get(_imagej(description).get("unit", "").lower())
    return _per_pixel(page, um)


def _tag_mpp(page: TiffPage) -> tuple[float, float] | None:
    return _per_pixel(page, UM_PER_UNIT.get(int(page.resolutionunit)))


def _per_pixel(page: TiffPage, um: float | None) -> tuple[float, float] | None:
    x, y = page.resolution
    return (um / x, um / y) if um is not None and x > 0 and y > 0 else None


def not_brightfield(path: Path, found: str) -> UnsuitableSlideError:
    """The error for what is a microscope's picture, but not of a stained slide in RGB."""
    return UnsuitableSlideError(
        f"{path.name} holds {found}; RuiChat reads brightfield slides, as 8- or 16-bit RGB or "
        "8-bit grey",
        hint="Export the brightfield image as RGB",
    )
