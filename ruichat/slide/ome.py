"""What OME-XML says about the image of a TIFF, read without trust in the file.

Source:
    OME schema 2016-06 (Open Microscopy Environment). Lengths are micrometres where no unit stands.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from xml.parsers import expat

MAX_BYTES = 8 << 20
"""Longest OME-XML that is read; real ones have some kilobytes, plates a megabyte."""

UM = {
    **dict.fromkeys(("\u00b5m", "\u03bcm", "um", "micron", "microns", "\\u00b5m"), 1.0),
    **{"nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25_400.0, "in": 25_400.0},
}
"""Micrometres in a unit of length, by the names that OME-XML and ImageJ write."""


class OmeError(Exception):
    """OME-XML that can't be believed; the message is the rest of a sentence."""


@dataclass(frozen=True, slots=True)
class OmeImage:
    """One `Image` of the file: the scan, or its label or macro image.

    Attributes:
        size: width and height, pixels.
        num_z: focal planes.
        num_t: points in time.
        samples: samples in a pixel of each channel, [channel].
        channel_names: lower-case names of the channels, empty where there is none.
        is_fluorescence: whether a channel states a fluorophore or an emission wavelength.
        mpp: micrometres per pixel in x and y, where both are stated.
        significant_bits: of each sample, where stated.
        other_files: whether planes lie in other files.
    """

    size: tuple[int, int]
    num_z: int
    num_t: int
    samples: tuple[int, ...]
    channel_names: tuple[str, ...]
    is_fluorescence: bool
    mpp: tuple[float, float] | None
    significant_bits: int | None
    other_files: bool


@dataclass(frozen=True, slots=True)
class Ome:
    """All images of a file, and the objective's magnification where it is stated."""

    images: tuple[OmeImage, ...]
    objective: float | None


def is_ome(description: str) -> bool:
    """Whether a TIFF's description is OME-XML."""
    return description.rstrip("\0 \n\r\t").endswith("OME>")


def parse_ome(description: str) -> Ome:
    """Read OME-XML; entities and document types, which it never needs, aren't expanded.

    Raises:
        OmeError: it is no XML, too long, or declares a document type.
    """
    data = description.rstrip("\0 \n\r\t").encode()
    if len(data) > MAX_BYTES:
        raise OmeError(f"is {len(data)} bytes long; read are up to {MAX_BYTES}")
    collector = _Collector()
    parser = expat.ParserCreate("utf-8", "}")
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = collector.start
    parser.CharacterDataHandler = collector.text
    parser.EndElementHandler = collector.end
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise OmeError(f"is damaged ({error})") from error
    images = tuple(_image(found, collector.uuid) for found in collector.images)
    return Ome(images, _positive(collector.objective))


def _refuse(*_: object) -> None:
    raise OmeError("declares a document type or entities, which could hide anything")


class _Collector:
    """Attributes of the elements that matter, image by image."""

    def __init__(self) -> None:
        self.uuid = ""
        self.objective: str | None = None
        self.images: list[_Found] = []
        self._text = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition("}")[2]
        self._text = ""
        if name == "OME":
            self.uuid = attributes.get("UUID", "")
        elif name == "Objective":
            self.objective = self.objective or attributes.get("NominalMagnification")
        elif name == "Pixels":
            self.images.append(_Found(attributes, [], []))
        elif name == "Channel" and self.images:
            self.images[-1].channels.append(attributes)

    def text(self, data: str) -> None:
        self._text += data

    def end(self, tag: str) -> None:
        if tag.rpartition("}")[2] == "UUID" and self.images:
            self.images[-1].uuids.append(self._text.strip())


@dataclass(frozen=True, slots=True)
class _Found:
    pixels: dict[str, str]
    channels: list[dict[str, str]]
    uuids: list[str]


def _image(found: _Found, uuid: str) -> OmeImage:
    pixels, channels = found.pixels, found.channels
    count = _count(pixels.get("SizeC"))
    samples = [_count(c.get("SamplesPerPixel")) for c in channels] or [1] * min(count, 64)
    return OmeImage(
        size=(_count(pixels.get("SizeX")), _count(pixels.get("SizeY"))),
        num_z=_count(pixels.get("SizeZ")),
        num_t=_count(pixels.get("SizeT")),
        samples=tuple(samples),
        channel_names=tuple(c.get("Name", "").strip().lower() for c in channels),
        is_fluorescence=any("EmissionWavelength" in c or c.get("Fluor") for c in channels),
        mpp=_mpp(pixels),
        significant_bits=int(bits)
        if (bits := pixels.get("SignificantBits", "")).isdigit()
        else None,
        other_files=any(other != uuid for other in found.uuids),
    )


def _mpp(pixels: dict[str, str]) -> tuple[float, float] | None:
    found: list[float] = []
    for axis in "XY":
        value = _positive(pixels.get(f"PhysicalSize{axis}"))
        um = UM.get(pixels.get(f"PhysicalSize{axis}Unit", "um"))
        if value is None or um is None:
            return None
        found.append(value * um)
    return found[0], found[1]


def _count(text: str | None) -> int:
    return int(text) if text is not None and text.isdigit() and len(text) < 10 else 1


def _positive(text: str | None) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        value = float(text)  # type: ignore[arg-type]
        return value if 0 < value < float("inf") else None
    return None
