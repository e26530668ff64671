"""Pictures that came with a question: kept in memory for the next ones, on disk only while read."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ruichat.errors import InputError
from ruichat.serve.engine.reading import Slides
from ruichat.slide.opening import open_slide

if TYPE_CHECKING:
    from ruichat.slide.slide import Slide

MAX_PICTURE_BYTES = 12_000_000
"""Of one JPEG or PNG; ours: a region of 4000 px a side."""

MAX_KEPT_BYTES = 128_000_000
"""Of all pictures that are kept for further questions."""

PREFIX = "picture-"
"""Ids of pictures begin so; slides' ids are hex digits, so neither is taken for the other."""

_KINDS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png"}


@dataclass(frozen=True)
class _Picture:
    data: bytes
    suffix: str
    mpp: float


class Pictures:
    """Pictures by ids that only their content gives; safe for threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Picture] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, data: bytes, mpp: float) -> str:
        """Keep a picture, and forget what was asked about longest ago.

        Args:
            data: of a JPEG or PNG file.
            mpp: micrometres per pixel.

        Returns:
            Its id, the same for the same picture.

        Raises:
            InputError: it is neither, or too large.
        """
        suffix = next((s for magic, s in _KINDS.items() if data.startswith(magic)), None)
        if suffix is None:
            raise InputError("the picture is neither JPEG nor PNG", hint="Send one of these")
        if len(data) > MAX_PICTURE_BYTES:
            raise InputError(
                f"the picture has {len(data)} bytes; at most {MAX_PICTURE_BYTES} are allowed",
                hint="Send a smaller region, or add the slide to a case",
            )
        picture_id = PREFIX + hashlib.sha256(f"{mpp!r} ".encode() + data).hexdigest()
        with self._lock:
            self._kept[picture_id] = _Picture(data, suffix, mpp)
            self._kept.move_to_end(picture_id)
            while sum(len(picture.data) for picture in self._kept.values()) > MAX_KEPT_BYTES:
                self._kept.popitem(last=False)
        return picture_id

    @contextmanager
    def open(self, picture_id: str) -> Generator[Slide]:
        """The picture as a slide, decoded in a child process.

        Raises:
            InputError: it is damaged, or was forgotten.
        """
        with self._lock:
            picture = self._kept.get(picture_id)
        if picture is None:
            raise InputError("the picture is no longer here", hint="Send it again")
        with tempfile.TemporaryDirectory(prefix="ruichat-") as folder:  # readable by us alone
            path = Path(folder) / f"picture{picture.suffix}"
            path.write_bytes(picture.data)
            with open_slide(path, mpp=picture.mpp) as slide:
                yield slide


class WithPictures:
    """Slides of a library, and pictures beside them; see `reading.Slides`."""

    def __init__(self, slides: Slides, pictures: Pictures) -> None:
        self._slides, self._pictures = slides, pictures

    @contextmanager
    def open(self, slide_id: str) -> Generator[Slide]:
        """One or the other, by the kind of its id."""
        source = self._pictures if slide_id.startswith(PREFIX) else self._slides
        with source.open(slide_id) as slide:
            yield slide
