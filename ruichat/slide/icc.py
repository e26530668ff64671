"""Colours converted to sRGB by the ICC profile that a slide brings, where the user asks for it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ruichat.errors import InputError
from ruichat.slide.arrays import Bytes
from ruichat.slide.geometry import Box
from ruichat.slide.readers import Opened, ProfiledReader, ReducingReader, SlideReader
from ruichat.slide.saying import say
from ruichat.slide.sharing import share_out

MAX_PROFILE_BYTES = 64 << 20
"""Profiles with large tables have some megabytes."""

NO_PROFILE = "the slide brings no ICC profile: its colours are left as they are"


def manage_colours(path: Path, opened: Opened) -> Opened:
    """The same slide with its colours in sRGB; with a warning where it brings no profile.

    Raises:
        InputError: the profile is damaged, or not one of RGB.
    """
    reader = opened.reader
    try:
        profile = reader.icc_profile if isinstance(reader, ProfiledReader) else None
        if profile is not None and len(profile) > MAX_PROFILE_BYTES:
            raise ValueError(f"{len(profile)} bytes")
        transform = None if profile is None else Transform(profile)
    except Exception as error:  # LittleCMS and readers of foreign files raise anything
        raise InputError(
            f"the ICC profile of {path.name} can't be used ({say(error)})",
            hint="Open the slide without --icc",
        ) from error
    return replace(opened, reader=ManagedReader(reader, transform))


class Transform:
    """From a profile's RGB to sRGB, with the rendering intent that the profile asks for."""

    def __init__(self, profile: bytes) -> None:
        from PIL import ImageCms

        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        intent = ImageCms.getDefaultIntent(source)
        self._transform = ImageCms.buildTransform(source, target, "RGB", "RGB", intent)  # type: ignore[arg-type]

    def apply(self, pixels: Bytes) -> None:
        """Convert uint8 [h,w,3] in place."""
        from PIL import Image, ImageCms

        image = Image.fromarray(np.ascontiguousarray(pixels))
        ImageCms.applyTransform(image, self._transform, inPlace=True)
        pixels[:] = np.asarray(image)


class ManagedReader:
    """A reader whose pixels go through a transform; without one only the warning is added."""

    def __init__(self, reader: SlideReader, transform: Transform | None) -> None:
        self._reader = reader
        self._transform = transform
        self.vendor = reader.vendor
        self.level_sizes = reader.level_sizes
        self.file_mpp = reader.file_mpp
        self.objective = reader.objective
        self.files = reader.files
        self.warnings = reader.warnings + ((NO_PROFILE,) if transform is None else ())
        none: tuple[tuple[int, ...], ...] = ((),) * len(self.level_sizes)
        self.reductions = reader.reductions if isinstance(reader, ReducingReader) else none

    def read_many(
        self, level: int, boxes: Sequence[Box], outs: Sequence[Bytes], *, num_threads: int = 1
    ) -> None:
        """Fill each of `outs` with the pixels of a box of one level."""
        self._reader.read_many(level, boxes, outs, num_threads=num_threads)
        self._convert(outs, num_threads)

    def read_reduced(
        self,
        level: int,
        factor: int,
        boxes: Sequence[Box],
        outs: Sequence[Bytes],
        *,
        num_threads: int = 1,
    ) -> None:
        """As `read_many`, in pixels of the reduced level."""
        assert isinstance(self._reader, ReducingReader)
        self._reader.read_reduced(level, factor, boxes, outs, num_threads=num_threads)
        self._convert(outs, num_threads)

    def close(self) -> None:
        """Release the file."""
        self._reader.close()

    def _convert(self, outs: Sequence[Bytes], num_threads: int) -> None:
        if self._transform is not None:
            share_out(outs, self._transform.apply, num_threads)
