from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes_benchmark import (
    CLASSES,
    AskedModel,
    backend_of,
    dialogue,
    looks,
    says_a,
    write_lines,
    write_world,
)

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")
pytest.importorskip("nltk")

from ruichat.errors import ConfigError, InputError, ModelError, PrerequisiteError
from ruichat.evaluate.benchmark.answers import AnswerFile
from ruichat.evaluate.benchmark.config import BenchmarkConfig
from ruichat.evaluate.benchmark.run import run_benchmark
from ruichat.evaluate.report import Report, Row
from ruichat.model.chat_model import OptionScore, SlideContext
from ruichat.truth.datasets.check import BrokenRecordsError


def run(path: Path, model: AskedModel, *, limit: int | None = None, **changes: object) -> Report:
    config = BenchmarkConfig.from_yaml(path).model_copy(update=changes)
    return run_benchmark(
        config, path.parent, path.parent / "run", limit=limit, backend=backend_of(model)
    )


def row(report: Report, section: str, name: str, where: str = "") -> Row:
    wanted = (section, name, where)
    return next(one for one in report.rows if (one.section, one.name, one.where) == wanted)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_world(tmp_path, num_slides=4)


def test_a_model_that_looks_is_told_from_its_controls(tmp_path: Path) -> None:
    world = write_world(tmp_path)
    report = run(world, AskedModel())
    for section, name in (
        ("choice", "accuracy, as answered"),
        ("choice", "accuracy, by likelihood"),
        ("closed", "balanced accuracy"),
        ("open", "exact match"),
        ("open", "BLEU-4"),
        ("report", "ROUGE-L"),
        ("report", "claims, precision"),
        ("choice", "accuracy over all orders"),
        ("choice", "follows the words"),
        ("open", "cited area that is true"),
    ):
        assert row(report, section, name).score.value == pytest.approx(1), name
    accuracy = row(report, "choice", "accuracy, as answered")
    assert accuracy.score.n == 8
    assert accuracy.controls["blind"].value == 0.25 == accuracy.controls["chance"].value
    assert accuracy.controls["other"].value < 0.6
    assert set(accuracy.controls) == {"blind", "other", "majority", "chance"}
    looking = row(report, "choice", "accuracy, as answered", "slide minus none")
    assert looking.score.value == 0.75 and looking.score.low > 0.3 and looking.p < 0.1
    borrowed = row(report, "report", "claims, precision").controls["borrowed"]
    assert 0.3 < borrowed.value < 1
    # Half of the slide is cited by lot.
    assert row(report, "open", "cited area that is true").controls["chance"].value == 0.5
    assert row(report, "choice", "follows the label").score.value == 0


def test_a_model_that_follows_labels_is_found_out(world: Path) -> None:
    report = run(world, AskedModel(says_a))
    assert row(report, "choice", "accuracy, as answered").score.value == 0.25
    assert row(report, "choice", "accuracy over all orders").score.value == 0.25
    assert row(report, "choice", "right in every order").score.value == 0
    assert row(report, "choice", "follows the words").score.value == 0
    assert row(report, "choice", "follows the label").score.value == 1
    # What it finds likely doesn't hang on what it writes.
    assert row(report, "choice", "follows the words", "by likelihood").score.value == 1


def test_a_short_list_beside_a_longer_one_is_moved_through_its_own_orders(world: Path) -> None:
    long, short = dialogue(0, "fat", "choice"), dialogue(0, "fat", "choice")
    asked, said = short["turns"]
    short_turns = [asked | {"options": ["fat", "mucus"]}, said | {"choice": 1}]
    long["turns"] = [*long["turns"], *short_turns]
    write_lines(world.parent / "dialogues.jsonl", [long])
    report = run(world, AskedModel(says_a))
    assert row(report, "choice", "follows the words").score.value == 0
    assert row(report, "choice", "follows the label").score.value == 1


def test_without_bags_the_run_is_blind_and_says_so(world: Path) -> None:
    model = AskedModel()
    report = run(world, model, bags=())
    assert model.opened == [None]
    assert row(report, "choice", "accuracy, as answered").score.value == 0.25
    assert "blind" not in row(report, "choice", "accuracy, as answered").controls
    assert report.manifest["blind"] is True
    assert any("no slides" in note for note in report.notes)
    text = (world.parent / "run" / "report.zh.md").read_text()
    assert "未给切片" in text and "缺少切片" in text
    assert not any(one.where.startswith("slide minus") for one in report.rows)


def test_a_stopped_run_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    world = write_world(tmp_path, num_slides=2)
    whole = AskedModel()
    expected = run(world, whole)
    lines = (world.parent / "run" / "answers.jsonl").read_bytes()
    for stop in (1, 17, len(whole.asked) - 1):
        folder = world.parent / "run"
        for file in folder.iterdir():
            file.unlink()
        first = AskedModel(interrupt_after=stop + 1)
        with pytest.raises(KeyboardInterrupt):
            run(world, first)
        with (folder / "answers.jsonl").open("ab") as file:
            file.write(b'{"key": "half a li')
        second = AskedModel()
        report = run(world, second)
        assert [one.to_json() for one in report.rows] == [one.to_json() for one in expected.rows]
        assert first.asked[:-1] + second.asked == whole.asked
        keys = [json.loads(line)["key"] for line in (folder / "answers.jsonl").open()]
        assert keys == [json.loads(line)["key"] for line in lines.splitlines()]


def test_a_limit_may_be_raised_later(tmp_path: Path) -> None:
    world = write_world(tmp_path, num_slides=4)
    few, rest = AskedModel(), AskedModel()
    small = run(world, few, limit=10)
    assert row(small, "all", "not answered").score.n == 10
    assert any("10 of 16" in note for note in small.notes)
    run(world, rest)
    whole = AskedModel()
    for file in (world.parent / "run").iterdir():
        file.unlink()
    run(world, whole)
    assert sorted(few.asked + rest.asked) == sorted(whole.asked)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "config.seed"),
        ({"max_tokens": 9}, "max_tokens"),
        ({"style": "short"}, "style"),
        ({"bags": ()}, "blind"),
    ],
)
def test_a_folder_with_another_run_is_refused(
    world: Path, changes: dict[str, object], words: str
) -> None:
    run(world, AskedModel(), limit=2)
    with pytest.raises(ConfigError, match=words):
        run(world, AskedModel(), limit=2, **changes)
    run(world, AskedModel(), limit=2, num_draws=60)


def test_another_file_or_model_is_another_run(world: Path) -> None:
    run(world, AskedModel(), limit=2)
    with pytest.raises(ConfigError, match=r"model\.name"):
        run(world, AskedModel(name="other"), limit=2)
    write_lines(world.parent / "dialogues.jsonl", [dialogue(0, "fat", "choice")])
    with pytest.raises(ConfigError, match=r"data\.dialogues\.jsonl"):
        run(world, AskedModel())


def test_a_pinned_digest_is_held_to(world: Path) -> None:
    world.write_text(f"data: [{{file: dialogues.jsonl, sha256: {'a' * 64}}}]\n")
    with pytest.raises(InputError, match="another version of the set"):
        run(world, AskedModel())


def test_slides_without_bags_are_refused_or_left_out(world: Path) -> None:
    (world.parent / "bags" / "S3.h5").unlink()
    with pytest.raises(InputError, match="4 of 16 dialogues"):
        run(world, AskedModel())
    report = run(world, AskedModel(), missing="leave_out")
    assert row(report, "all", "not answered").score.n == 12
    assert any("4 dialogues left out" in note for note in report.notes)


def test_broken_lines_are_refused_or_left_out(world: Path) -> None:
    path = world.parent / "dialogues.jsonl"
    path.write_text(path.read_text() + '{"format": "ruichat-dialogue-1", "id": "x"\n')
    with pytest.raises(BrokenRecordsError, match="line 17"):
        run(world, AskedModel())
    report = run(world, AskedModel(), leave_out_broken=True)
    assert any("1 broken records left out" in note for note in report.notes)


def test_two_records_of_one_id_are_two_questions(world: Path) -> None:
    twice = [dialogue(0, "fat", "choice"), dialogue(0, "fat", "closed")]
    for record in twice:
        record["id"] = "same"
    write_lines(world.parent / "dialogues.jsonl", twice)
    report = run(world, AskedModel())
    assert row(report, "choice", "accuracy, as answered").score.value == 1
    assert row(report, "closed", "accuracy, as answered").score.value == 1
    assert any("one patient only" in note for note in report.notes)


def test_a_model_that_raises_now_and_then_costs_its_own_answers(world: Path) -> None:
    def moody(slide: SlideContext | None, question: str) -> str:
        if question.startswith("Where"):
            raise ZeroDivisionError("whatever")
        return looks(slide, question)

    report = run(world, AskedModel(moody))
    assert row(report, "all", "not answered").score.value == 0.25
    assert row(report, "open", "ROUGE-L").score.value == 0
    assert row(report, "choice", "accuracy, as answered").score.value == 1
    assert any("ZeroDivisionError: whatever" in note for note in report.notes)
    mended = AskedModel()
    report = run(world, mended)
    assert {question.split()[0] for question in mended.asked} == {"Where"}
    assert row(report, "open", "ROUGE-L").score.value == 1


def test_a_model_that_always_raises_stops_the_run(world: Path) -> None:
    def broken(slide: SlideContext | None, question: str) -> str:
        raise ModelError("out of memory")

    model = AskedModel(broken)
    with pytest.raises(ModelError, match="20 dialogues in a row"):
        run(world, model)
    assert len(model.asked) == 20


def test_a_bag_of_another_encoder_is_refused_before_any_question(world: Path) -> None:
    class Choosy(AskedModel):
        def open(self, slide: SlideContext | None):
            raise InputError("bag was made by another encoder")

    model = Choosy()
    with pytest.raises(InputError, match="another encoder"):
        run(world, model)
    assert not AnswerFile(world.parent / "run").lines


def test_endless_answers_and_numbers_that_are_none_are_survived(world: Path) -> None:
    def endless(slide: SlideContext | None, question: str) -> str:
        return "word" * 10_000

    def none(
        slide: SlideContext | None, question: str, options: Sequence[str]
    ) -> list[OptionScore]:
        return [OptionScore(math.nan, 1), *(OptionScore(-1.0, 1) for _ in options[1:])]

    report = run(world, AskedModel(endless, none), limit=5)
    assert row(report, "all", "cut off").score.value == 1
    assert row(report, "choice", "accuracy, by likelihood").score.value == 0
    lines = AnswerFile(world.parent / "run").lines.values()
    assert all(len(given.text) <= 32_768 for line in lines for given in line.given)


def test_a_model_without_likelihood_is_scored_by_its_answers(world: Path) -> None:
    def cannot(
        slide: SlideContext | None, question: str, options: Sequence[str]
    ) -> list[OptionScore]:
        raise ModelError("this model gives no likelihood")

    report = run(world, AskedModel(score=cannot))
    assert row(report, "choice", "accuracy, as answered").score.value == 1
    assert not any("likelihood" in one.name + one.where for one in report.rows)
    assert any("doesn't say how likely" in note for note in report.notes)


def test_several_turns_follow_each_other(world: Path) -> None:
    first, second = dialogue(0, "fat", "choice"), dialogue(0, "fat", "closed")
    first["turns"] = [*first["turns"], *second["turns"]]
    write_lines(world.parent / "dialogues.jsonl", [first])
    model = AskedModel()
    report = run(world, model)
    assert row(report, "closed", "accuracy, as answered").score.n == 1
    assert model.asked[1].startswith("Is there fat") and model.asked[0].endswith("D. mucus")
    assert [one.split()[-1] for one in model.asked[::2]].count(CLASSES[0]) == 1


def test_a_slide_is_opened_once_for_all_that_is_asked_about_it(world: Path) -> None:
    model = AskedModel()
    run(world, model)
    # Once with the model's own number of regions, once with the two that open questions want.
    assert len(model.opened) == 1 + 2 * 4


def test_short_style_says_what_is_wanted(world: Path) -> None:
    model = AskedModel()
    run(world, model, style="short", limit=20)
    assert any(
        one.endswith("Answer with the letter of the right option only.") for one in model.asked
    )
    assert any(one.endswith("Answer with yes or no only.") for one in model.asked)


def test_a_thought_is_kept_and_not_scored(world: Path) -> None:
    report = run(world, AskedModel(), think=True, limit=8)
    lines = AnswerFile(world.parent / "run").lines.values()
    assert all(given.thought == "It is fat, I think. " for line in lines for given in line.given)
    assert not any("I think" in given.text for line in lines for given in line.given)
    assert report.manifest["decoding"]["think"] is True


def test_regions_that_a_dialogue_states_are_the_ones_shown(world: Path) -> None:
    record = dialogue(0, "stroma", "open")
    del record["num_regions"]
    record["regions"] = [{"x": 4 * 224, "y": 0, "width": 4 * 224, "height": 224}]
    write_lines(world.parent / "dialogues.jsonl", [record, dialogue(2, "necrosis", "open")])
    report = run(world, AskedModel())
    # The left half of slide 0 shows fat; its [R1] is the right half.
    assert row(report, "open", "exact match").score.value == 1
    assert row(report, "open", "cited area that is true").score.value == 1
    assert row(report, "all", "not answered").score.value == 0
    assert row(report, "open", "exact match").controls["other"].n == 2


def test_a_missing_library_is_named_before_anything_is_asked(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "rouge_score" else there(name)
    )
    model = AskedModel()
    with pytest.raises(PrerequisiteError, match="rouge_score is not installed") as caught:
        run(world, model)
    assert "ruichat[scores]" in caught.value.hint and not model.asked
