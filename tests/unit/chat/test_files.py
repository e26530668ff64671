"""Overlay and GeoJSON: valid, labelled, and never over a file of the user's."""

from __future__ import annotations

import dataclasses
import io
import json
import uuid
import zlib
from pathlib import Path

import numpy as np
import pytest
from fakes_chat import make_view, scripted
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ruichat.chat.answer import Answer
from ruichat.chat.ask import AskConfig
from ruichat.chat.geojson import answer_geojson
from ruichat.chat.labelling import VISIBLE_LABEL
from ruichat.chat.output import choose_paths, safe_stem, write_answer_files
from ruichat.chat.overlay import FONT_FILE, LEGEND_TEXTS, answer_overlay
from ruichat.chat.plain import strip_controls
from ruichat.chat.reply import answer_question
from ruichat.errors import InputError
from ruichat.histology import CLASSES
from ruichat.units import scale_length

THUMBNAIL = np.full((600, 900, 3), (225, 170, 200), np.uint8)


def make_answer(
    text: str = "Yes, carcinoma nests in [R1][R2].", question: str = "tumour?"
) -> Answer:
    events = answer_question(
        question, make_view(), scripted(text), config=AskConfig(), opening_s={}
    )
    answer = list(events)[-1]
    assert isinstance(answer, Answer)
    return answer


def picture(answer: Answer, thumbnail: np.ndarray = THUMBNAIL) -> Image.Image:
    return Image.open(io.BytesIO(answer_overlay(answer, make_view(), thumbnail)))


def test_geojson_is_what_qupath_reads() -> None:
    answer = make_answer()
    data = json.loads(answer_geojson(answer))
    assert data["type"] == "FeatureCollection"
    assert len(data["features"]) == 2
    for feature, citation in zip(data["features"], answer.citations, strict=True):
        uuid.UUID(feature["id"])
        properties = feature["properties"]
        assert properties["objectType"] == "annotation"
        assert properties["name"] == citation.name
        assert len(properties["classification"]["color"]) == 3
        assert properties["classification"]["name"] == "carcinoma nests"
        assert all(isinstance(v, int | float) for v in properties["measurements"].values())
        assert all(isinstance(v, str) for v in properties["metadata"].values())
        assert properties["metadata"]["ruichat:status"] == "proposed"
        assert "AI" in properties["metadata"]["ruichat:label"]
        (ring,) = feature["geometry"]["coordinates"]
        box = citation.box0
        assert ring[0] == ring[-1] == [box.x, box.y]
        assert [box.x + box.width, box.y + box.height] in ring


def test_region_ids_are_stable_and_distinct() -> None:
    first, second = (json.loads(answer_geojson(make_answer()))["features"] for _ in range(2))
    assert [f["id"] for f in first] == [f["id"] for f in second]
    assert len({f["id"] for f in first}) == 2


def test_no_citation_gives_an_empty_but_labelled_collection() -> None:
    data = json.loads(answer_geojson(make_answer("No.")))
    assert data["features"] == []
    assert data["metadata"]["ruichat:label"] == VISIBLE_LABEL


def test_the_overlay_changes_the_slide_only_where_a_region_is_cited() -> None:
    view, answer = make_view(), make_answer()
    drawn = np.asarray(picture(answer))[:600, :900]
    changed = (drawn != THUMBNAIL).any(axis=2)
    boxes, tiles = np.zeros_like(changed), np.zeros_like(changed)
    scale = 900 / view.record.width0
    for citation in answer.citations:
        box = citation.box0
        top, left = round(box.y * scale), round(box.x * scale)
        boxes[
            max(0, top - 1) : top + round(box.height * scale) + 2,
            max(0, left - 1) : left + round(box.width * scale) + 2,
        ] = True
        for index in view.regions.tiles(citation.name):
            x, y = (int(value * scale) for value in view.xy0[index])
            tiles[y : y + int(200 * scale), x : x + int(200 * scale)] = True
    assert changed[tiles].mean() > 0.99
    assert not changed[~boxes].any()


def test_two_answers_draw_two_pictures() -> None:
    assert picture(make_answer()).tobytes() != picture(make_answer("Fat in [R5].")).tobytes()


@pytest.mark.parametrize("shape", [(600, 900, 3), (40, 60, 3), (900, 60, 3), (60, 1600, 3)])
def test_any_thumbnail_can_be_drawn(shape: tuple[int, int, int]) -> None:
    image = picture(make_answer(), np.full(shape, 230, np.uint8))
    assert max(image.size) >= 900


def test_the_overlay_is_labelled_for_people_and_machines() -> None:
    image = picture(make_answer("有癌巢[R1]。", "有肿瘤吗？"))
    info = image.info
    assert info["ruichat:label"] == VISIBLE_LABEL
    assert json.loads(info["AIGC"])["Label"] == "1"
    strip = np.asarray(image)[600:]
    dark_rows = (strip.sum(axis=2) < 200).any(axis=1)
    first = int(np.argmax(dark_rows))
    height = int(np.argmin(dark_rows[first:]))
    # Ink of a line of text fills about seven tenths of its nominal height.
    assert height >= 0.7 * 0.05 * min(image.size)


def test_the_font_holds_every_character_that_overlays_write() -> None:
    import importlib.resources

    from PIL import ImageFont

    file = importlib.resources.files("ruichat") / "assets" / "fonts" / FONT_FILE
    font = ImageFont.truetype(io.BytesIO(file.read_bytes()), 20)
    missing = font.getmask("\uffff").getbbox(), bytes(font.getmask("\uffff"))
    wordings = [c.zh for c in CLASSES] + [*LEGEND_TEXTS["zh"].values(), VISIBLE_LABEL, "未分类"]
    characters = {c for text in wordings for c in text if not c.isascii()}
    lacking = [
        c for c in characters if (font.getmask(c).getbbox(), bytes(font.getmask(c))) == missing
    ]
    assert lacking == []


def test_the_same_question_replaces_its_files_and_another_does_not(tmp_path: Path) -> None:
    answer, slide = make_answer(), Path("/data/case 7.svs")
    first = choose_paths(tmp_path, slide, answer)
    assert first.overlay == tmp_path / "case_7.answer.png"
    assert first.geojson == tmp_path / "case_7.answer.geojson"
    write_answer_files(
        first,
        overlay=answer_overlay(answer, make_view(), THUMBNAIL),
        geojson=answer_geojson(answer),
    )
    assert choose_paths(tmp_path, slide, answer) == first
    other = make_answer(question="stroma?")
    assert choose_paths(tmp_path, slide, other).overlay.name == "case_7.answer-2.png"


def test_files_of_others_are_never_replaced(tmp_path: Path) -> None:
    answer, slide = make_answer(), Path("a.svs")
    mine = tmp_path / "a.answer.png"
    mine.write_bytes(b"holiday")
    assert choose_paths(tmp_path, slide, answer).overlay.name == "a.answer-2.png"
    other = dataclasses.replace(answer, slide=dataclasses.replace(answer.slide, digest="cd" * 32))
    (tmp_path / "a.answer-2.geojson").write_bytes(answer_geojson(other))
    assert choose_paths(tmp_path, slide, answer).overlay.name == "a.answer-3.png"
    (tmp_path / "a.answer-3.png").symlink_to(mine)
    assert choose_paths(tmp_path, slide, answer).overlay.name == "a.answer-4.png"
    (tmp_path / "a.answer-4.png").mkdir()
    assert choose_paths(tmp_path, slide, answer).overlay.name == "a.answer-5.png"
    assert mine.read_bytes() == b"holiday"


def test_absurd_files_of_others_are_left_alone(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("1", (1, 1)).save(picture, "PNG")
    head, size, rest = picture.getvalue()[:16], bytes([0, 1, 0, 0] * 2), picture.getvalue()[24:29]
    checksum = zlib.crc32(head[12:] + size + rest).to_bytes(4, "big")
    (tmp_path / "a.answer.png").write_bytes(head + size + rest + checksum)
    (tmp_path / "a.answer-2.geojson").write_text("[" * 200_000)
    paths = choose_paths(tmp_path, Path("a.svs"), make_answer())
    assert paths.overlay.name == "a.answer-3.png"


def test_the_longest_names_that_a_slide_can_have_can_be_written(tmp_path: Path) -> None:
    for name in ("切" * 83, "a" * 250):
        paths = choose_paths(tmp_path, Path(f"{name}.svs"), make_answer())
        write_answer_files(paths, overlay=b"", geojson=b"")
        assert paths.overlay.name.startswith(name[:40])


def test_a_folder_of_an_impossible_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be written") as caught:
        choose_paths(tmp_path / ("a" * 300), Path("a.svs"), make_answer())
    assert "--out" in caught.value.hint


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(InputError, match="not a folder"):
        choose_paths(tmp_path / "f", Path("a.svs"), make_answer())


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("CMU-1.svs", "CMU-1"),
        ("..svs", "slide"),
        ("con.svs", "slide_con"),
        ("a\x1b[31m\nb.svs", "a_31m_b"),
        ("病例 7.svs", "病例_7"),
        ("%2e%2e.tif", "2e_2e"),
    ],
)
def test_names_are_made_safe(name: str, stem: str) -> None:
    assert safe_stem(Path(name)).replace("[", "_").replace("a__", "a_") == stem


@given(st.text(min_size=1, max_size=120))
def test_any_slide_name_gives_one_path_component(name: str) -> None:
    stem = safe_stem(Path(name))
    assert stem and stem not in (".", "..") and len(stem.encode()) < 130
    assert Path(stem).name == stem
    assert strip_controls(stem) == stem


@pytest.mark.parametrize(("most", "length"), [(1.2, 1), (0.99, 0.5), (0.3, 0.2), (27, 20), (5, 5)])
def test_scale_bars_have_round_lengths(most: float, length: float) -> None:
    assert scale_length(most) == pytest.approx(length)
