"""`align data`: findings with exit code 4, files of ours with a manifest, JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from published.dialogues import PUBLISHED, lines, wsi_vqa
from typer.testing import CliRunner

from ruichat.cli import data as data_cli
from ruichat.errors import ConfigError, InputError
from ruichat.truth.datasets.check import BrokenRecordsError, EmptySplitError
from ruichat.truth.datasets.overlap import OverlapError
from ruichat.truth.datasets.source import file_digest


def invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(data_cli.app, [str(part) for part in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.jsonl"
    path.write_text(lines(wsi_vqa()))
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.jsonl"
    first, second = wsi_vqa()
    path.write_text(lines([first, {**first, "Answer": "grade \x1b[31m9"}, second]))
    return path


def test_what_is_wrong_is_listed(good: Path, broken: Path) -> None:
    code, out = invoke("check", good)
    assert code == 0
    assert out == (f"good.jsonl: 2 records of wsi-vqa, 0 broken; sha256 {file_digest(good)}\n")
    code, out = invoke("check", good, broken)
    assert code == 4
    assert "error: broken.jsonl line 2, record 2, Answer: the answer 'grade" in out
    assert "take the record out" in out and "\x1b" not in out
    code, out = invoke("check", broken, "--limit", "0")
    assert "1 more findings (--limit, --json); in all: answer_not_option 1" in out


def test_json_has_every_field(broken: Path) -> None:
    code, out = invoke("check", broken, "--json")
    report = json.loads(out)
    assert (code, report["records"], report["broken"]) == (4, 3, 1)
    (finding,) = report["findings"]
    assert (finding["line"], finding["field"], finding["code"]) == (
        2,
        "Answer",
        "answer_not_option",
    )
    code, out = invoke("formats", "--json")
    assert {card["name"] for card in json.loads(out)} == {*PUBLISHED, "ruichat"}
    assert invoke("formats")[1].count("\n") == len(PUBLISHED) + 1


def test_conversion_is_whole_or_not_at_all(good: Path, broken: Path, tmp_path: Path) -> None:
    out = tmp_path / "train.jsonl"
    with pytest.raises(
        BrokenRecordsError, match=r"broken\.jsonl line 2, record 2, Answer"
    ) as caught:
        invoke("convert", good, broken, "--out", out)
    assert "align data check" in caught.value.hint
    assert not out.exists() and not list(tmp_path.glob("*.manifest.json"))
    code, text = invoke("convert", good, broken, "--out", out, "--leave-out-broken")
    assert (code, text) == (0, f"4 dialogues in {out}; 1 records left out\n")
    manifest = json.loads((tmp_path / "train.jsonl.manifest.json").read_text())
    assert manifest["sha256"] == file_digest(out)
    assert manifest["made_from"]["broken.jsonl"] == file_digest(broken)
    assert manifest["details"]["left_out"] == {"good.jsonl": 0, "broken.jsonl": 1}
    code, text = invoke("check", out)
    assert text.startswith("train.jsonl: 4 records of ruichat, 0 broken")


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_set_converts(name: str, tmp_path: Path) -> None:
    file, text = PUBLISHED[name]
    (tmp_path / file).write_text(text)
    code, out = invoke("convert", tmp_path / file, "--out", tmp_path / "x.jsonl", "--json")
    summary = json.loads(out)
    assert (code, summary["left_out"]) == (0, 0)
    known = name not in ("pathvqa", "quilt-instruct", "quilt-vqa", "multipathqa")
    assert (summary["without_patient"] == 0) == known
    assert invoke("check", tmp_path / "x.jsonl")[0] == 0


def test_what_cannot_be_meant_is_refused(good: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pinned is 00ff: it is another version"):
        invoke("check", good, "--sha256", "00FF")
    invoke("check", good, "--sha256", file_digest(good).upper())
    with pytest.raises(ConfigError, match="unknown dialogue format 'slidebensh'") as caught:
        invoke("check", good, "--format", "slidebensh")
    assert "slidebench" in caught.value.hint
    with pytest.raises(ConfigError, match=r"must end in \.jsonl"):
        invoke("convert", good, "--out", tmp_path / "train.json")
    (tmp_path / "more").mkdir()
    again = tmp_path / "more" / good.name
    again.write_bytes(good.read_bytes())
    for command in ("convert", "split"):
        with pytest.raises(ConfigError, match=r"two files are called good\.jsonl"):
            invoke(command, good, again, "--out", tmp_path / "both.jsonl")
    with pytest.raises(ConfigError, match="one of the files to read"):
        invoke("convert", good, "--out", good)
    with pytest.raises(ConfigError, match="unknown rule for patients 'barcode'"):
        invoke("check", good, "--patients", "barcode")
    empty = tmp_path / "empty.json"
    empty.write_text("[]")
    assert invoke("check", empty, "--format", "wsi-vqa")[0] == 4
    with pytest.raises(EmptySplitError, match="no dialogue of 1 files"):
        invoke("convert", empty, "--format", "wsi-vqa", "--out", tmp_path / "x.jsonl")


def test_patients_come_from_a_table(tmp_path: Path) -> None:
    file, text = PUBLISHED["pathvqa"]
    (tmp_path / file).write_text(text)
    table = tmp_path / "patients.csv"
    table.write_text("\ufeffslide,patient\r\ntrain_0422.jpg,P1\r\n")
    out = tmp_path / "x.jsonl"
    code, said = invoke("convert", tmp_path / file, "--out", out, "--patients", table)
    assert code == 0 and "isn't known" not in said
    assert {json.loads(line)["patient"] for line in out.read_text().splitlines()} == {"P1"}
    for rows, message in (
        ("slide,person\na,b\n", "has columns slide, person"),
        ("slide,patient\na,b\na,c\n", "line 3 gives a slide another patient"),
        ("slide,patient\na,\n", "line 2 names no patient"),
    ):
        table.write_text(rows)
        with pytest.raises(InputError, match=message):
            invoke("check", tmp_path / file, "--patients", table)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are UTF-8 here")
def test_names_of_files_need_not_be_utf8(good: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd\xff.jsonl")
    odd.write_bytes(good.read_bytes())
    code, _ = invoke("convert", good, odd, "--out", tmp_path / "x.jsonl")
    ids = [json.loads(line)["id"] for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert code == 0 and len(set(ids)) == 4 and ids[2].startswith("odd\\udcff")
    assert invoke("check", odd, "--json")[0] == 0
    out = tmp_path / "parts"
    with pytest.raises(EmptySplitError):
        invoke("split", odd, "--out", out)


def test_splits_and_overlaps(tmp_path: Path) -> None:
    records = [
        {"Id": f"TCGA-AA-{1000 + at}", "Question": f"which grade is slide {at}?", "Answer": "two"}
        for at in range(30)
    ]
    source = tmp_path / "set.jsonl"
    source.write_text(lines(records))
    parts = tmp_path / "parts"
    code, out = invoke("split", source, "--out", parts, "--parts", "train=0.7,test=0.3")
    assert code == 0
    (train, test) = out.splitlines()
    assert train.startswith("train: ") and test.endswith("test.jsonl")
    code, out = invoke("overlap", parts / "train.jsonl", "--with", parts / "test.jsonl", "--json")
    found = json.loads(out)
    assert (code, found["overlapping"], found["train"] + found["evaluation"]) == (0, 0, 30)
    with pytest.raises(OverlapError, match="sharing patient"):
        invoke("overlap", source, "--with", parts / "test.jsonl")
    clean = tmp_path / "clean.jsonl"
    code, out = invoke("overlap", source, "--with", parts / "test.jsonl", "--out", clean)
    assert code == 0 and f"{found['train']} dialogues in {clean}" in out
    assert invoke("overlap", clean, "--with", parts / "test.jsonl")[0] == 0
    manifest = json.loads((tmp_path / "clean.jsonl.manifest.json").read_text())
    assert manifest["details"]["num_overlapping"] == found["evaluation"]


def test_data_is_prepared_from_a_config(good: Path, broken: Path, tmp_path: Path) -> None:
    config = tmp_path / "data.yaml"
    config.write_text("train:\n  - file: good.jsonl\n")
    code, out = invoke("prepare", config, "--out", tmp_path / "out", "--json")
    (row,) = json.loads(out)
    assert (code, row["dialogues"]) == (0, 2)
    assert row["sha256"] == file_digest(tmp_path / "out" / "00.jsonl")
    pinned = f"evaluation:\n  - {{file: good.jsonl, sha256: {file_digest(good)}}}\n"
    config.write_text(config.read_text() + pinned)
    with pytest.raises(OverlapError, match="sharing patient 2"):
        invoke("prepare", config, "--out", tmp_path / "out")
    config.write_text("train:\n  - file: broken.jsonl\n")
    with pytest.raises(BrokenRecordsError, match=r"broken\.jsonl line 2, record 2, Answer"):
        invoke("prepare", config, "--out", tmp_path / "out")


def test_bags_are_looked_for(good: Path, tmp_path: Path) -> None:
    (tmp_path / "bags").mkdir()
    code, out = invoke("check", good, "--bags", tmp_path / "bags")
    assert code == 0 and out.count("no bag of any slide of the patient was found") == 2
