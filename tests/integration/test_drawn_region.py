"""A region that a person drew: its own tiles, its own facts, and an answer that says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import MeanColourEncoder
from fakes_chat import ScriptedModel, make_backend, write_two_halves

from ruichat.chat.answer import Answer
from ruichat.chat.ask import AskConfig, SlideChat, open_chat
from ruichat.chat.backend import Backend
from ruichat.chat.drawn import MIN_TILES, read_drawn
from ruichat.chat.outline import Outline0
from ruichat.errors import InputError
from ruichat.units import Region0

DARK = Outline0.rectangle(Region0(60, 60, 700, 700))
"""In the half that is carcinoma, 350 um a side."""


@pytest.fixture(scope="module")
def slide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_halves(tmp_path_factory.mktemp("slides") / "halves.tif")


@pytest.fixture
def backend() -> Backend:
    return make_backend("Yes, carcinoma nests in [R1][R9].")


@pytest.fixture
def chat(slide_path: Path, backend: Backend, tmp_path: Path) -> Iterator[SlideChat]:
    with open_chat(slide_path, backend=backend, cache=tmp_path / "cache") as chat:
        yield chat


def ask(chat: SlideChat, outline: Outline0, question: str) -> tuple[Answer, str]:
    drawn = chat.within(outline)
    *words, answer = list(drawn.ask(question))
    assert isinstance(answer, Answer)
    return answer, "".join(word for word in words if isinstance(word, str))


def test_the_answer_is_about_what_was_drawn_and_says_so(chat: SlideChat) -> None:
    answer, words = ask(chat, DARK, "Is there tumour?")
    assert words == answer.text == "In the drawn region (0.12 mm²): Yes, carcinoma nests in [R1]."
    assert answer.drawn is not None
    assert (answer.drawn.box0, answer.drawn.num_tiles) == (Region0(60, 60, 700, 700), 9)
    assert answer.to_json()["drawn"]["area_mm2"] == 0.1225  # type: ignore[index]
    assert ask(chat, DARK, "有肿瘤吗？")[0].text.startswith("所画区域（0.12 mm²）：")


def test_its_regions_are_finer_and_its_facts_are_its_own(chat: SlideChat) -> None:
    answer, _ = ask(chat, DARK, "Is there tumour?")
    whole = chat.view
    assert answer.facts.num_regions == whole.num_regions == 4
    assert answer.facts.tumour_fraction == 1.0
    assert 0.4 < (whole.facts.tumour_fraction or 0) < 0.6
    assert answer.facts.tissue_mm2 <= 0.1225 < whole.facts.tissue_mm2
    (citation,) = answer.citations
    box = citation.box0.check_inside(1800, 900)
    assert box.area_mm2(0.5) < min(b.area_mm2(0.5) for b in whole.regions.boxes)
    near = DARK.box0
    assert near.x - 112 <= box.x and box.x + box.width <= near.x + near.width + 112


def test_nothing_is_read_again_where_enough_tiles_lie_inside(
    chat: SlideChat, backend: Backend
) -> None:
    encoder = backend.encoder
    assert isinstance(encoder, MeanColourEncoder) and isinstance(backend.model, ScriptedModel)
    tiles = encoder.tiles
    read_drawn(chat.read, DARK)
    assert encoder.tiles == tiles
    (_, context) = backend.model.opened
    assert context is not None and len(context.bag) == 9


def test_a_small_region_gets_tiles_of_its_own(chat: SlideChat, backend: Backend) -> None:
    encoder, grid = backend.encoder, chat.read.bag.xy0
    assert isinstance(encoder, MeanColourEncoder)
    before = encoder.tiles
    x, y = grid[0] + 130
    drawn = read_drawn(chat.read, Outline0.rectangle(Region0(int(x), int(y), 400, 400)))
    assert encoder.tiles - before == len(drawn.bag) == 4 >= MIN_TILES
    low, high = drawn.bag.xy0.min(axis=0), drawn.bag.xy0.max(axis=0) + drawn.bag.span0
    assert (low >= [x, y]).all() and (high <= [x + 400, y + 400]).all()
    assert np.isfinite(drawn.bag.focus).all()
    assert drawn.view.facts.tumour_fraction == 1.0
    assert drawn.view.facts.tissue_mm2 == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("The slide is divided into {num_regions} regions.", "The drawn region is divided into 4"),
        ("切片共分为 {num_regions} 个区域。", "所画区域共分为 4 个区域"),
    ],
)
def test_regions_are_counted_in_what_was_drawn(slide_path: Path, tmp_path: Path, written, said):
    backend = make_backend(written)
    with open_chat(slide_path, backend=backend, cache=tmp_path) as chat:
        answer = [*chat.within(DARK).ask("How many regions are there on the slide?")][-1]
        assert isinstance(answer, Answer) and said in answer.text
        whole = [*chat.ask("How many regions are there on the slide?")][-1]
        assert isinstance(whole, Answer) and said[:6] not in whole.text


def test_too_small_is_said_with_the_smallest_size(chat: SlideChat) -> None:
    small = Outline0.rectangle(Region0(200, 200, 100, 300))
    with pytest.raises(InputError, match=r"50 x 150 um; .* 112 x 112 um"):
        read_drawn(chat.read, small)


def test_glass_and_what_lies_beside_the_slide_are_refused(slide_path: Path, tmp_path: Path) -> None:
    from drawn import draw_tissue, write_pyramid

    picture = draw_tissue(2400, 1800, margin=40)
    picture[:, :1200] = picture[0, 0]
    path = write_pyramid(tmp_path / "half.tif", picture, mpp=0.5)
    with open_chat(path, backend=make_backend("Yes."), cache=tmp_path) as chat:
        with pytest.raises(InputError, match="no tissue"):
            read_drawn(chat.read, Outline0.rectangle(Region0(0, 0, 500, 500)))
        with pytest.raises(InputError, match="beside the slide"):
            read_drawn(chat.read, Outline0.rectangle(Region0(5000, 0, 500, 500)))


def test_help_and_guards_speak_of_no_region(chat: SlideChat) -> None:
    assert ask(chat, DARK, "hello")[0].text.startswith("Ask about this slide")
    assert ask(chat, DARK, "Is HER2 positive?")[0].text.startswith("Cannot determine")
    answer, _ = ask(chat, DARK, "What is in R7?")
    assert "regions of this drawn region are R1 to R4" in answer.text


def test_unsure_answers_name_the_tissue_of_the_region(slide_path: Path, tmp_path: Path) -> None:
    backend = make_backend("Yes, fat [R1].", logprob=-3.0)
    with open_chat(slide_path, AskConfig(), backend=backend, cache=tmp_path) as chat:
        answer, _ = ask(chat, DARK, "Is there tumour?")
    assert answer.reason == "low_confidence"
    assert "Leading tissue of the drawn region by tile: carcinoma nests 100%" in answer.text
