"""Splits by patient: complete, disjoint, and not moved by whoever comes later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published.dialogues import PUBLISHED, lines

from ruichat.errors import ArtifactError, ConfigError
from ruichat.truth.datasets.check import BrokenRecordsError, EmptySplitError
from ruichat.truth.datasets.patients import Patients, UnknownPatientError
from ruichat.truth.datasets.source import file_digest
from ruichat.truth.datasets.splits import Shares, split

NAMES = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=30, unique=True)
WEIGHTS = st.lists(st.integers(1, 9), min_size=2, max_size=4)


def shares_of(weights: list[int]) -> Shares:
    return Shares({f"part{at}": weight / sum(weights) for at, weight in enumerate(weights)})


@given(patients=NAMES, weights=WEIGHTS, seed=st.integers(0, 99))
def test_every_patient_has_one_part_for_good(
    patients: list[str], weights: list[int], seed: int
) -> None:
    shares = shares_of(weights)
    parts = {patient: shares.part(patient, seed) for patient in patients}
    assert set(parts.values()) <= set(shares.of)
    # Neither order nor company, case or space around the name matters.
    for patient in reversed(patients):
        assert shares.part(f" {patient.casefold()} ", seed) == parts[patient]


@given(weights=WEIGHTS, seed=st.integers(0, 9))
@settings(max_examples=10)
def test_shares_are_kept(weights: list[int], seed: int) -> None:
    shares = shares_of(weights)
    dealt = [shares.part(f"P{number}", seed) for number in range(2000)]
    for name, share in shares.of.items():
        # Five standard deviations.
        assert abs(dealt.count(name) / 2000 - share) < 5 * (share * (1 - share) / 2000) ** 0.5


@pytest.mark.parametrize(
    "text", ["train=1", "train=0.8,test=0.3", "train=0.8,train=0.2", "a=1,b=0", "a:1", "", "../x=1"]
)
def test_shares_that_cannot_be_right(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Shares.parse(text)
    assert "train=0.8" in caught.value.hint


def wsi_vqa(path: Path, num: int) -> Path:
    records = [
        {"Id": f"TCGA-AA-{1000 + at // 2}", "Question": f"question {at}?", "Answer": "ductal"}
        for at in range(num)
    ]
    path.write_text(lines(records))
    return path


HALVES = Shares({"train": 0.5, "test": 0.5})


def test_parts_are_files_with_manifests(tmp_path: Path) -> None:
    source = wsi_vqa(tmp_path / "set.jsonl", 40)
    done = split([source], tmp_path / "parts", HALVES, seed=3)
    held: dict[str, set[str]] = {}
    for name, path in done.paths.items():
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert {record["split"] for record in records} == {name}
        held[name] = {record["patient"] for record in records}
        manifest = json.loads((tmp_path / "parts" / f"{name}.jsonl.manifest.json").read_text())
        assert manifest["sha256"] == file_digest(path)
        assert manifest["details"]["num_dialogues"] == len(records) == done.dialogues[name]
        assert len(held[name]) == done.patients[name]
        assert path.stat().st_mode & 0o077 == 0
    assert not held["train"] & held["test"] and len(held["train"] | held["test"]) == 20
    assert sum(done.dialogues.values()) == 40
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {
        f"{name}.jsonl{end}" for name in HALVES.of for end in ("", ".manifest.json")
    }


def test_a_split_is_whole_or_not_at_all(tmp_path: Path) -> None:
    one = wsi_vqa(tmp_path / "one.jsonl", 2)
    out = tmp_path / "parts"
    with pytest.raises(EmptySplitError, match="is empty: none of 1 patients"):
        split([one], out, HALVES)
    assert not list(out.iterdir())
    broken = tmp_path / "broken.jsonl"
    broken.write_text(one.read_text() + '{"Id": "TCGA-AA-1000", "Question": "?", "Answer": ""}\n')
    with pytest.raises(BrokenRecordsError, match="line 3, record 3, Answer: it is empty"):
        split([broken], out, HALVES)
    assert not list(out.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="can't be written"):
        split([one], tmp_path / "file", HALVES)


def test_without_patients_there_is_no_split(tmp_path: Path) -> None:
    file, text = PUBLISHED["pathvqa"]
    (tmp_path / file).write_text(text)
    with pytest.raises(UnknownPatientError, match=r"pathvqa\.json line 1, record 1: it can't"):
        split([tmp_path / file], tmp_path / "parts", HALVES)
    with pytest.raises(ConfigError, match="can't be unknown"):
        split([tmp_path / file], tmp_path / "parts", HALVES, patients=Patients("unknown"))
