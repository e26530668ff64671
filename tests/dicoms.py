"""Small whole-slide DICOM series written in code, organised in every way that scanners use."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    VLWholeSlideMicroscopyImageStorage,
    generate_uid,
)

Picture = NDArray[np.uint8]


@dataclass
class Written:
    """How one level is written.

    Attributes:
        coding: native, jpeg, jpeg-rgb, j2k or rle.
        sparse: with the position of each frame, instead of full rows.
        order: of the frames, as numbers of tiles row by row; those left out are missing.
        tile: side of a tile, pixels.
        mpp: of the level, micrometres.
        kind: third value of ImageType.
        extended: with an extended offset table; otherwise with a basic one where `basic`.
        basic: with a basic offset table.
        more: attributes to set on the data set, or to delete where None.
    """

    coding: str = "native"
    sparse: bool = False
    order: Sequence[int] | None = None
    tile: int = 64
    mpp: float = 0.5
    kind: str = "VOLUME"
    extended: bool = False
    basic: bool = True
    more: dict[str, Any] = field(default_factory=dict[str, Any])


SYNTAX = {
    "native": ExplicitVRLittleEndian,
    "jpeg": JPEGBaseline8Bit,
    "jpeg-rgb": JPEGBaseline8Bit,
    "j2k": JPEG2000Lossless,
    "j2k-lossy": JPEG2000,
}
COLOURS = {
    "native": "RGB",
    "jpeg": "YBR_FULL_422",
    "jpeg-rgb": "RGB",
    "j2k": "YBR_RCT",
    "j2k-lossy": "YBR_ICT",
}


def encode(coding: str, tile: Picture) -> bytes:
    """One frame's bytes."""
    if coding == "native":
        return tile.tobytes()
    if coding == "jpeg":
        file = io.BytesIO()
        Image.fromarray(tile).save(file, "JPEG", quality=95, subsampling=1)
        return file.getvalue()
    if coding == "jpeg-rgb":
        return imagecodecs.jpeg8_encode(tile, level=95, colorspace="RGB", outcolorspace="RGB")
    return imagecodecs.jpeg2k_encode(
        tile, codecformat="j2k", mct=True, reversible=coding == "j2k", level=0
    )


def write_level(path: Path, picture: Picture, series: str, how: Written) -> Path:
    """One instance of a series."""
    height, width = picture.shape[:2]
    columns, rows = -(-width // how.tile), -(-height // how.tile)
    padded = np.full((rows * how.tile, columns * how.tile, 3), 255, np.uint8)
    padded[:height, :width] = picture
    order = list(range(rows * columns)) if how.order is None else list(how.order)
    frames: list[bytes] = []
    for index in order:
        y, x = divmod(index, columns)
        tile = padded[y * how.tile : (y + 1) * how.tile, x * how.tile : (x + 1) * how.tile]
        frames.append(encode(how.coding, np.ascontiguousarray(tile)))
    data = _head(path, series, how)
    data.TotalPixelMatrixColumns, data.TotalPixelMatrixRows = width, height
    data.Columns = data.Rows = how.tile
    data.NumberOfFrames = len(frames)
    if how.sparse:
        data.DimensionOrganizationType = "TILED_SPARSE"
        data.PerFrameFunctionalGroupsSequence = [_position(index, columns, how) for index in order]
    else:
        data.DimensionOrganizationType = "TILED_FULL"
    _set_pixels(data, frames, how)
    for name, value in how.more.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def _head(path: Path, series: str, how: Written) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series, path.name])
    meta.TransferSyntaxUID = SYNTAX[how.coding]
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", series
    data.FrameOfReferenceUID = "1.2.4"
    data.PatientName, data.PatientID = "Doe^Jane", "1234567"
    data.Modality = "SM"
    finest = how.kind == "VOLUME" and how.mpp == 0.5
    data.ImageType = [
        "ORIGINAL" if finest else "DERIVED",
        "PRIMARY",
        how.kind,
        "NONE" if finest or how.kind != "VOLUME" else "RESAMPLED",
    ]
    data.SamplesPerPixel, data.PlanarConfiguration = 3, 0
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PhotometricInterpretation = COLOURS[how.coding]
    data.TotalPixelMatrixFocalPlanes = 1
    data.NumberOfOpticalPaths = 1
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem = origin.YOffsetInSlideCoordinateSystem = 0
    data.TotalPixelMatrixOriginSequence = [origin]
    data.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [how.mpp / 1000, how.mpp / 1000]
    measures.SliceThickness = 0.001
    shared.PixelMeasuresSequence = [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    path_ = Dataset()
    path_.OpticalPathIdentifier, path_.ObjectiveLensPower = "1", 20
    data.OpticalPathSequence = [path_]
    return data


def _position(index: int, columns: int, how: Written) -> Dataset:
    y, x = divmod(index, columns)
    place, frame = Dataset(), Dataset()
    place.ColumnPositionInTotalImagePixelMatrix = x * how.tile + 1
    place.RowPositionInTotalImagePixelMatrix = y * how.tile + 1
    place.XOffsetInSlideCoordinateSystem = place.YOffsetInSlideCoordinateSystem = 0
    place.ZOffsetInSlideCoordinateSystem = 0
    frame.PlanePositionSlideSequence = [place]
    return frame


def _set_pixels(data: FileDataset, frames: list[bytes], how: Written) -> None:
    if how.coding == "native":
        pixels = b"".join(frames)
        data.PixelData = pixels + b"\0" * (len(pixels) % 2)
        data["PixelData"].VR = "OB"
        return
    if how.extended:
        pixels, offsets, lengths = encapsulate_extended(frames)
        data.PixelData = pixels
        data.ExtendedOffsetTable, data.ExtendedOffsetTableLengths = offsets, lengths
    else:
        data.PixelData = encapsulate(frames, has_bot=how.basic)
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True


def write_series(folder: Path, picture: Picture, *levels: Written, series: str = "") -> Path:
    """A series with one instance per level, each half the size of the one before.

    Returns:
        The finest level's file.
    """
    folder.mkdir(exist_ok=True)
    uid = series or generate_uid()
    files = [
        write_level(
            folder / f"level{i}.dcm", np.ascontiguousarray(picture[:: 2**i, :: 2**i]), uid, how
        )
        for i, how in enumerate(levels)
    ]
    return files[0]


def edit(path: Path, **changes: Any) -> Path:
    """Set attributes of an instance."""
    data = pydicom.dcmread(path)
    for name, value in changes.items():
        setattr(data, name, value)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.save_as(path)
    return path
