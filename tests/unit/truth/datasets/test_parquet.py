"""PathVQA as it is published: pictures and questions in one Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ruichat.errors import ConfigError, InputError
from ruichat.truth.datasets.check import check_file
from ruichat.truth.datasets.convert import convert
from ruichat.truth.datasets.store import DialogueFile

arrow: Any = pytest.importorskip("pyarrow")
tables: Any = pytest.importorskip("pyarrow.parquet")

PNG, JPG = b"\x89PNG one", b"\xff\xd8\xff two"


def write(path: Path, pictures: list[bytes]) -> Path:
    rows = {
        "image": [{"bytes": data, "path": None} for data in pictures],
        "question": ["is a nerve present?"] * len(pictures),
        "answer": ["yes"] * len(pictures),
    }
    tables.write_table(arrow.table(rows), path)
    return path


def test_pictures_are_written_once_and_named(tmp_path: Path) -> None:
    path = write(tmp_path / "train-00000-of-00001.parquet", [PNG, PNG, JPG] * 20)
    report = check_file(path)
    assert (report.format, report.num_records, report.findings) == ("pathvqa", 60, [])
    done = convert([path], tmp_path / "x.jsonl", pictures=tmp_path / "pictures")
    data = DialogueFile(done.path)
    written = {one.name: one.read_bytes() for one in (tmp_path / "pictures").iterdir()}
    assert sorted(written.values()) == [PNG, JPG]
    assert [written[data[at].tiles[0]] for at in range(3)] == [PNG, PNG, JPG]


def test_what_is_no_picture_is_a_finding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [PNG, b"text"])
    (finding,) = check_file(path).findings
    assert (finding.field, finding.record, finding.code) == ("image", 2, "no_subject")


def test_a_table_without_pictures_needs_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "reports.parquet"
    tables.write_table(arrow.table({"slide": ["S1"], "report": ["Margins are free."]}), path)
    done = convert([path], tmp_path / "x.jsonl")
    assert DialogueFile(done.path)[0].turns[1].text == "Margins are free."


def test_pictures_need_a_folder_and_a_sound_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [PNG])
    with pytest.raises(ConfigError, match=r"a\.parquet holds pictures"):
        convert([path], tmp_path / "x.jsonl")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="no sound Parquet file"):
        check_file(path)


def test_a_text_that_is_none_is_named_by_its_row(tmp_path: Path) -> None:
    texts = arrow.array([b"Free.", b"\xff\xfe"]).view(arrow.string())
    path = tmp_path / "reports.parquet"
    tables.write_table(arrow.table({"slide": ["S1", "S2"], "report": texts}), path)
    with pytest.raises(InputError, match="row 2 holds what can't be read"):
        check_file(path)
