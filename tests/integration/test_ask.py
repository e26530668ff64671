"""A slide file and questions in, answers, pictures and regions out; only the model is scripted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_tissue, write_pyramid
from fakes import MeanColourEncoder
from fakes_chat import ScriptedModel, make_backend, write_two_halves
from PIL import Image

from ruichat.chat.answer import Answer
from ruichat.chat.ask import AskConfig, SlideChat, open_chat
from ruichat.chat.backend import Backend
from ruichat.errors import InputError, MissingMppError


@pytest.fixture(scope="module")
def slide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_halves(tmp_path_factory.mktemp("slides") / "halves.tif")


@pytest.fixture
def backend() -> Backend:
    return make_backend("Yes, carcinoma nests in [R1][R2].")


@pytest.fixture
def chat(slide_path: Path, backend: Backend, tmp_path: Path) -> Iterator[SlideChat]:
    with open_chat(slide_path, backend=backend, cache=tmp_path / "cache") as chat:
        yield chat


def ask(chat: SlideChat, question: str) -> Answer:
    answer = list(chat.ask(question))[-1]
    assert isinstance(answer, Answer)
    return answer


def test_the_slide_is_measured(chat: SlideChat) -> None:
    facts = chat.facts
    assert facts.tissue_mm2 == pytest.approx(1720 * 820 * 0.25e-6, rel=0.05)
    assert 0.4 < facts.tumour_fraction < 0.6
    assert {share.key for share in facts.composition} == {"carcinoma_nests", "stroma"}
    assert (facts.stain, facts.mpp) == ("H&E", 0.5)


def test_an_answer_cites_boxes_inside_the_slide(chat: SlideChat) -> None:
    answer = ask(chat, "Is there tumour, and where?")
    assert answer.diagnosis_class == "I"
    for citation in answer.citations:
        citation.box0.check_inside(answer.slide.width0, answer.slide.height0)
        assert citation.classes[0].key == "carcinoma_nests"
        assert citation.box0.x + citation.box0.width < 0.6 * answer.slide.width0
    assert answer.slide.mpp_source == "file"
    assert {"slide", "features", "facts", "prompt", "first_word", "answer"} <= set(answer.seconds)


def test_the_model_is_told_the_facts_and_the_regions(chat: SlideChat, backend: Backend) -> None:
    assert isinstance(backend.model, ScriptedModel)
    (context,) = backend.model.opened
    assert context is not None
    assert len(context.regions) == 4
    assert "mm2" in context.facts and "H&E" in context.facts


def test_a_second_question_reads_and_encodes_nothing(chat: SlideChat, backend: Backend) -> None:
    encoder = backend.encoder
    assert isinstance(encoder, MeanColourEncoder)
    first = ask(chat, "Is there tumour?")
    tiles, boxes, calls = chat._slide.counts.tiles, chat._slide.counts.boxes, encoder.calls
    second = ask(chat, "有肿瘤吗？")
    assert (chat._slide.counts.tiles, chat._slide.counts.boxes) == (tiles, boxes)
    assert encoder.calls == calls > 0
    assert "features" in first.seconds and "features" not in second.seconds
    assert second.language == "zh"


def test_the_next_chat_about_the_slide_finds_its_bag(slide_path: Path, tmp_path: Path) -> None:
    first = make_backend("Yes [R1].")
    open_chat(slide_path, backend=first, cache=tmp_path).close()
    second = make_backend("Yes [R1].")
    with open_chat(slide_path, backend=second, cache=tmp_path) as chat:
        assert chat._slide.counts.tiles == 0
    assert isinstance(first.encoder, MeanColourEncoder)
    assert isinstance(second.encoder, MeanColourEncoder)
    assert (first.encoder.calls > 0, second.encoder.calls) == (True, 0)


def turns(chat: SlideChat) -> tuple[str, ...]:
    """What the next question that goes on from the last would be read together with."""
    assert chat._last is not None
    return chat._last.turns  # type: ignore[attr-defined]


def test_only_a_question_that_goes_on_is_read_with_the_one_before(
    slide_path: Path, tmp_path: Path
) -> None:
    backend = make_backend(lambda question: f"Yes [R1]. You asked: {question}")
    with open_chat(slide_path, backend=backend, cache=tmp_path) as chat:
        ask(chat, "Is there tumour?")
        ask(chat, "And where is it?")
        assert turns(chat) == ("Is there tumour?", "And where is it?")
        ask(chat, "Is there fat?")
        assert turns(chat) == ("Is there fat?",)
        chat.forget()
        assert ask(chat, "asdf").reason == "not_understood"


def test_only_answers_that_were_shown_join_the_dialogue(slide_path: Path, tmp_path: Path) -> None:
    backend = make_backend(lambda question: f"Yes [R1]. You asked: {question}")
    with open_chat(slide_path, backend=backend, cache=tmp_path) as chat:
        ask(chat, "Is there tumour?")
        events = chat.ask("Is there fat?")
        next(events)
        events.close()
        chat._fresh.logprob = -3.0  # type: ignore[attr-defined]
        assert ask(chat, "Is there mucus?").reason == "low_confidence"
        assert ask(chat, "Is HER2 positive?").reason == "ihc"
        assert ask(chat, "hello").diagnosis_class is None
        assert turns(chat) == ("Is there tumour?",)


def test_the_first_answer_records_the_opening_even_after_a_bad_question(
    slide_path: Path, tmp_path: Path
) -> None:
    with open_chat(slide_path, backend=make_backend("Yes [R1]."), cache=tmp_path) as chat:
        with pytest.raises(InputError):
            ask(chat, "")
        chat.ask("cancelled?").close()
        assert "features" in ask(chat, "Is there tumour?").seconds
        assert "features" not in ask(chat, "Is there fat?").seconds


def test_progress_names_each_stage(slide_path: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    open_chat(
        slide_path,
        backend=make_backend("Yes."),
        cache=tmp_path,
        progress=lambda stage, done, total: seen.append((stage, done, total)),
    ).close()
    assert list(dict.fromkeys(stage for stage, _, _ in seen)) == [
        "slide",
        "model",
        "features",
        "facts",
        "prompt",
    ]
    tiles = [(done, total) for stage, done, total in seen if stage == "features" and total]
    assert tiles[-1][0] == tiles[-1][1] > 10


def test_unknown_tissue_is_measured_but_not_named(slide_path: Path, tmp_path: Path) -> None:
    backend = make_backend("Yes [R1].", known=0.0)
    with open_chat(slide_path, backend=backend, cache=tmp_path) as chat:
        answer = ask(chat, "Is there tumour?")
    assert answer.reason == "unknown_tissue"
    assert answer.claims == ()
    assert "mm²" in answer.text


def test_pictures_show_what_is_cited(chat: SlideChat, slide_path: Path, tmp_path: Path) -> None:
    from ruichat.cli.terminal import Terminal

    folder = tmp_path / "out"
    terminal = Terminal(quiet=True)
    answer = terminal.write_files(chat, ask(chat, "Where?"), slide_path, folder)
    with Image.open(folder / "halves.answer.png") as image:
        drawn = np.asarray(image)
        assert image.info["ruichat:slide"] == answer.slide.digest
    height, width = chat.thumbnail().shape[:2]
    changed = (drawn[:height, :width] != chat.thumbnail()).any(axis=2)
    assert changed[:, : width // 3].mean() > 0.5
    assert changed[:, 2 * width // 3 :].mean() == 0
    regions = json.loads((folder / "halves.answer.geojson").read_text(encoding="utf-8"))
    assert [f["properties"]["name"] for f in regions["features"]] == ["R1", "R2"]
    assert Path(answer.files["overlay"]).name == "halves.answer.png"


def test_a_slide_without_mpp_needs_one(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "bare.tif", draw_tissue(600, 600, margin=40), mpp=None)
    backend = make_backend("Yes [R1].")
    with pytest.raises(MissingMppError, match="mpp"):
        open_chat(path, backend=backend, cache=tmp_path)
    with open_chat(path, AskConfig(mpp=0.5), backend=backend, cache=tmp_path) as chat:
        assert ask(chat, "Is there tumour?").slide.mpp_source == "user"


def test_a_slide_without_tissue_is_refused(tmp_path: Path) -> None:
    blank = np.full((700, 700, 3), 245, np.uint8)
    path = write_pyramid(tmp_path / "blank.tif", blank, mpp=0.5)
    with pytest.raises(InputError):
        open_chat(path, backend=make_backend("Yes."), cache=tmp_path)


def test_a_failed_opening_closes_the_slide(
    slide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ruichat.slide.slide import Slide

    closed: list[Slide] = []
    monkeypatch.setattr(Slide, "close", lambda self: closed.append(self))
    backend = make_backend("Yes.")
    monkeypatch.setattr(type(backend.classifier), "known_score", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        open_chat(slide_path, backend=backend, cache=tmp_path)
    assert len(closed) == 1
