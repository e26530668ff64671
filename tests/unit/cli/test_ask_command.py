"""`ruichat ask`: streams words, prints verdicts, writes files, chats."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_chat import ScriptedModel, make_backend, write_two_halves

import ruichat.chat.ask as ask_module
from ruichat.chat.backend import Backend
from ruichat.cli import main as cli
from ruichat.errors import ArtifactError

Run = Callable[..., int]


@pytest.fixture(scope="module")
def slide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_halves(tmp_path_factory.mktemp("slides") / "halves.tif")


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    backend = make_backend("Yes, carcinoma nests in [R1]. The rest looks fine.")
    monkeypatch.setattr(ask_module, "load_backend", lambda *_: backend)
    return backend


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def put(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return put


def test_an_answer_on_the_terminal(
    slide_path: Path, backend: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.run(["ask", str(slide_path), "Is there tumour?", "--out", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "Yes, carcinoma nests in [R1]. The rest looks fine."
    assert lines[1] == "[!] no source cited: The rest looks fine."
    assert lines[2].startswith("class I (definite), confidence ")
    assert lines[3].startswith("AI-generated")
    assert (tmp_path / "out" / "halves.answer.png").is_file()
    assert str(tmp_path / "out" / "halves.answer.geojson") in out
    assert err == ""


def test_an_answer_that_was_cut_off_says_so_in_both_languages(
    slide_path: Path, backend: Backend, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(backend.model, ScriptedModel)
    backend.model.answer = lambda _: "Yes, carcinoma nests in [R1]." + " They are in [R1]." * 60
    for language, said in (("en", "the end of the answer is missing"), ("zh", "结尾缺失")):
        asked = ["ask", str(slide_path), "Is there tumour?", "--no-overlay", "--lang", language]
        assert cli.run(asked) == 0
        marks = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[!]")]
        assert said in marks[-1]
        assert cli.run([*asked, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["was_cut"] is True


def test_the_files_go_to_the_current_folder_by_default(
    slide_path: Path, backend: Backend, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["ask", str(slide_path), "tumour?"]) == 0
    assert (here / "halves.answer.png").is_file()
    assert "overlay: halves.answer.png" in capsys.readouterr().out


def test_json_is_the_whole_answer_and_nothing_else(
    slide_path: Path, backend: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.run(["ask", str(slide_path), "有肿瘤吗？", "--json", "--out", str(tmp_path)])
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert (code, err) == (0, "")
    assert data["language"] == "zh"
    assert data["citations"][0]["name"] == "R1"
    assert Path(data["files"]["overlay"]).is_file()
    assert data["model"] == "scripted"
    assert data["seconds"]["total"] > 0


def test_no_overlay_writes_nothing(
    slide_path: Path, backend: Backend, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["ask", str(slide_path), "tumour?", "--no-overlay", "--quiet"]) == 0
    assert not list(here.glob("*.png"))
    assert "overlay" not in capsys.readouterr().out


def test_a_long_question_is_refused_before_anything_is_read(
    backend: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["ask", str(tmp_path / "nowhere.svs"), "a" * 100_000]) == 4
    err = capsys.readouterr().err
    assert "100000 characters; at most 1000" in err and "nowhere" not in err


def test_a_folder_that_is_a_file_is_refused_before_anything_is_read(
    backend: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")
    arguments = ["ask", str(tmp_path / "nowhere.svs"), "tumour?", "--out", str(tmp_path / "out")]
    assert cli.run(arguments) == 4
    err = capsys.readouterr().err
    assert "is not a folder" in err and "--out" in err
    assert (tmp_path / "out").read_text() == "mine"


def test_a_full_disk_costs_the_picture_but_not_the_answer(
    slide_path: Path,
    backend: Backend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from ruichat.storage import artifacts

    real = artifacts.write_atomic

    def full(path: Path, content: artifacts.Writer | bytes) -> None:
        if path.suffix == ".png":
            raise ArtifactError(f"the disk is full: {path} was not written", hint="elsewhere")
        real(path, content)

    monkeypatch.setattr(artifacts, "write_atomic", full)
    assert cli.run(["ask", str(slide_path), "tumour?", "--out", str(tmp_path)]) == 4
    out, err = capsys.readouterr()
    assert out.startswith("Yes, carcinoma nests in [R1].")
    assert "disk is full" in err and "--out" in err
    assert cli.run(["ask", str(slide_path), "tumour?", "--json", "--out", str(tmp_path)]) == 4
    out, err = capsys.readouterr()
    assert json.loads(out)["text"].startswith("Yes") and json.loads(out)["files"] == {}
    assert "disk is full" in err


@pytest.mark.parametrize("content", [None, b"", b"not a slide at all"])
def test_a_bad_file_is_an_input_error(
    content: bytes | None, backend: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.svs"
    if content is not None:
        path.write_bytes(content)
    assert cli.run(["ask", str(path), "tumour?"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ") and "\nHint: " in err


@pytest.mark.parametrize("name", ["minni", "mini" * 100])
def test_an_unknown_model_is_a_config_error(
    name: str, slide_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["ask", str(slide_path), "tumour?", "--model", name, "--no-overlay"]) == 2
    assert "mini" in capsys.readouterr().err


def test_json_needs_a_question(slide_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["ask", str(slide_path), "--json"]) == 2


def test_a_chat_reads_the_slide_once(
    slide_path: Path,
    backend: Backend,
    type_in: Callable[[str], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    type_in(
        "Is there tumour?\n\n/regions\n/facts\n/overlay\n/lang zh\n/facts\n/help\n/nonsense\n"
        "有肿瘤吗？\n/new\n/quit\nnever asked\n"
    )
    assert cli.run(["ask", str(slide_path), "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out.count("Yes, carcinoma nests in [R1].") == 2
    assert "R4\t" in out and "carcinoma nests 100%" in out
    assert "Measured: tissue" in out and "已测得" in out
    assert (tmp_path / "halves.answer.png").is_file()
    assert "未知命令" in err
    assert isinstance(backend.model, ScriptedModel)
    (session,) = backend.model.sessions
    assert len(backend.model.opened) == 1
    assert "never asked" not in session.asked


def test_without_a_classifier_the_chat_says_what_is_not_measured(
    slide_path: Path,
    type_in: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    backend = replace(make_backend("Yes, tumour [R1]."), classifier=None, calibration=None)
    monkeypatch.setattr(ask_module, "load_backend", lambda *_: backend)
    type_in("Is there tumour?\n/facts\n/regions\nIs there fat?\n")
    assert cli.run(["ask", str(slide_path)]) == 0
    out, err = capsys.readouterr()
    assert out.count("Description only, no diagnosis: Yes, tumour [R1].") == 2
    assert "composition: not measured" in out and "R4\t" in out
    assert err.count("no tile classifier") == 1 and err.count("no calibration") == 1


def test_a_chat_survives_a_bad_question(
    slide_path: Path,
    backend: Backend,
    type_in: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    type_in("a" * 5000 + "\nIs there tumour?\n")
    assert cli.run(["ask", str(slide_path)]) == 0
    out, err = capsys.readouterr()
    assert "5000 characters" in err
    assert "Yes, carcinoma nests" in out


def test_ctrl_c_cancels_an_answer_but_not_the_chat(
    slide_path: Path,
    type_in: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    backend = make_backend("Yes [R1]. And more words that follow.")
    monkeypatch.setattr(ask_module, "load_backend", lambda *_: backend)
    assert isinstance(backend.model, ScriptedModel)
    backend.model.interrupt_after = 6
    type_in("Is there fat?\nIs there stroma?\n")
    assert cli.run(["ask", str(slide_path)]) == 0
    out, err = capsys.readouterr()
    assert "(cancelled)" in err
    assert "And more words that follow." in out
    (session,) = backend.model.sessions
    assert session.asked == ["Is there fat?", "Is there stroma?"]


def test_a_model_cannot_steer_the_terminal(
    slide_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = make_backend("Yes\x1b[2J [R1]\x07. \x1b]0;title\x07Done.")
    monkeypatch.setattr(ask_module, "load_backend", lambda *_: backend)
    assert cli.run(["ask", str(slide_path), "tumour?", "--no-overlay"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Yes[2J [R1]. ]0;titleDone.") and "\x1b" not in out


@pytest.fixture
def thinking(monkeypatch: pytest.MonkeyPatch) -> Backend:
    backend = make_backend("Yes, carcinoma nests in [R1].", thought="First [R2], it is {stain}.")
    monkeypatch.setattr(ask_module, "load_backend", lambda *_: backend)
    return backend


@pytest.mark.parametrize(("option", "shown"), [("--think", False), ("--show-thinking", True)])
def test_a_thought_on_the_terminal(
    slide_path: Path,
    thinking: Backend,
    capsys: pytest.CaptureFixture[str],
    option: str,
    shown: bool,
) -> None:
    assert cli.run(["ask", str(slide_path), "Tumour?", option, "--no-overlay"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0] == "thought, not checked: First [R2], it is H&E.") == shown
    # The calibration was made of answers without thoughts: nothing is stated as definite.
    assert lines[shown].startswith("Description only")


def test_json_has_the_thought_apart(
    slide_path: Path,
    thinking: Backend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = replace(thinking, thinking_calibration=thinking.calibration)
    monkeypatch.setattr(ask_module, "load_backend", lambda *_: own)
    assert cli.run(["ask", str(slide_path), "Tumour?", "--think", "--json", "--no-overlay"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["thought"] == "First [R2], it is H&E." and data["diagnosis_class"] == "I"
    assert [item["name"] for item in data["citations"]] == ["R1"]


def test_thinking_is_switched_in_a_chat(
    slide_path: Path,
    thinking: Backend,
    here: Path,
    type_in: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    type_in("Tumour?\n/think show\nTumour?\n/think on\nFat?\n/think off\nFat?\n/think x\n")
    assert cli.run(["ask", str(slide_path), "--no-overlay"]) == 0
    out, err = capsys.readouterr()
    assert out.count("thought, not checked") == 1
    assert isinstance(thinking.model, ScriptedModel)
    assert thinking.model.sessions[0].thinks == [False, True, True, False]
    assert "give on, off or show" in err


def test_a_region_is_asked_about(
    slide_path: Path, backend: Backend, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(slide_path), "--region", "60,60,700,700", "Is there tumour?"]
    assert cli.run(["ask", *given, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["drawn"]["box0"] == {"x": 60, "y": 60, "width": 700, "height": 700}
    assert answer["text"].startswith("In the drawn region")


@pytest.mark.parametrize("region", ["1,2,3", "a,b,c,d", ""])
def test_what_is_no_box_is_refused(slide_path: Path, region: str, here: Path) -> None:
    assert cli.run(["ask", str(slide_path), "--region", region, "Is there tumour?"]) == 2


def test_several_slides_are_asked_together(
    slide_path: Path, backend: Backend, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = here / "other.tif"
    other.write_bytes(slide_path.read_bytes())
    assert cli.run(["ask", str(slide_path), "other.tif", "Is there tumour?"]) == 0
    shown = capsys.readouterr().out
    assert "Slide A: " in shown and "Slide B: " in shown and "Rule: yes" in shown
    assert {path.name for path in here.glob("*.answer.*")} == {
        f"{name}.answer.{suffix}"
        for name in (slide_path.stem, "other")
        for suffix in ("png", "geojson")
    }
    for given in ([str(slide_path), "other.tif"], [str(slide_path), "typo.svs"]):
        assert cli.run(["ask", *given]) == 2
