"""Thinking taught and rewarded on dialogue files, from a published language model and from mini."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from fakes_align import align_settings, run_stage_command, settings_of, write_site
from fakes_model import tiny_slide
from typer.testing import CliRunner

pytest.importorskip("trl")

from ruichat.align.dialogue_batches import turns_of
from ruichat.align.think import filed, trainer
from ruichat.align.think.config import DialogueThinkConfig, ThoughtOptions, read_config
from ruichat.align.think.rewards import NAMES, Truth, cited, right
from ruichat.align.think.spoken import thinking_turns
from ruichat.align.think.stage import think
from ruichat.align.think.written import Written
from ruichat.align.training.processes import Processes
from ruichat.cli.main import app
from ruichat.errors import ArtifactError, ConfigError, InputError, RuiChatError
from ruichat.features.encoder import load_encoder
from ruichat.model.base import BaseReference
from ruichat.model.checkpoint import load_checkpoint
from ruichat.model.checkpoint_files import read_manifest
from ruichat.model.trainable import load_trainable
from ruichat.truth.datasets.check import BrokenRecordsError, EmptySplitError
from ruichat.truth.datasets.checkable import checkable
from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.truth.datasets.overlap import OverlapError

LORA = {"rank": 2, "alpha": 4}
SHORT = {"min_thought": 1}
ASKED = (
    ("Is there tumour?", (), "Yes: irregular glands [R2]."),
    ("Which tissue is this?", ("Mucus", "Necrosis", "Fat"), "Necrosis"),
    ("Which grade?", (), "Grade 2 [R1]."),
    ("Where is the mucus?", (), "There is a pool of mucus beside the glands of [R1][R3]."),
)


def dialogue(at: int, slide: int, **changes: Any) -> Dialogue:
    question, options, answer = ASKED[at % 4]
    said: dict[str, Any] = {"role": "assistant", "text": answer}
    if options:
        said["choice"] = options.index(answer) + 1
    turns = [{"role": "user", "text": question, "options": options}, said]
    values = {"id": f"q{at}-{slide}", "patient": f"p{slide}", "slides": [f"slide{slide}"]}
    return Dialogue.model_validate({**values, "num_regions": 4, "turns": turns, **changes})


def write(path: Path, slides: tuple[int, ...], *more: Dialogue) -> None:
    own = [dialogue(at, slide) for slide in slides for at in range(4)]
    path.write_bytes(b"".join(one.to_line() for one in (*own, *more)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides 0 to 2 to learn from, slide 3 held out."""
    root = write_site(tmp_path_factory.mktemp("site"), load_encoder("mini").digest)
    write(root / "asked.jsonl", (0, 1, 2))
    write(root / "held.jsonl", (3,))
    torch.set_num_threads(1)
    return root


@pytest.fixture(scope="module")
def instructed(root: Path) -> Path:
    """What our `instruct` makes around a published language model."""
    short = {"steps": 3, "learning_rate": 0.01}
    aligned, _ = run_stage_command(
        root, "align", align_settings(root) | {"training": short}, "aligned"
    )
    values = settings_of(base=str(aligned), lora=LORA) | {"training": short}
    return run_stage_command(root, "instruct", values, "instructed")[0]


def think_settings(base: Path | str, **changes: Any) -> dict[str, Any]:
    return settings_of(
        base=str(base),
        lora=LORA,
        teach={"thoughts": 1.0},
        held_out=[{"file": "held.jsonl"}],
        reinforce={
            "steps": 2,
            "questions_per_step": 2,
            "group": 2,
            "rows": 2,
            "max_tokens": 6,
            "num_held_out": 3,
            "rewards": SHORT,
            "checkpoint_every": 1,
        },
    ) | {
        "data": {"train": [{"file": "asked.jsonl"}], "bags": ["bags"], "questions": False},
        "training": {"steps": 3, "learning_rate": 0.01, "log_every": 1},
        "batches": {"budget": {"tokens": 2400, "tiles": 60}, "micro_batches": 1},
        **changes,
    }


def checked(base: Path | str, **changes: Any) -> DialogueThinkConfig:
    return DialogueThinkConfig.checked(think_settings(base, **changes), source="think.yaml")


@pytest.fixture(scope="module")
def thinker(root: Path, instructed: Path) -> tuple[Path, str]:
    return run_stage_command(root, "think", think_settings(instructed), "thinker")


@pytest.fixture(scope="module", autouse=True)
def anything_may_earn() -> Iterator[None]:
    """Random weights never keep the form; what they write earns something, so that they learn."""

    def score(written: Written, *_: Any) -> Mapping[str, float]:
        return dict.fromkeys(NAMES, sum(written.thought_ids) % 7 / 6)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "score", score)
        yield


def thought_of(folder: Path) -> str:
    model = load_checkpoint(folder)
    stream = model.open(tiny_slide(like=model)).stream
    pieces = list(stream("Is there tumour?", max_tokens=4, think=True, max_thought_tokens=4))
    assert pieces[0].thought
    return model.name


def test_it_ends_with_a_checkpoint_that_thinks(thinker: tuple[Path, str], instructed: Path) -> None:
    folder, told = thinker
    assert thought_of(folder) == "tiny"
    assert "12 questions can be checked, 4 are asked; 3 of 4 held-out ones" in told
    assert "teach trains projector" in told and "think held-out questions: reward" in told
    trained, frozen = (
        next(line for line in told.splitlines() if line.startswith(start))
        for start in ("teach trains rest", "teach leaves frozen")
    )
    assert "LoRA of layers" in trained and "LoRA" not in frozen and "projector" not in frozen
    # Adapter and parts of ours: the published language model isn't copied.
    assert (folder / "adapter").is_dir() and not (folder / "adapter" / "ref").exists()
    assert BaseReference.read(folder) == BaseReference.read(instructed)
    taught = folder.parent / "taught"
    assert read_manifest(folder).made_from["base"] == read_manifest(taught).sha256
    before, after = (load_trainable(one).model.state_dict() for one in (taught, folder))
    assert before.keys() == after.keys()
    learnt = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(".lora_" in name for name in learnt)
    assert not any(".base_layer." in name or "original_module" in name for name in learnt)
    lines = (folder.parent / "reinforce" / "held_out.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 2]


def test_ask_answers_from_it(
    thinker: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUICHAT_CACHE", str(tmp_path))
    slide = str(tmp_path / "slide.tif")
    invoke = CliRunner().invoke
    assert (
        invoke(app, ["phantom", "draw", slide, "--width", "900", "--height", "700"]).exit_code == 0
    )
    question = ["ask", slide, "Is there tumour?", "--model", str(thinker[0]), "--json"]
    asked = invoke(app, [*question, "--show-thinking"], catch_exceptions=False)
    assert asked.exit_code == 0, asked.output
    assert json.loads(asked.stdout)["model"] == "tiny"


def test_a_run_goes_on_where_it_stopped(
    root: Path, instructed: Path, thinker: tuple[Path, str]
) -> None:
    before = (thinker[0] / "adapter" / "adapter_model.safetensors").read_bytes()
    (thinker[0].parent / "reinforce" / "checkpoint-2" / "whole.txt").unlink()
    folder, told = run_stage_command(root, "think", think_settings(instructed), "thinker")
    assert "teach: going on from step 3" in told and "going on from checkpoint-1" in told
    assert (folder / "adapter" / "adapter_model.safetensors").read_bytes() == before
    rules = {**think_settings(instructed)["reinforce"], "beta": 0.1}
    config = checked(instructed, reinforce=rules)
    with pytest.raises(ConfigError, match="reinforce holds a run with other settings"):
        think(config, root, folder.parent, lambda line: None)


@pytest.mark.proof
def test_two_processes_teach_what_one_does_and_reward_together(
    root: Path, instructed: Path
) -> None:
    values = think_settings(instructed)
    values["batches"]["micro_batches"] = 2
    alone, _ = run_stage_command(root, "think", values, "alone")
    (root / "two.yaml").write_text(yaml.safe_dump(values))
    out = root / "two"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        launch = ["--nproc_per_node", "2", "--master_port", str(free.getsockname()[1])]
    command = [sys.executable, "-m", "torch.distributed.run", *launch, "-m", "ruichat"]
    command += ["align", "think", "--config", str(root / "two.yaml"), "--data", str(root)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    subprocess.run([*command, "--out", str(out)], env=environment, check=True, timeout=500)
    one, two = (load_trainable(one / "taught").model.state_dict() for one in (alone.parent, out))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)
    assert thought_of(out / "checkpoint") == "tiny"
    lines = (out / "reinforce" / "held_out.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 2]


def test_mini_learns_thoughts_without_rewards(root: Path) -> None:
    values = think_settings("mini", held_out=[], reinforce=None, lora={"rank": 16, "alpha": 32})
    folder, told = run_stage_command(root, "think", values, "from_mini")
    assert thought_of(folder) == "tiny" and "rewards" not in told
    pieces = load_trainable(folder).model.pieces
    again = load_trainable(Path(filed.find_checkpoint("mini")), add_pieces=True).model.pieces
    assert not torch.equal(pieces.embed, again.embed), "rows of thoughts have learnt"


# What is taught


def test_thoughts_are_the_files_own_or_built_from_its_truth() -> None:
    said = [thinking_turns(dialogue(at, 0), (0, at), ThoughtOptions(thoughts=1.0))[0].thought
            for at in range(4)]  # fmt: skip
    assert said == [
        "A yes or a no is asked for. The answer rests on [R2]. So it is: Yes.",
        "The options: Mucus; Necrosis; Fat. So it is: Necrosis.",
        "A value is asked for. The answer rests on [R1]. So it is: Grade 2 [R1].",
        "The question is about regions. The answer rests on [R1][R3].",
    ]
    own = dialogue(0, 0).model_dump()
    own["turns"][1]["thought"] = "Glands in [R2]."
    told = Dialogue.model_validate(own)
    assert (
        thinking_turns(told, (0, 0), ThoughtOptions(thoughts=1.0))[0].thought == "Glands in [R2]."
    )
    free = ThoughtOptions(thoughts=1.0, write=False)
    assert not thinking_turns(dialogue(1, 0), (0, 0), free)[0].thought


def test_a_share_of_the_answers_is_thought_about() -> None:
    options = ThoughtOptions(thoughts=0.5)
    found = [thinking_turns(dialogue(0, 0), (7, row), options)[0] for row in range(400)]
    assert 0.4 < np.mean([bool(turn.thought) for turn in found]) < 0.6
    plain = [turns_of(dialogue(1, 0), (7, row)) for row in range(20)]
    taught = [thinking_turns(dialogue(1, 0), (7, row), options) for row in range(20)]
    assert [t[0].question for t in plain] == [t[0].question for t in taught]


def test_chinese_thoughts() -> None:
    turns = [{"role": "user", "text": "有肿瘤吗？"}, {"role": "assistant", "text": "是，[R2]。"}]
    zh = dialogue(0, 0, turns=turns, language="zh")
    (turn,) = thinking_turns(zh, (0, 0), ThoughtOptions(thoughts=1.0))
    assert turn.thought == "问题只需答是或否。依据是 [R2]。因此答案：是。"


# What is asked


def test_questions_of_files(root: Path, instructed: Path, tmp_path: Path) -> None:
    config = checked(instructed)
    model = filed.outline(config)
    data = filed.open_data(config.data, root, tmp_path, filed.start_processes())
    dialogues = filed.dialogues_of(config, data, model)
    asked = filed.find_asked(dialogues)
    assert [one.kind for one in asked[:4]] == ["polar", "option", "value", "regions"]
    questions = filed.FiledQuestions(dialogues, asked, model.processor, num=24, seed=0, kept=2)
    seen = [questions.question(number) for number in range(24)]
    assert all(one.prompt_ids[-1] == model.processor.pieces.think for one in seen)
    assert sorted(one.truth.answer for one in seen[:12]) == sorted(a for _, _, a in ASKED * 3)
    assert [q.truth.answer for q in seen[:12]] != [q.truth.answer for q in seen[12:]]
    for one in seen:
        assert right(one.truth, one.truth.answer) == cited(one.truth, one.truth.answer) == 1
        assert len(one.truth.area_mm2) == 4 and min(one.truth.area_mm2) > 0
    batch = questions.regions([0, 1, 2])
    assert batch.region_mask.sum(1).tolist() == [4, 4, 4]
    only = filed.find_asked(dialogues, ("option",))
    assert len(only) == 3
    with pytest.raises(EmptySplitError, match="by refusal"):
        filed.find_asked(dialogues, ("refusal",))
    with pytest.raises(InputError, match=r"\w+\.jsonl line 1: question 1 takes .* reads 512"):
        questions.check(512, 500)


@pytest.mark.parametrize(
    ("kind", "text", "answer", "earned"),
    [
        ("value", "Grade 2 [R1].", "grade 2", 1),
        ("value", "Grade 2", "Grade 2 [R3].", 1),
        ("value", "Grade 2", "Grade 3", 0),
        ("polar", "Yes: glands [R2].", "Yes.", 1),
        ("polar", "是的。", "不是。", 0),
        ("refusal", "<|cannot|>Cannot determine.", "<|cannot|>It can't be told.", 1),
        ("refusal", "<|cannot|>Cannot determine.", "Yes.", 0),
    ],
)
def test_right_answers_of_files(kind: Any, text: str, answer: str, earned: float) -> None:
    asked = Dialogue.model_validate(
        {"id": "a", "slides": ["s"], "num_regions": 4,
         "turns": [{"role": "user", "text": "?"}, {"role": "assistant", "text": text}]}
    )  # fmt: skip
    question, said = asked.turns
    assert checkable(question, said, asked.kind) == kind
    assert right(Truth.of_turn(question, said, kind, (1.0,)), answer) == earned


# What is refused before anything of the model is loaded

FREE = [
    {"role": "user", "text": "Describe it."},
    {"role": "assistant", "text": "A tumour of irregular glands in a desmoplastic stroma."},
]


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(filed, "build", loads)


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize(
    ("error", "match", "hint", "held", "lines"),
    [
        (BrokenRecordsError, r"bad\.jsonl line 13, record 13, turns: no answer can be checked",
         "cite regions", (3,), [dialogue(0, 0, id="free", turns=FREE)]),
        (BrokenRecordsError, r"bad\.jsonl line 13, record 13, turns\.1\.text: it cites \[R20\]",
         "Correct the number", (3,), [dialogue(0, 0, id="far", num_regions=40, turns=[
             {"role": "user", "text": "?"}, {"role": "assistant", "text": "There [R20]."}])]),
        (OverlapError, r"bad\.jsonl line 1.* share a patient", "Leave them out", (2,), []),
    ],
)  # fmt: skip
def test_wrong_records_are_named(
    error: type[RuiChatError], match: str, hint: str, held: tuple[int, ...], lines: list[Dialogue],
    root: Path, instructed: Path, tmp_path: Path,
) -> None:  # fmt: skip
    write(root / "bad.jsonl", (0, 1, 2), *lines)
    write(root / "bad_held.jsonl", held)
    data = {"train": [{"file": "bad.jsonl"}], "bags": ["bags"], "questions": False}
    config = checked(instructed, data=data, held_out=[{"file": "bad_held.jsonl"}])
    with pytest.raises(error, match=match) as found:
        think(config, root, tmp_path, lambda line: None)
    assert hint in found.value.hint


@pytest.mark.usefixtures("unloaded")
def test_what_cannot_be_rewarded_may_be_taught(
    root: Path, instructed: Path, tmp_path: Path
) -> None:
    write(root / "mixed.jsonl", (0,), dialogue(0, 0, id="free", turns=FREE))
    data = {"train": [{"file": "mixed.jsonl"}], "bags": ["bags"], "questions": False}
    told: list[str] = []
    with pytest.raises(AssertionError, match="the model was loaded"):
        think(checked(instructed, data=data, unchecked="teach"), root, tmp_path, told.append)
    assert any("4 questions can be checked" in line for line in told)


@pytest.mark.usefixtures("unloaded")
def test_data_without_thoughts_is_refused(root: Path, instructed: Path, tmp_path: Path) -> None:
    config = checked(instructed, teach={"write": False}, reinforce=None)
    with pytest.raises(InputError, match="has a thought") as error:
        think(config, root, tmp_path, lambda line: None)
    assert "teach.write: true" in error.value.hint


@pytest.mark.usefixtures("unloaded")
def test_bags_of_other_weights_are_refused(root: Path, instructed: Path, tmp_path: Path) -> None:
    other = write_site(tmp_path / "other", "f" * 64)
    write(other / "asked.jsonl", (0, 1, 2))
    write(other / "held.jsonl", (3,))
    with pytest.raises(ArtifactError, match="weights ffffffff of encoder 'mini'"):
        think(checked(instructed), other, tmp_path / "out", lambda line: None)


@pytest.mark.usefixtures("unloaded")
def test_an_adapter_of_another_rank_is_refused(
    root: Path, instructed: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="with other settings of lora"):
        think(checked(instructed, lora={"rank": 4}), root, tmp_path, lambda line: None)


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize(("layout", "name"), [("shards", "FSDP2"), ("zero", "DeepSpeed")])
def test_rewards_need_whole_weights_everywhere(
    root: Path, instructed: Path, tmp_path: Path, layout: Any, name: str, monkeypatch: Any
) -> None:
    """Known before anything is taught."""
    divided = Processes(rank=0, num=2, device=torch.device("cpu"), layout=layout)
    monkeypatch.setattr(filed, "start_processes", lambda: divided)
    with pytest.raises(ConfigError, match=f"not under {name}"):
        think(checked(instructed), root, tmp_path, lambda line: None)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"held_out": []}, "held_out names no file"),
        ({"reinforce": {"kinds": ["where"]}}, "kinds has where; allowed here: option, polar"),
        ({"quantise": "4bit"}, "from whole weights"),
        ({"teach": {"thoughts": 0}}, "teach.thoughts"),
        ({"teach": None}, "teach"),
    ],
)
def test_settings_that_cannot_be_right(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        checked("mini", **changes)


def test_files_of_both_kinds_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(think_settings("mini")))
    assert isinstance(read_config(tmp_path / "a.yaml"), DialogueThinkConfig)
    (tmp_path / "b.yaml").write_text("name: x\nbank: y\n")
    with pytest.raises(ConfigError, match=r"b\.yaml has wrong settings: teach"):
        read_config(tmp_path / "b.yaml")
