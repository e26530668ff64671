"""Records out of files that are long, odd, broken or hostile."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.errors import InputError
from ruichat.truth.datasets import json_stream
from ruichat.truth.datasets.source import Raw, Unreadable, read_raw

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.lists(st.dictionaries(st.text(max_size=8), JSON, max_size=4), max_size=6)


class Dripping(io.RawIOBase):
    """A file that gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._file, self._step = io.BytesIO(data), step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        block = self._file.read(min(self._step, len(buffer)))
        buffer[: len(block)] = block
        return len(block)


@given(
    records=RECORDS,
    indent=st.sampled_from([None, 0, 2]),
    ascii_only=st.booleans(),
    block=st.integers(1, 9),
)
@settings(max_examples=40)
def test_a_list_gives_what_json_gives(
    records: list[dict[str, Any]], indent: int | None, ascii_only: bool, block: int
) -> None:
    text = json.dumps(records, indent=indent, ensure_ascii=ascii_only)
    data = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode("utf-8", "surrogatepass")
    data = data.decode("utf-8", "replace").encode()
    wanted = json.loads(data.decode("utf-8-sig"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_BLOCK", block)
        found = list(json_stream.read_list(Dripping(data, block)))
    assert [item.value for item in found if isinstance(item, Raw)] == wanted
    assert [item.record for item in found] == list(range(1, len(wanted) + 1))


def test_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_bytes(b'\xef\xbb\xbf[\r\n {"a": 1},\r\n {"a":\r\n 2},\r\n\r\n {"a": 3}\r\n]\r\n')
    assert [(item.record, item.line) for item in read_raw(path)] == [(1, 2), (2, 3), (3, 6)]
    path.write_bytes(b'{"a": 1}\r\n\r\n{"a": 2}\n')
    assert [(item.record, item.line) for item in read_raw(path)] == [(1, 1), (2, 3)]
    path.write_text('{"train": [{"a": 1}],\n "test": [\n{"a": 2}]}')
    assert [(item.line, item.part) for item in read_raw(path) if isinstance(item, Raw)] == [
        (1, "train"),
        (3, "test"),
    ]
    table = tmp_path / "set.csv"
    table.write_bytes(b'\xef\xbb\xbfa,b\r\n"1\n2",x\r\n3,y\r\n')
    assert [(item.line, item.value) for item in read_raw(table) if isinstance(item, Raw)] == [
        (2, {"a": "1\n2", "b": "x"}),
        (4, {"a": "3", "b": "y"}),
    ]


GOOD = b'{"a": 1}'

HOSTILE: list[tuple[bytes, str]] = [
    (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
    (b'{"a": ' + b"9" * 5000 + b"}", "bad_number"),
    (b'{"a": NaN}', "bad_number"),
    (b'{"a": Infinity}', "bad_number"),
    (b'{"a": "x\x00y"}', "bad_json"),
    (b'{"a": "x\ny"}', "bad_json"),
    (b'{"a": 1, "a": 2}', "field_twice"),
    (b'{"a" 1}', "bad_json"),
    (b'{"a": [1}', "bad_json"),
    (b'"text"', "not_a_record"),
    (b'"te],[\\"xt"', "not_a_record"),
    (b'[[], {"a": "]"}]', "not_a_record"),
    (b"17", "not_a_record"),
]


@pytest.mark.parametrize(("broken", "code"), HOSTILE)
def test_a_broken_record_leaves_the_others_readable(
    tmp_path: Path, broken: bytes, code: str
) -> None:
    path = tmp_path / "set.json"
    path.write_bytes(b"[" + GOOD + b",\n" + broken + b",\n" + GOOD + b"]")
    items = list(read_raw(path))
    if code == "bad_json" and b"[1}" in broken:
        # Brackets that don't match hide where the record ends.
        assert isinstance(items[1], Unreadable)
        return
    first, second, third = items
    assert isinstance(first, Raw) and isinstance(third, Raw)
    assert isinstance(second, Unreadable)
    assert (second.wrong.code, second.record, second.line) == (code, 2, 2)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'[{"a": 1}, {"a": "unfini', "cut_off"),
        (b'[{"a": 1}, {"a": 2}', "cut_off"),
        (b'{"train": [{"a": 1}, {"a"', "cut_off"),
        (b'[{"a": 1} {"a": 2}]', "bad_json"),
        (b'[{"a": 1}] tail', "bad_json"),
        (b'{"train": [{"a": 1}], "other": 3}', "bad_json"),
    ],
)
def test_a_broken_file_says_so(tmp_path: Path, text: bytes, code: str) -> None:
    path = tmp_path / "set.json"
    path.write_bytes(text)
    items = list(read_raw(path))
    assert isinstance(items[0], Raw)
    assert [item.wrong.code for item in items if isinstance(item, Unreadable)] == [code]


def test_bytes_that_are_not_utf8_stay_visible(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes(b'{"a": "\xc4\xe3"}\n' + GOOD + b"\n")
    first, second = read_raw(path)
    assert isinstance(first, Raw) and "\udcc4" in first.value["a"]
    assert isinstance(second, Raw)


def test_rows_that_are_not_rows(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text('a,b\n1,2,3\n"x"y,2\n' + "z" * 1_000_000 + ",2\n5,6\n")
    codes = [item.wrong.code if isinstance(item, Unreadable) else "" for item in read_raw(path)]
    assert codes == ["bad_csv", "bad_csv", "too_long", ""]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.json", b"", "is empty"),
        ("a.json", b"\xef\xbb\xbf \n", "is empty"),
        ("a.json", "[1]".encode("utf-16"), "is UTF-16"),
        ("a.json", b"hello", "begins with neither"),
        ("a.pkl", b"\x80\x04", "is a pickle"),
        ("a.json", b"\x80\x04\x95", "is a pickle"),
        ("a.csv", b"a,a\n1,2\n", "'a' is there twice"),
    ],
)
def test_what_is_no_set_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        list(read_raw(path))
    assert caught.value.hint
    with pytest.raises(InputError, match="can't be read"):
        list(read_raw(tmp_path / "none.json"))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    record = json.dumps({"a": "x" * 30_000})
    path.write_text("[" + ",\n".join([record] * 300) + "]")
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_raw(path)) == 300
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 9_000_000 and peak < 4_000_000
