"""What was answered, one line to a dialogue and condition: kept as it comes, read again."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ruichat.errors import ArtifactError
from ruichat.model.chat_model import OptionScore
from ruichat.storage.artifacts import not_written

FILE = "answers.jsonl"
SYNC_EVERY = 32
"""Lines after which the disk is waited for: a kill loses none, a stopped machine some."""


@dataclass(frozen=True)
class Given:
    """The answer to one question.

    Attributes:
        text: as the model wrote it, the abstention piece by its name.
        order: indices of the options as they were listed; empty without options.
        scores: of each option in the file's order; None where the model gives none.
        cut: it reached the limit of its length.
        thought: what the model wrote for itself before it; not scored.
    """

    text: str
    order: tuple[int, ...] = ()
    scores: tuple[OptionScore, ...] | None = None
    cut: bool = False
    thought: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values; a probability that is no number becomes None."""
        scores = None
        if self.scores is not None:
            scores = [[_finite(one.logprob), one.num_tokens] for one in self.scores]
        return {**asdict(self), "order": list(self.order), "scores": scores}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Given:
        """The reverse; None becomes NaN."""
        scores = value["scores"]
        if scores is not None:
            scores = tuple(
                OptionScore(math.nan if logprob is None else float(logprob), int(num))
                for logprob, num in scores
            )
        order = tuple(int(i) for i in value["order"])
        return cls(str(value["text"]), order, scores, bool(value["cut"]), str(value["thought"]))


@dataclass(frozen=True)
class Line:
    """One dialogue under one condition.

    Attributes:
        key: of both, see `plan.Ask.key`.
        given: an answer to each of its questions; empty where asking failed.
        boxes: of all regions of the slide shown, x, y, width, height, where citations are scored.
        bag: digest of the embeddings shown; empty without a slide.
        error: why asking failed; such a dialogue is asked again when the run goes on.
        seconds: it took.
    """

    key: str
    given: tuple[Given, ...] = ()
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    bag: str = ""
    error: str = ""
    seconds: float = 0.0

    def to_bytes(self) -> bytes:
        """As it stands in the file."""
        value = {
            "key": self.key,
            "given": [one.to_json() for one in self.given],
            "boxes": [list(box) for box in self.boxes],
            "bag": self.bag,
            "error": self.error,
            "seconds": round(self.seconds, 4),
        }
        return json.dumps(value, ensure_ascii=True, allow_nan=False).encode() + b"\n"

    @classmethod
    def parse(cls, raw: bytes) -> Line:
        """The reverse.

        Raises:
            ValueError, KeyError, TypeError: it is no such line.
        """
        value: dict[str, Any] = json.loads(raw)
        boxes = [(int(x), int(y), int(w), int(h)) for x, y, w, h in value["boxes"]]
        given = tuple(Given.from_json(one) for one in value["given"])
        return cls(
            str(value["key"]), given, tuple(boxes), value["bag"], value["error"], value["seconds"]
        )


class AnswerFile:
    """The answers of a run; a context manager while lines are added.

    Args:
        folder: of the run.

    Raises:
        ArtifactError: a line other than the last is broken.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.lines: dict[str, Line] = {}
        self._sound = 0
        self._file: BinaryIO | None = None
        self._unsynced = 0
        for line in self._read():
            self.lines[line.key] = line

    def __enter__(self) -> AnswerFile:
        try:
            self._file = open(self.path, "ab", opener=_private)
            # What a kill left half written is taken off before anything follows it.
            self._file.truncate(self._sound)
        except OSError as error:
            raise not_written(self.path, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def has(self, key: str) -> bool:
        """Whether it was asked and answered."""
        return key in self.lines and not self.lines[key].error

    def add(self, line: Line) -> None:
        """Write a line down.

        Raises:
            ArtifactError: the disk is full.
        """
        assert self._file is not None, "lines are added inside the context"
        try:
            self._file.write(line.to_bytes())
            self._file.flush()
            self._unsynced += 1
            if self._unsynced >= SYNC_EVERY:
                os.fsync(self._file.fileno())
                self._unsynced = 0
        except OSError as error:
            raise not_written(self.path, error) from error
        self.lines[line.key] = line

    def given(self, case: str, condition: str) -> Sequence[Given]:
        """Answers of a dialogue under a condition; none where it wasn't asked or failed."""
        line = self.lines.get(f"{case} {condition}")
        return line.given if line is not None else ()

    def _read(self) -> Iterator[Line]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ArtifactError(
                f"{self.path} can't be read ({error.strerror})", hint="Check its permissions"
            ) from error
        for number, raw in enumerate(content.splitlines(keepends=True), start=1):
            try:
                if not raw.endswith(b"\n"):
                    raise ValueError("it has no end")
                line = Line.parse(raw)
            except (ValueError, KeyError, TypeError) as error:
                if self._sound + len(raw) == len(content):
                    return
                raise ArtifactError(
                    f"{self.path} line {number} is broken ({error})",
                    hint="Restore the file, or start again in another folder",
                ) from error
            self._sound += len(raw)
            yield line


def _private(path: str, flags: int) -> int:
    """Answers may hold what was seen on somebody's slide."""
    return os.open(path, flags, 0o600)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
