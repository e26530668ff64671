"""JSON records of a long file, cut out one by one before any of them is parsed.

A file is never parsed as a whole: what is broken in one record leaves the others readable, and
memory holds one record.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from ruichat.truth.datasets.finding import Wrong
from ruichat.truth.datasets.source import PARTS, Raw, Unreadable

MAX_RECORD_CHARS = 1 << 24
"""Longest record; the longest of WSI-Bench and WSI-VQA has 2,006."""

_BLOCK = 1 << 18

_PARTS_OPEN = re.compile(rb'\{\s*"(?:%s)"\s*:\s*\[' % "|".join(PARTS).encode())
_KEY = re.compile(r'\s*,?\s*"([^"\\\n]{1,40})"\s*:\s*\[')
# A whole string, the beginning of one whose end isn't read yet, or a bracket.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|"|[{}\[\]]', re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n]*")
_SCALAR_ENDS = re.compile(r"[,\]]")


def opens_parts(start: bytes) -> bool:
    """Whether a file begins as an object of lists does."""
    return _PARTS_OPEN.match(start) is not None


def parse_record(text: str) -> dict[str, Any]:
    """One JSON object.

    Raises:
        Wrong: it isn't one, or holds what JSON doesn't know or says a field twice.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twice)
    except json.JSONDecodeError as error:
        raise Wrong(
            "", "bad_json", f"not JSON: {error.msg} (character {error.pos})", "Correct the record"
        ) from None
    except RecursionError:
        message = "lists and objects lie too deep in each other"
        raise Wrong("", "too_deep", message, "Flatten the record") from None
    except Wrong:
        raise
    except ValueError as error:
        raise Wrong("", "bad_number", f"not a number ({error})", "Correct the number") from None
    if not isinstance(value, dict):
        raise _not_an_object()
    return value


def read_lines(file: io.RawIOBase) -> Iterator[Raw | Unreadable]:
    """Objects one to a line; empty lines don't count."""
    lines = io.BufferedReader(file, _BLOCK)
    line = record = 0
    while block := lines.readline(MAX_RECORD_CHARS):
        line += 1
        if len(block) == MAX_RECORD_CHARS and not block.endswith(b"\n"):
            yield Unreadable(_endless(), record + 1, line)
            return
        text = block.decode("utf-8-sig" if line == 1 else "utf-8", "surrogateescape").strip()
        if text:
            record += 1
            yield _parsed(text, record, line)


def read_list(file: io.RawIOBase) -> Iterator[Raw | Unreadable]:
    """Records of one list."""
    window = _Window(file)
    window.skip_space()
    window.take(1)
    yield from _items(window, 0, "")
    yield from _nothing_more(window)


def read_parts(file: io.RawIOBase) -> Iterator[Raw | Unreadable]:
    """Records of an object's lists, one list after the other, numbered through."""
    window = _Window(file)
    window.skip_space()
    window.take(1)
    record = 0
    while True:
        window.fill(256)
        key = _KEY.match(window.text, window.at)
        if key is None:
            break
        window.take(len(key[0]))
        for item in _items(window, record, key[1]):
            record = item.record
            yield item
    first = window.skip_space()
    if first == "}":
        window.take(1)
        yield from _nothing_more(window)
    elif first or not record:
        message = f"a list named one of {', '.join(PARTS)} is wanted here"
        yield Unreadable(Wrong("", "bad_json", message, "Correct the file"), 0, window.line)


class _Window:
    """The part of a file's text that is looked at, from `at` on, and the line where that begins."""

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = io.BufferedReader(file, _BLOCK)
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
        self._ended = False
        self.text = ""
        self.at = 0
        self.line = 1

    def __len__(self) -> int:
        return len(self.text) - self.at

    def more(self) -> bool:
        """Read on, in steps that grow with the text so that long records cost linear time.

        The text then begins at what was `at`.
        """
        if self._ended:
            return False
        block = self._file.read(max(_BLOCK, len(self)))
        self._ended = not block
        self.text = self.text[self.at :] + self._decode(block, not block)
        self.at = 0
        return not self._ended

    def stop(self) -> None:
        """Leave the rest unread."""
        self.text, self.at, self._ended = "", 0, True

    def fill(self, num_chars: int) -> None:
        """Read on until that much is there, or all."""
        while len(self) < num_chars and self.more():
            pass

    def take(self, num_chars: int) -> str:
        """Go on by that much and return it."""
        taken = self.text[self.at : self.at + num_chars]
        self.at += len(taken)
        self.line += taken.count("\n")
        return taken

    def skip_space(self) -> str:
        """Go to the next character that says something, and return it; "" at the end."""
        while True:
            space = _SPACE.match(self.text, self.at)
            assert space is not None
            self.take(len(space[0]))
            if len(self) or not self.more():
                return self.text[self.at : self.at + 1]


def _items(window: _Window, record: int, part: str) -> Iterator[Raw | Unreadable]:
    """Records of a list whose bracket has been taken, up to and with the closing one."""
    wants_comma = False
    while True:
        first = window.skip_space()
        if first == "":
            yield Unreadable(_cut_off(), record + 1, window.line)
            return
        if first == "]":
            window.take(1)
            return
        if wants_comma and first != ",":
            message = f"a comma is wanted between records, found {first!r}"
            yield Unreadable(Wrong("", "bad_json", message, "Add it"), record + 1, window.line)
        elif wants_comma:
            window.take(1)
            first = window.skip_space()
        wants_comma = True
        record += 1
        line = window.line
        length = _nested_length(window) if first in '{["' else _scalar_length(window)
        if length is None:
            wrong = _endless() if len(window) >= MAX_RECORD_CHARS else _cut_off()
            window.stop()
            yield Unreadable(wrong, record, line)
            return
        yield _parsed(window.take(length), record, line, part)


def _nested_length(window: _Window) -> int | None:
    """Characters of the object, list or string that the window begins with; None without end."""
    depth = seen = 0
    while True:
        token = _TOKEN.search(window.text, window.at + seen)
        if token is None or token[0] == '"':
            # A string that isn't closed yet is looked at again from its beginning.
            seen = len(window) if token is None else token.start() - window.at
            if len(window) >= MAX_RECORD_CHARS or not window.more():
                return None
            continue
        seen = token.end() - window.at
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth == 0:
            return seen


def _scalar_length(window: _Window) -> int | None:
    """Characters of a number or a word: up to the next comma or closing bracket."""
    seen = 0
    while (found := _SCALAR_ENDS.search(window.text, window.at + seen)) is None:
        seen = len(window)
        if seen >= MAX_RECORD_CHARS or not window.more():
            return None
    return found.start() - window.at


def _parsed(text: str, record: int, line: int, part: str = "") -> Raw | Unreadable:
    try:
        return Raw(parse_record(text), record, line, part)
    except Wrong as wrong:
        return Unreadable(wrong, record, line)


def _nothing_more(window: _Window) -> Iterator[Unreadable]:
    if window.skip_space():
        wrong = Wrong("", "bad_json", "text follows the end of the list", "Remove it")
        yield Unreadable(wrong, 0, window.line)


def _no_constant(name: str) -> Any:
    raise Wrong("", "bad_number", f"{name} isn't a number of JSON", "Write null or a number")


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Wrong(twice[:40], "field_twice", "the field is there twice", "Keep one of them")
    return value


def _not_an_object() -> Wrong:
    return Wrong("", "not_a_record", "not an object of fields", "Write {...} with its fields")


def _endless() -> Wrong:
    message = f"the record doesn't end within {MAX_RECORD_CHARS:,} characters"
    return Wrong("", "too_long", message, "A quote or bracket may be missing; the rest is unread")


def _cut_off() -> Wrong:
    return Wrong("", "cut_off", "the file ends inside the list", "Fetch or write it again")
