"""Annotated slides become labelled tiles: which tiles, of which label and group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotated import (
    SPAN,
    outline,
    write_annotated_site,
    write_annotations,
    write_listing,
)
from drawn import draw_tissue, slide_of, write_pyramid
from fakes import MeanColourEncoder
from pydantic import ValidationError

from ruichat.errors import InputError
from ruichat.slide.grid import TileGrid
from ruichat.slide.opening import open_slide
from ruichat.truth import annotated_slides
from ruichat.truth.annotated_slides import SlidesConfig, label_tiles, look_at_slides, read_slides
from ruichat.truth.annotations import read_annotations
from ruichat.truth.tile_folders import LabelledTiles

WHOLE = (0, 0, 4 * SPAN, 3 * SPAN)


def slides_config(folder: Path, **settings: Any) -> SlidesConfig:
    return SlidesConfig(name="elsewhere", folder=str(folder), **settings)


def read(folder: Path, **settings: Any) -> LabelledTiles:
    config = slides_config(folder, **settings)
    return read_slides(config, look_at_slides(config, folder), MeanColourEncoder().card)


def labels_of(tmp_path: Path, features: list[Any], leave_out: tuple[str, ...] = ()) -> Any:
    """Of 3 x 4 tiles."""
    outlines = read_annotations(write_annotations(tmp_path / "a.geojson", features)).outlines
    y, x = np.mgrid[0:3, 0:4] * SPAN
    grid = TileGrid(np.stack([x.ravel(), y.ravel()], 1), SPAN, SPAN, 0.5)
    slide = slide_of(np.zeros((3 * SPAN, 4 * SPAN, 3), np.uint8))
    return label_tiles(grid, slide, outlines, leave_out).reshape(3, 4)


def test_a_tile_has_the_label_that_covers_most_of_it(tmp_path: Path) -> None:
    third = (0, 0, round(1.6 * SPAN), round(1.4 * SPAN))
    found = labels_of(tmp_path, [outline("tumour", third)])
    assert found.tolist() == [["tumour", "tumour", "", ""], [""] * 4, [""] * 4]


def test_the_smaller_outline_counts_and_what_is_left_out_takes_away(tmp_path: Path) -> None:
    small, large = outline("tumour", (0, 0, SPAN, SPAN)), outline("stroma", WHOLE)
    spoilt = outline("Ignore*", (0, SPAN, 4 * SPAN, 3 * SPAN))
    for features in ([small, large, spoilt], [spoilt, large, small]):
        found = labels_of(tmp_path, features, ("Ignore*",))
        assert found[0].tolist() == ["tumour", "stroma", "stroma", "stroma"]
        assert (found[1:] == "").all()


def test_tiles_lie_on_tissue_and_groups_are_patients_or_slides(tmp_path: Path) -> None:
    folder = write_annotated_site(tmp_path / "site", patients=("P1", "P1", "P2"))
    picture = draw_tissue(4 * SPAN, 3 * SPAN)
    picture[:, SPAN:] = 250
    write_pyramid(folder / "c.tif", picture, mpp=0.5)
    tiles = read(folder)
    assert tiles.rgb.shape == (6 + 6 + 6 + 6 + 3, 224, 224, 3)
    assert tiles.label[-3:].tolist() == ["tumour"] * 3
    assert tiles.group.tolist() == ["P1"] * 24 + ["P2"] * 3
    assert not any("patient" in note for note in tiles.notes)
    write_listing(folder, ("a", "b"))
    tiles = read(folder)
    assert tiles.group.tolist() == ["a.tif"] * 12 + ["b.tif"] * 12
    assert any("each slide is taken for a patient" in note for note in tiles.notes)


def test_the_pixels_are_those_of_the_tile(tmp_path: Path) -> None:
    folder = write_annotated_site(tmp_path / "site", ("a",))
    tiles = read(folder)
    picture = draw_tissue(4 * SPAN, 3 * SPAN, seed=0)
    assert (tiles.rgb[0] == picture[:SPAN, :SPAN]).all() and tiles.label[0] == "tumour"
    assert (tiles.rgb[-1] == picture[-SPAN:, -SPAN:]).all() and tiles.label[-1] == "healthy"


def test_a_slide_gives_no_more_of_a_label_than_asked(tmp_path: Path) -> None:
    folder = write_annotated_site(tmp_path / "site", ("a", "b"))
    tiles = read(folder, max_tiles=2)
    names = list(zip(tiles.group.tolist(), tiles.label.tolist(), strict=True))
    assert {name: names.count(name) for name in names} == {
        (slide, label): 2 for slide in ("a.tif", "b.tif") for label in ("tumour", "healthy")
    }
    assert any(note.startswith("8 of 24 outlined tiles were drawn") for note in tiles.notes)
    assert (read(folder, max_tiles=2).rgb == tiles.rgb).all()
    assert any((read(folder, max_tiles=2, seed=s).rgb != tiles.rgb).any() for s in (1, 2, 3))


def test_what_was_left_out_is_noted(tmp_path: Path) -> None:
    folder = write_annotated_site(tmp_path / "site", ("a",))
    features = [outline("tumour", WHOLE), outline(None, WHOLE), outline("tumour", (0, 0, 9, 9))]
    write_annotations(folder / "a.geojson", features)
    notes = read(folder).notes
    assert "left out: 1 annotations without a class" in notes
    assert "1 outlines are smaller than half a tile" in notes


def test_formats_with_another_origin_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_annotated_site(tmp_path / "site", ("a",))
    assert not any("QuPath" in note for note in read(folder).notes)
    with open_slide(folder / "a.tif") as slide:
        monkeypatch.setattr(annotated_slides, "_BOUNDED", (slide.vendor,))
    assert any(note.startswith("slide 1: QuPath counts from") for note in read(folder).notes)


def test_the_listing_itself_may_be_given(tmp_path: Path) -> None:
    folder = write_annotated_site(tmp_path / "site", ("a",))
    done: list[tuple[int, int]] = []
    config = slides_config(folder / "slides.csv")
    slides = look_at_slides(config, tmp_path, lambda *at: done.append(at))
    assert [one.name for one in slides] == ["a.tif"] and done == [(1, 1)]


def test_a_label_without_a_tile_is_named(tmp_path: Path) -> None:
    folder = write_annotated_site(tmp_path / "site", ("a",))
    features = [outline("tumour", WHOLE), outline("nerve", (0, 0, 90, 90))]
    write_annotations(folder / "a.geojson", features)
    with pytest.raises(InputError, match="outline of nerve; tiles are 112 um a side") as caught:
        read(folder)
    assert "leave_out" in caught.value.hint
    assert set(read(folder, leave_out=("nerve",)).label) == {"tumour"}


@pytest.mark.parametrize(
    ("listing", "match"),
    [
        (None, r"no slides\.csv in .*site"),
        ("slide\na.tif\n", "needed: .'annotations', 'slide'"),
        ("slide,annotations\na.tif,b.geojson\n", r"names 'b\.geojson', which isn't in"),
        ("slide,annotations\nb.tif,a.geojson\n", r"names 'b\.tif', which isn't in"),
        ("slide,annotations\n../a.tif,a.geojson\n", r"names '\.\./a\.tif'; allowed are files"),
        ("slide,annotations\na.tif,a.geojson\na.tif,a.geojson\n", r"names 'a\.tif' twice"),
        ("slide,annotations,patient\na.tif,a.geojson,\n", "record 1 has no patient"),
    ],
)
def test_listings_that_can_not_be_right_are_refused(
    tmp_path: Path, listing: str | None, match: str
) -> None:
    folder = write_annotated_site(tmp_path / "site", ("a",))
    (folder / "slides.csv").unlink()
    if listing is not None:
        (folder / "slides.csv").write_text(listing)
    with pytest.raises(InputError, match=match) as caught:
        look_at_slides(slides_config(folder), tmp_path)
    assert caught.value.hint


def test_a_slide_without_a_resolution_needs_one(tmp_path: Path) -> None:
    folder = write_annotated_site(tmp_path / "site", ("a",))
    write_pyramid(folder / "a.tif", draw_tissue(4 * SPAN, 3 * SPAN), mpp=None)
    with pytest.raises(InputError, match=r"a\.tif: .* no resolution") as caught:
        look_at_slides(slides_config(folder), tmp_path)
    assert "site.slides.mpp" in caught.value.hint
    assert len(read(folder, mpp=0.5).label) == 12
    with pytest.raises(ValidationError, match="less than or equal to 10"):
        slides_config(folder, mpp=250)


def test_outlines_of_another_slide_are_told(tmp_path: Path) -> None:
    folder = write_annotated_site(tmp_path / "site", ("a",))
    beside = outline("tumour", (9 * SPAN, 0, 10 * SPAN, SPAN))
    write_annotations(folder / "a.geojson", [beside])
    with pytest.raises(InputError, match=r"a\.geojson: feature 1: it lies beside the slide"):
        look_at_slides(slides_config(folder), tmp_path)
