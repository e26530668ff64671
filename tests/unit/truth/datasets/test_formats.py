"""Files of other projects, read as they are published, and the traps in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from published import dialogues as published
from published.dialogues import OTHER, PUBLISHED, SLIDE

from ruichat.errors import ConfigError
from ruichat.truth.datasets.check import (
    Report,
    check_file,
    find_format,
    open_report,
    read_dialogues,
)
from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.truth.datasets.formats import FORMATS


def read(path: Path) -> tuple[Report, list[Dialogue]]:
    report = open_report(path)
    return report, [placed.dialogue for placed in read_dialogues(report)]


def write(folder: Path, records: Any, name: str = "set.json") -> Path:
    path = folder / name
    path.write_text(records if isinstance(records, str) else json.dumps(records))
    return path


@pytest.fixture
def of(tmp_path: Path) -> Callable[[str], list[Dialogue]]:
    """The dialogues of a published file, which must be sound."""

    def read_one(name: str) -> list[Dialogue]:
        file, text = PUBLISHED[name]
        report, dialogues = read(write(tmp_path, text, file))
        assert (report.format, report.findings) == (name, [])
        assert report.num_records == len(dialogues) > 0
        return dialogues

    return read_one


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_set_is_recognised_and_sound(name: str, of: Callable[[str], list[Dialogue]]) -> None:
    for dialogue in of(name):
        assert Dialogue.model_validate(json.loads(dialogue.to_line())) == dialogue
        assert not any("<image>" in turn.text for turn in dialogue.turns)


def test_a_table_of_reports(of: Callable[[str], list[Dialogue]]) -> None:
    first, second = of("reports")
    assert (first.slides, first.patient, first.kind) == (("S-17-2",), "P0042", "report")
    assert first.turns[1].text.endswith("Margins are free.")
    assert (second.language, second.turns[0].text) == ("zh", "请写出这张切片的镜下报告。")


def test_talks_about_slides(of: Callable[[str], list[Dialogue]]) -> None:
    first, second = of("slideinstruction")
    assert (first.slides, first.patient) == ((SLIDE,), "TCGA-21-1076")
    assert [turn.text for turn in first.turns][::2] == ["Describe the slide.", "Grade?"]
    assert first.tags == {"project": "LUSC"} and second.closed
    chosen, plain = of("wsi-bench")
    assert chosen.turns[0].text == "Which grade (IDH1 R132H) is it?"
    assert chosen.turns[0].options == ("Well", "Poorly", "Moderately")
    assert (chosen.turns[1].text, chosen.turns[1].choice) == ("Moderately", 3)
    assert plain.turns[0].options == ()


def test_the_second_layout_of_wsi_bench(tmp_path: Path) -> None:
    path = write(tmp_path, published.lines(published.wsi_bench_test()), "WSI-Bench-test.jsonl")
    report, (one,) = read(path)
    assert (report.format, one.patient, one.tags["task"]) == (
        "wsi-bench",
        "TCGA-21-1076",
        "Subtype",
    )


def test_a_question_of_the_second_layout_is_about_one_slide(tmp_path: Path) -> None:
    (record,) = published.wsi_bench_test()
    several = [record | {"image": [record["image"], "TCGA-LUSC/other.pt"]}]
    path = write(tmp_path, published.lines(several), "WSI-Bench-test.jsonl")
    (finding,) = read(path)[0].findings
    assert (finding.field, finding.code) == ("image", "too_many")


def test_questions(of: Callable[[str], list[Dialogue]]) -> None:
    chosen, plain = of("wsi-vqa")
    assert (chosen.patient, chosen.slides) == ("TCGA-LD-A74U", ())
    assert (chosen.turns[1].choice, plain.turns[1].choice) == (2, None)
    assert [one.tags["answer_type"] for one in of("pathvqa")] == ["closed", "open"]
    (quilt,) = of("quilt-vqa")
    assert quilt.tiles == ("k99-3_image_8.jpg",) and quilt.tags["answer_type"] == "closed"


def test_reports_and_captions(of: Callable[[str], list[Dialogue]]) -> None:
    first, second = of("histgen")
    assert (first.split, second.split, first.kind) == ("train", "test", "report")
    first, second = of("pathgen")
    (box,) = first.regions
    assert (box.x, box.y, box.width) == (35136, 33344, 672)
    assert (second.slides, second.kind) == ((OTHER,), "caption")


def test_tables(of: Callable[[str], list[Dialogue]]) -> None:
    first, second = of("slidebench")
    assert first.turns[0].options == ("G1", "G2", "G3", "G4") and first.turns[1].text == "G2"
    # B and D are empty: C is the second of two.
    assert (second.turns[0].options, second.turns[1].choice) == (("one", "two"), 2)
    numbered, worded, graded = of("multipathqa")
    assert numbered.turns[1].text == "3"
    assert (worded.turns[1].choice, worded.turns[0].text) == (2, "Of Liver, Lung?")
    assert (graded.turns[0].options, graded.turns[1].text) == ((), "3")


def changed(records: Any, at: int = 0, **fields: Any) -> Any:
    new = [dict(one) for one in records]
    new[at] = {k: v for k, v in (new[at] | fields).items() if v is not ...}
    return new


def said(*words: str, roles: tuple[str, ...] = ("human", "gpt")) -> list[dict[str, str]]:
    return [{"from": roles[at % 2], "value": word} for at, word in enumerate(words)]


INSTRUCT, BENCH, VQA, GEN = (
    published.slide_instruction(),
    published.wsi_bench(),
    published.wsi_vqa(),
    published.path_gen(),
)

TRAPS: list[tuple[Any, str, str]] = [
    (changed(INSTRUCT, conversations=said("<image> a", "b", roles=("human", "bot"))),
     "unknown_role", "conversations.1.from"),
    (changed(INSTRUCT, conversations=said("A", "<image> b", roles=("gpt", "human"))),
     "wrong_order", "conversations.0.from"),
    (changed(INSTRUCT, conversations=said("<image> a", "b", "c")), "no_answer", "conversations"),
    (changed(INSTRUCT, conversations=[]), "no_turns", "conversations"),
    (changed(INSTRUCT, conversations=said("<image> a", "")), "empty_text",
     "conversations.1.value"),
    (changed(INSTRUCT, conversations=said("<image>", "b")), "empty_text",
     "conversations.0.value"),
    (changed(INSTRUCT, conversations=said("<image><image> a", "b")), "image_markers",
     "conversations"),
    (changed(INSTRUCT, conversations=said("<image> a", '=CMD("calc")')), "formula",
     "conversations.1.value"),
    (changed(INSTRUCT, conversations=["<image> a", "b"]), "not_a_record", "conversations.0"),
    (changed(INSTRUCT, id=...), "missing_field", "id"),
    (changed(INSTRUCT, 1, image=[]), "no_subject", "image"),
    (changed(BENCH, conversations=said("<image>\nWhich? A) a B) b", "E")), "answer_not_option",
     "conversations.1.value"),
    (changed(BENCH, conversations=said("<image>\nWhich? A) one B) two", "B ```")),
     "answer_not_option", "conversations.1.value"),
    (changed(BENCH, conversations=said("<image>\nWhich?", "B")), "no_options",
     "conversations.1.value"),
    (changed(VQA, Answer="grade 9"), "answer_not_option", "Answer"),
    (changed(VQA, Answer=302), "not_a_text", "Answer"),
    (changed(VQA, Choice="['a', 'b']"), "bad_options", "Choice"),
    (changed(VQA, Id="LD-A74U"), "no_patient", "Id"),
    (changed(GEN, wsi_id=..., wsiid=SLIDE), "missing_field", "wsi_id"),
    (changed(GEN, WSI_id=OTHER), "field_twice", "wsi_id"),
    (changed(GEN, position=["12", "1e5"]), "bad_position", "position"),
    (changed(GEN, position=["12"]), "bad_position", "position"),
    (changed(GEN, position=["12", "-3"]), "bad_position", "position"),
    (changed(GEN, position=["12", "9" * 5000]), "bad_position", "position"),
    (changed(GEN, position="12,13"), "bad_position", "position"),
    ({"train": [], "test": [published.histgen()["train"][0]]}, "wrong_split", "split"),
    (changed(published.quilt_vqa(), answer_type="MAYBE"), "unknown_value", "answer_type"),
    (changed(published.quilt_vqa(), context="\ud800"), "bad_text", "tags.context"),
    (changed(published.wsi_bench_test(), metadata="a\x00b"), "control_character", "tags.task"),
    (changed(published.path_vqa(), image={"bytes": "", "path": None}), "no_subject", "image"),
]  # fmt: skip


def test_an_option_may_be_a_letter(tmp_path: Path) -> None:
    path = write(tmp_path, changed(VQA, Choice=["B", "A", "O"], Answer="A"))
    _, (first, _) = read(path)
    assert (first.turns[1].text, first.turns[1].choice) == ("A", 2)


@pytest.mark.parametrize(("records", "code", "field"), TRAPS)
def test_traps_are_findings(tmp_path: Path, records: Any, code: str, field: str) -> None:
    report, dialogues = read(write(tmp_path, records))
    (finding,) = [one for one in report.findings if one.severity == "error"]
    assert (finding.code, finding.field) == (code, field)
    assert finding.remedy and finding.line >= 1 and finding.record >= 1
    assert report.num_broken == 1 and len(dialogues) == report.num_records - 1


ROWS: list[tuple[str, str, str, str]] = [
    ("slidebench", ",B", ",", "Answer"),
    ("slidebench", ",B", ",E", "Answer"),
    ("slidebench", "G2,", ",", "Answer"),
    ("slidebench", "G3,", "#NAME?,", "C"),
    ("slidebench", "G3,", "G3,surplus,", ""),
    ("multipathqa", "['2', '3']", "__import__('os').abort()", "options"),
    ("multipathqa", "['2', '3']", "[" * 300, "options"),
    ("multipathqa", "['2', '3']", "{'2': 1}", "options"),
    ("multipathqa", ",2,", ",0,", "answer"),
    ("multipathqa", ",2,", ",two,", "answer"),
    ("multipathqa", "True,True,True,accuracy", "True,True,False,accuracy", "is_valid"),
]


@pytest.mark.parametrize(("name", "old", "new", "field"), ROWS)
def test_traps_in_tables(tmp_path: Path, name: str, old: str, new: str, field: str) -> None:
    header, first, *rest = PUBLISHED[name][1].splitlines(keepends=True)
    assert old in first
    broken = new.join(first.rsplit(old, 1)) if old == ",B" else first.replace(old, new, 1)
    path = write(tmp_path, header + broken + "".join(rest), "set.csv")
    report, dialogues = read(path)
    (finding,) = report.findings
    assert (finding.field, finding.line, finding.record) == (field, 2, 1)
    assert len(dialogues) == len(rest)


def test_a_format_that_cannot_be_told_has_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fields a, b") as caught:
        find_format(write(tmp_path, [{"a": 1, "b": 2}]))
    assert ": histgen, " in caught.value.hint
    mixed = [*published.wsi_vqa(), *published.path_gen()]
    with pytest.raises(ConfigError, match="pathgen or wsi-vqa"):
        find_format(write(tmp_path, mixed))


@pytest.mark.slides
def test_real_files_hold_what_was_found_in_them(shared_data: Path) -> None:
    report, _ = read(shared_data / "text" / "wsi_bench_train" / "Staging_choice_train.json")
    broken = {one.record: one.code for one in report.findings}
    assert report.num_records == 2555
    assert broken == {1494: "twice", 1678: "wrong_order", 1839: "answer_not_option"}
    report, dialogues = read(shared_data / "text" / "wsi_vqa" / "WsiVQA_val.json")
    assert (report.num_records, report.num_broken) == (742, 2)
    assert all(one.patient for one in dialogues)


@pytest.mark.parametrize("depth", [500, 900, 990, 5000])
@pytest.mark.parametrize("name", ["ruichat", "wsi-vqa", "slideinstruction"])
def test_depth_is_a_finding(tmp_path: Path, name: str, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    text = (
        f'[{{"format": "ruichat-dialogue-1", "id": {deep}, "Choice": {deep}, "Id": "TCGA-AA-1000", '
    )
    path = write(tmp_path, text + f'"Question": "a", "Answer": "b", "conversations": {deep}}}]')
    report = check_file(path, card=FORMATS.get(name))
    assert report.num_broken == 1 and report.findings[0].remedy


def test_findings_use_the_names_of_the_set(tmp_path: Path) -> None:
    report, _ = read(write(tmp_path, changed(VQA, Choice=["a", "a "], Answer="a")))
    assert [(one.code, one.field) for one in report.findings] == [("twice", "Choice")]
    report, _ = read(write(tmp_path, changed(VQA, 1, Answer="x" * 40_000)))
    assert [(one.code, one.field) for one in report.findings] == [("too_long", "Answer")]
    two = changed(INSTRUCT, image=[f"{SLIDE}.csv", f"{OTHER}.csv"])
    report, _ = read(write(tmp_path, two))
    assert ("several_patients", "image") in {(one.code, one.field) for one in report.findings}


def test_the_language_is_that_of_the_words(tmp_path: Path) -> None:
    words = said("<image>\n有肿瘤吗？", "有。")
    _, (first, second) = read(write(tmp_path, changed(INSTRUCT, conversations=words)))
    assert (first.language, second.language) == ("zh", "en")
