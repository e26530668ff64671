"""The child process in which foreign files are decoded: it may die, and nothing else with it.

Speaks lines of JSON on stdin and stdout; pixels go through a file that both processes map. Run as
`python -m ruichat.slide.sandbox_worker PIXELS MEMORY_BYTES`, where PIXELS is the file's inherited
descriptor or its path.
"""

from __future__ import annotations

import base64
import importlib
import json
import mmap
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ruichat.errors import RuiChatError
from ruichat.slide.arrays import Bytes
from ruichat.slide.geometry import Box
from ruichat.slide.readers import (
    Opened,
    PicturedReader,
    PictureKind,
    ReducingReader,
    SlideReader,
    StoredReader,
)
from ruichat.slide.saying import say
from ruichat.slide.shared_pixels import view


def main() -> None:
    """Serve one parent until it closes stdin."""
    pixels_path, memory = sys.argv[1], int(sys.argv[2])
    _limit_memory(memory)
    requests, replies = sys.stdin.buffer, _take_stdout()
    inherited = pixels_path.isdecimal()
    with open(int(pixels_path) if inherited else pixels_path, "r+b") as file:
        pixels = mmap.mmap(file.fileno(), 0)
    if not inherited:
        os.unlink(pixels_path)
    _serve(requests, replies, pixels)


def _take_stdout() -> BinaryIO:
    """Stdout for replies alone: what decoders print goes to stderr."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies


def _limit_memory(num_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    resource.setrlimit(resource.RLIMIT_AS, (num_bytes, num_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _serve(requests: BinaryIO, replies: BinaryIO, pixels: mmap.mmap) -> None:
    reader: SlideReader | None = None
    for line in requests:
        request: dict[str, Any] = json.loads(line)
        try:
            if "open" in request or "close" in request:
                if reader is not None:
                    reader.close()
                    reader = None
                reply = {}
                if "open" in request:
                    opened = _open(Path(request["open"]), icc=request["icc"])
                    reader = opened.reader
                    reply = _describe(opened)
            elif "load" in request:
                importlib.import_module("ruichat.slide.tiled_tiff")  # and OpenSlide with it
                reply = {}
            elif "picture" in request:
                assert reader is not None
                reply = _picture(reader, request["picture"])
            elif "stored" in request:
                assert isinstance(reader, StoredReader)
                reply = _stored(reader, request["stored"])
            else:
                assert reader is not None
                _read(reader, request, pixels)
                reply = {}
        except RuiChatError as error:
            reply = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
        except MemoryError:
            reply = {"error": "MemoryError", "message": "it asks for more memory than allowed"}
        except Exception as error:  # decoders of foreign files raise anything
            reply = {"error": "Exception", "message": say(error)}
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()


def _open(path: Path, *, icc: bool) -> Opened:
    from ruichat.slide.icc import manage_colours
    from ruichat.slide.opening import read_with_any

    opened = read_with_any(path)
    return manage_colours(path, opened) if icc else opened


def _picture(reader: SlideReader, kind: PictureKind) -> dict[str, Any]:
    pixels = reader.picture(kind) if isinstance(reader, PicturedReader) else None
    if pixels is None:
        return {"picture": None}
    data = base64.b64encode(pixels.tobytes()).decode()
    return {"picture": data, "size": [pixels.shape[1], pixels.shape[0]]}


def _stored(reader: StoredReader, place: Sequence[int]) -> dict[str, Any]:
    data = reader.read_stored(*place)
    return {"jpeg": None if data is None else base64.b64encode(data).decode()}


def _describe(opened: Opened) -> dict[str, Any]:
    """All that is told about a file: nothing that could hold a name."""
    reader = opened.reader
    none = ((),) * len(reader.level_sizes)
    no_tiles = (None,) * len(reader.level_sizes)
    return {
        "opened_by": opened.name,
        "vendor": reader.vendor,
        "level_sizes": reader.level_sizes,
        "file_mpp": reader.file_mpp,
        "objective": reader.objective,
        "warnings": reader.warnings,
        "reductions": reader.reductions if isinstance(reader, ReducingReader) else none,
        "stored_tiles": reader.stored_tiles if isinstance(reader, StoredReader) else no_tiles,
        "files": [str(path) for path in reader.files],
    }


def _boxes(request: dict[str, Any], pixels: mmap.mmap) -> tuple[list[Box], list[Bytes]]:
    boxes = [Box(*numbers[:4]) for numbers in request["boxes"]]
    outs = [
        view(pixels, numbers[4:], box.width, box.height)
        for box, numbers in zip(boxes, request["boxes"], strict=True)
    ]
    return boxes, outs


def _squares(request: dict[str, Any], pixels: mmap.mmap) -> tuple[list[Box], list[Bytes]]:
    """Boxes of one size, whose pixels lie one after the other."""
    _, height, width, _ = shape = request["shape"]
    boxes = [Box(x, y, width, height) for x, y in request["corners"]]
    return boxes, list(np.ndarray(shape, np.uint8, pixels, request["offset"]))


def _read(reader: SlideReader, request: dict[str, Any], pixels: mmap.mmap) -> None:
    boxes, outs = _squares(request, pixels) if "corners" in request else _boxes(request, pixels)
    level, factor, num_threads = request["level"], request["factor"], request["threads"]
    if factor == 1:
        reader.read_many(level, boxes, outs, num_threads=num_threads)
    else:
        assert isinstance(reader, ReducingReader)
        reader.read_reduced(level, factor, boxes, outs, num_threads=num_threads)


if __name__ == "__main__":
    main()
