"""Everything that can be known before the first step, and files read by number."""

from __future__ import annotations

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from published.dialogues import PUBLISHED, SLIDE, lines, wsi_bench

from ruichat.errors import ArtifactError, ConfigError, InputError
from ruichat.truth.datasets.check import BrokenRecordsError, EmptySplitError
from ruichat.truth.datasets.convert import convert
from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.truth.datasets.overlap import OverlapError
from ruichat.truth.datasets.prepare import DataConfig, MissingBagsError, prepare
from ruichat.truth.datasets.source import file_digest
from ruichat.truth.datasets.store import DialogueFile


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """WSI-Bench to train on, WSI-VQA to be scored on, and a folder of bags."""
    for name in ("wsi-bench", "wsi-vqa"):
        file, text = PUBLISHED[name]
        (tmp_path / file).write_text(text)
    (tmp_path / "bags").mkdir()
    (tmp_path / "bags" / f"{SLIDE}.pt").write_text("")
    return tmp_path


def config(root: Path, **changes: Any) -> DataConfig:
    held = {"file": "WsiVQA_train.json", "sha256": file_digest(root / "WsiVQA_train.json")}
    values = {
        "train": [{"file": "Grading_train.json"}],
        "evaluation": [held],
        "bags": ["bags"],
    } | changes
    return DataConfig.checked(values, source="the test")


def test_sound_data_is_converted(root: Path) -> None:
    (data,) = prepare(config(root), root, root / "out")
    assert [one.slides for one in data] == [(SLIDE,)] * 2
    assert data.path == root / "out" / "00.jsonl"
    # Messages name the file that was given, and the line that the record begins in.
    text = (root / "Grading_train.json").read_text()
    begins = [text[: text.index(f'"id": "{one.id}"')].count("\n") + 1 for one in data]
    assert [data.place(at) for at in (0, 1)] == [f"Grading_train.json line {n}" for n in begins]
    (root / "out" / "00.jsonl.lines.npy").write_bytes(b"")
    assert DialogueFile(data.path).place(1) == "00.jsonl dialogue 2"


def test_data_that_cannot_be_trained_on_is_refused_before_the_first_step(root: Path) -> None:
    (root / "bags" / f"{SLIDE}.pt").rename(root / "bags" / "other.pt")
    with pytest.raises(
        MissingBagsError, match=r"2 dialogues of Grading_train\.json have no bag"
    ) as caught:
        prepare(config(root), root, root / "out")
    assert SLIDE not in caught.value.message and SLIDE in caught.value.findings[0].message
    leak = [{**one, "id": "TCGA-LD-A74U", "image": "x/TCGA-LD-A74U-01Z.pt"} for one in wsi_bench()]
    (root / "Grading_train.json").write_text(json.dumps(leak))
    with pytest.raises(OverlapError, match=r"Grading_train\.json line 1, record 1 and WsiVQA"):
        prepare(config(root, bags=[]), root, root / "out")
    (root / "Grading_train.json").write_text(json.dumps([{**wsi_bench()[0], "conversations": []}]))
    with pytest.raises(BrokenRecordsError, match="line 1, record 1, conversations"):
        prepare(config(root), root, root / "out")
    (root / "Grading_train.json").write_text("[]")
    with pytest.raises(EmptySplitError, match=r"Grading_train\.json holds no dialogues"):
        prepare(
            config(root, train=[{"file": "Grading_train.json", "format": "wsi-bench"}]),
            root,
            root / "out",
        )
    assert not (root / "out").exists()


def test_the_version_of_an_evaluation_is_pinned(root: Path) -> None:
    with pytest.raises(ConfigError, match="sha256"):
        config(root, evaluation=[{"file": "WsiVQA_train.json"}])
    pinned = config(root)
    file, text = PUBLISHED["wsi-vqa"]
    (root / file).write_text(text.replace("ductal", "lobular"))
    with pytest.raises(InputError, match="another version of the set"):
        prepare(pinned, root, root / "out")


@given(
    texts=st.lists(st.text("ab 肿\n", min_size=1, max_size=30).map(lambda s: f"x{s}"), min_size=1),
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\n\n", "\r\n\r\n"]), min_size=1),
    last=st.booleans(),
)
def test_any_line_is_found_by_its_number(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], ends: list[str], last: bool
) -> None:
    path = tmp_path_factory.mktemp("set") / "set.jsonl"
    said = ""
    for at, text in enumerate(texts):
        turns = [{"role": "user", "text": text}, {"role": "assistant", "text": "a"}]
        record = {"format": "ruichat-dialogue-1", "id": f"{at}", "slides": ["s"], "turns": turns}
        end = ends[at % len(ends)] if last or at + 1 < len(texts) else ""
        said += json.dumps(record, ensure_ascii=False) + end
    path.write_bytes(b"\xef\xbb\xbf" + said.encode())
    data = DialogueFile(path)
    assert len(data) == len(texts)
    assert [one.turns[0].text for one in data] == texts
    assert data[-1] == data[len(texts) - 1] and data[: len(texts)] == list(data)
    with pytest.raises(IndexError):
        data[len(texts)]


def test_threads_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    dialogues = [
        Dialogue.model_validate(
            {
                "id": f"d{i}",
                "slides": ["a"],
                "turns": [
                    {"role": "user", "text": "What?"},
                    {"role": "assistant", "text": "x" * (1 + 37 * i % 900)},
                ],
            }
        )
        for i in range(60)
    ]
    path.write_bytes(b"".join(dialogue.to_line() for dialogue in dialogues))
    data = DialogueFile(path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(data.__getitem__, [i % 60 for i in range(600)]))
    assert [dialogue.id for dialogue in found] == [f"d{i % 60}" for i in range(600)]


def test_processes_share_a_file(root: Path) -> None:
    done = convert([root / "Grading_train.json"], root / "x.jsonl")
    data = DialogueFile(done.path)
    first = data[0]
    copy: DialogueFile = pickle.loads(pickle.dumps(data))
    assert (copy[1], copy.sha256) == (data[1], data.sha256)
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, data[1].id.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 999).decode() == data[1].id and data[0] == first


def test_files_that_changed_or_broke_are_refused(root: Path) -> None:
    done = convert([root / "Grading_train.json"], root / "x.jsonl")
    with done.path.open("a") as file:
        file.write('{"format": "ruichat-dialogue-1"}\n')
    with pytest.raises(ArtifactError, match=r"x\.jsonl has changed since x\.jsonl\.manifest"):
        DialogueFile(done.path)
    done.path.with_name("x.jsonl.manifest.json").unlink()
    with pytest.raises(InputError, match=r"x\.jsonl dialogue 3, id: the field is missing"):
        DialogueFile(done.path)[2]
    done.path.write_bytes(b"\n\r\n")
    with pytest.raises(EmptySplitError):
        DialogueFile(done.path)
    done.path.write_text(lines([{"a": 1}]).replace("}", ""))
    with pytest.raises(InputError, match="not JSON"):
        DialogueFile(done.path)[0]
