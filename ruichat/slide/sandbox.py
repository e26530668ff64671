"""Foreign files are decoded in child processes, with limits on time and memory.

OpenSlide ends its whole process on some damaged files, and decoders may loop or ask for any amount
of memory. What happens in a child costs one slide an error and nobody else anything. Children are
kept for the next slide and replaced after a while. Replies are JSON, never pickles: a child that
a hostile file has taken over can send wrong pixels, not code.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ruichat.errors import BrokenDecoderError, InputError, PrerequisiteError
from ruichat.slide.arrays import Bytes, Ints
from ruichat.slide.geometry import Box
from ruichat.slide.readers import PictureKind
from ruichat.slide.shared_pixels import SharedPixels

PIXELS_BYTES, SCRATCH_BYTES = 192 << 20, 64 << 20
"""Address space for pixels, and the part of it for those that are copied: a block and more."""

MEMORY_BYTES = 6 << 30
"""Address space of a child: a plain image of 300 million pixels fits."""

OPEN_S, READ_S = 8.0, 30.0
"""Longest time to open a file and to decode one block: a hundred times what sound files need."""

PATIENCE = 5
"""So many times as long is waited for a child that works, but that a busy machine lets work less
than that: a sound file isn't damaged because others need the processor."""

CHECK_S = 1.0
"""Between two looks at what such a child did."""

MAX_SLIDES = 50
"""Slides after which a child is replaced, so that what decoders leak doesn't add up."""

MAX_IDLE = 4
"""Children kept for the next slides; each holds about 50 MB."""

_DAMAGED = "Copy or export it from the scanner again"


class SandboxedReader:
    """A slide that is open in a child process; see `readers.SlideReader`.

    Args:
        path: the file.
        icc: whether colours are converted to sRGB by the file's ICC profile.

    Raises:
        InputError: it isn't a slide, is damaged, or breaks its decoder.
    """

    def __init__(self, path: Path, *, icc: bool = False) -> None:
        self._name = path.name
        self._lock = threading.RLock()
        self._is_broken = False
        self._child: _Child | None = _take_child()
        try:
            found = self._ask({"open": str(path.absolute()), "icc": icc}, OPEN_S)
        except BaseException:
            self.close()
            raise
        self.opened_by = str(found["opened_by"])
        self.vendor = str(found["vendor"])
        self.level_sizes = tuple((int(w), int(h)) for w, h in found["level_sizes"])
        mpp, objective = found["file_mpp"], found["objective"]
        self.file_mpp = None if mpp is None else (float(mpp[0]), float(mpp[1]))
        self.objective = None if objective is None else float(objective)
        self.warnings = tuple(str(warning) for warning in found["warnings"])
        self.reductions = tuple(tuple(int(f) for f in fs) for fs in found["reductions"])
        self.files = tuple(Path(name) for name in found["files"])
        self.stored_tiles = tuple(
            None if tile is None else (int(tile[0]), int(tile[1])) for tile in found["stored_tiles"]
        )

    def read_many(
        self, level: int, boxes: Sequence[Box], outs: Sequence[Bytes], *, num_threads: int = 1
    ) -> None:
        """Fill each of `outs`, without a copy those that `new_array` gave."""
        self.read_reduced(level, 1, boxes, outs, num_threads=num_threads)

    def read_reduced(
        self,
        level: int,
        factor: int,
        boxes: Sequence[Box],
        outs: Sequence[Bytes],
        *,
        num_threads: int = 1,
    ) -> None:
        """The same of a level that is reduced while it is decoded."""
        request = {"level": level, "factor": factor, "threads": num_threads}
        if self._ask_for(request, boxes, outs):
            return
        with self._lock:  # there is one scratch
            first = 0
            while first < len(boxes):
                arrays = self._pixels().scratch([out.shape for out in outs[first:]])
                end = first + len(arrays)
                if first == end:
                    box = boxes[first]
                    raise ValueError(f"no room for {box.width} x {box.height} px: read less")
                self._ask_for(request, boxes[first:end], arrays)
                for out, array in zip(outs[first:end], arrays, strict=True):
                    out[:] = array
                first = end

    def read_squares(
        self, level: int, factor: int, xy: Ints, out: Bytes, *, num_threads: int = 1
    ) -> None:
        """See `readers.SquaresReader`."""
        place = self._pixels().place(out[0]) if out.flags.c_contiguous else None
        if place is None:
            boxes = [Box(x, y, out.shape[2], out.shape[1]) for x, y in xy.tolist()]
            self.read_reduced(level, factor, boxes, list(out), num_threads=num_threads)
            return
        request = {"level": level, "factor": factor, "threads": num_threads, "corners": xy.tolist()}
        with self._lock:
            self._ask({**request, "offset": place.offset, "shape": out.shape}, READ_S)

    def _ask_for(
        self, request: dict[str, Any], boxes: Sequence[Box], outs: Sequence[Bytes]
    ) -> bool:
        """Have boxes decoded into shared memory; False if some array lies elsewhere."""
        pixels = self._pixels()
        places: list[tuple[int, ...]] = []
        for box, out in zip(boxes, outs, strict=True):
            place = pixels.place(out)
            if place is None:
                return False
            places.append((box.x, box.y, box.width, box.height, *place))
        with self._lock:  # others may prepare their requests meanwhile
            self._ask({**request, "boxes": places}, READ_S)
        return True

    def new_array(self, shape: tuple[int, ...]) -> Bytes:
        """An array that `read_many` fills without a copy, as long as there is room for one."""
        lent = self._pixels().lend(shape)
        return np.empty(shape, np.uint8) if lent is None else lent

    def _pixels(self) -> SharedPixels:
        return self._living().pixels

    def _living(self) -> _Child:
        child = self._child
        if child is None and self._is_broken:
            raise BrokenDecoderError(f"{self._name} has broken its decoder", hint=_DAMAGED)
        if child is None:
            raise InputError(f"{self._name} is closed", hint="Open the slide again")
        return child

    def picture(self, kind: PictureKind) -> Bytes | None:
        """RGB of the label or the macro image; None where the file holds none."""
        with self._lock:
            reply = self._ask({"picture": kind}, READ_S)
        if reply["picture"] is None:
            return None
        width, height = reply["size"]
        flat = np.frombuffer(base64.b64decode(reply["picture"]), np.uint8)
        return flat.reshape(height, width, 3)

    def read_stored(self, level: int, column: int, row: int) -> bytes | None:
        """See `readers.StoredReader`."""
        with self._lock:
            reply = self._ask({"stored": (level, column, row)}, READ_S)
        return None if reply["jpeg"] is None else base64.b64decode(reply["jpeg"])

    def close(self) -> None:
        """Give the child back for the next slide."""
        child, self._child = self._child, None
        if child is not None:
            _give_back(child)

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        child = self._living()
        try:
            reply = child.ask(request, seconds)
        except _ChildError as error:
            child.kill()
            self._child, self._is_broken = None, True
            raise BrokenDecoderError(
                f"{self._name} breaks its decoder: {error}", hint=_DAMAGED
            ) from error
        if "error" not in reply:
            return reply
        kind = PrerequisiteError if reply["error"] == "PrerequisiteError" else InputError
        message = reply["message"]
        if reply["error"] in ("MemoryError", "Exception"):
            message = f"{self._name} is damaged: {message}"
        raise kind(message, hint=reply.get("hint", _DAMAGED))


class _ChildError(Exception):
    """The child died, or had to be stopped."""


class _Child:
    """One decoding process and the pixels it shares."""

    def __init__(self) -> None:
        self.pixels = SharedPixels(PIXELS_BYTES, SCRATCH_BYTES)
        handle = self.pixels.handle
        file = self.pixels.path if handle is None else str(handle)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ruichat.slide.sandbox_worker", file, str(MEMORY_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=() if handle is None else (handle,),
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        self._replies: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._listen, name="sandbox", daemon=True).start()
        self.num_slides = 0

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and wait for its reply."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._reply(seconds)
        except OSError:
            line = b""
        if not line:
            raise _ChildError(f"the process ended with {self._process.wait()}")
        try:
            reply = json.loads(line)
        except ValueError:
            raise _ChildError("the reply makes no sense") from None
        return reply

    def _reply(self, seconds: float) -> bytes:
        """The next line; time counts as long as the child uses it, or nothing happens in it."""
        patience = time.monotonic() + PATIENCE * seconds
        first_s = min(CHECK_S, seconds / 2)  # most replies come sooner, so nothing is looked up
        with contextlib.suppress(queue.Empty):
            return self._replies.get(timeout=first_s)
        begun = used = _processor_s(self._process.pid)
        wait_s = left_s = seconds - first_s
        while True:
            try:
                return self._replies.get(timeout=wait_s)
            except queue.Empty:
                before, used = used, _processor_s(self._process.pid)
                is_starved = before < used < begun + left_s
                if not is_starved or time.monotonic() >= patience:
                    raise _ChildError(f"it took more than {seconds:g} s") from None
                wait_s = CHECK_S

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self.pixels.close()

    @property
    def is_alive(self) -> bool:
        """Whether it can serve another slide."""
        return self._process.poll() is None

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._replies.put(line)
        self._replies.put(b"")


def _processor_s(pid: int) -> float:
    """Seconds that a process has computed; 0 where the system doesn't tell, so nobody waits."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


_idle: list[_Child] = []
_idle_lock = threading.Lock()


def start_ahead() -> None:
    """Have a child ready, its decoders loaded, before a slide needs it.

    Raises:
        PrerequisiteError: it doesn't start.
    """
    child = _take_child()
    try:
        child.ask({"load": True}, OPEN_S)
    except _ChildError as error:
        child.kill()
        raise PrerequisiteError(
            f"the process that decodes slides doesn't start: {error}", hint="Run: ruichat doctor"
        ) from error
    with _idle_lock:
        _idle.append(child)


def _take_child() -> _Child:
    with _idle_lock:
        while _idle:
            child = _idle.pop()
            if child.is_alive:
                return child
    return _Child()


def _give_back(child: _Child) -> None:
    child.num_slides += 1
    # The next slide's decoder mustn't be able to write to pixels of this one.
    if child.num_slides >= MAX_SLIDES or not child.is_alive or child.pixels.is_lent:
        child.kill()
        return
    try:
        child.ask({"close": True}, OPEN_S)
    except _ChildError:
        child.kill()
        return
    with _idle_lock:
        if len(_idle) < MAX_IDLE:
            _idle.append(child)
            return
    child.kill()


@atexit.register
def _end() -> None:
    with _idle_lock:
        for child in _idle:
            child.kill()
        _idle.clear()
