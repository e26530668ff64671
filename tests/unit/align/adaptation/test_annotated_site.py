"""Annotated slides become a site with patients held out, and say early what can't be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from annotated import SPAN, outline, write_annotated_site, write_annotations, write_listing
from fakes import MeanColourEncoder

from ruichat.align.adaptation.adapt import AdaptConfig, adapt
from ruichat.align.adaptation.site import SiteConfig, read_site
from ruichat.errors import ConfigError, InputError
from ruichat.histology import KEYS

LABELS = {"tumour": "carcinoma_glands", "healthy": "normal_glands"}
GUIDES = Path(__file__).parents[4] / "docs"
WHOLE = (0, 0, 4 * SPAN, 3 * SPAN)


def site_config(folder: Path, **settings: Any) -> SiteConfig:
    slides = {"name": "elsewhere", "folder": str(folder)}
    return SiteConfig.model_validate({"slides": slides, "labels": LABELS} | settings)


def test_patients_are_held_out_whole(tmp_path: Path) -> None:
    patients = ("P1", "P2", "P1", "P3")
    folder = write_annotated_site(tmp_path / "site", "abcd", patients)
    done: list[tuple[int, int]] = []
    site = read_site(
        site_config(folder),
        tmp_path,
        MeanColourEncoder(),
        tick_slides=lambda *at: done.append(at),
    )
    assert site.labels == tuple(LABELS) and len(site.label) == 4 * 12
    assert [KEYS[c] for c in site.parent] == list(LABELS.values())
    held_out, learned = set(site.group[site.test]), set(site.group[~site.test])
    assert held_out and learned and held_out | learned == set(patients)
    assert not held_out & learned
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_tiles_are_encoded_once_for_all_runs(tmp_path: Path) -> None:
    folder, kept = write_annotated_site(tmp_path / "site"), tmp_path / "kept"
    first, again = MeanColourEncoder(), MeanColourEncoder()
    for encoder in (first, again):
        read_site(site_config(folder), tmp_path, encoder, kept=kept)
    assert (first.tiles, again.tiles) == (36, 0)


@pytest.mark.parametrize("sources", [(), ("tiles", "slides")])
def test_a_site_has_one_source(tmp_path: Path, sources: tuple[str, ...]) -> None:
    given = {name: {"name": "elsewhere", "folder": "site"} for name in sources}
    with pytest.raises(ConfigError, match="of tiles and slides given; keep one: tiles for"):
        SiteConfig.checked(given | {"labels": LABELS}, source="adapt.yaml")


def test_the_guides_say_the_same_and_what_is_read() -> None:
    english, chinese = (
        re.findall(r"^```(?:yaml|csv)\n(.*?)^```", guide.read_text(encoding="utf-8"), re.M | re.S)
        for guide in (GUIDES / "adapt.md", GUIDES / "adapt.zh.md")
    )
    assert len(english) == 3 and english[1] == chinese[1]
    assert english[1].splitlines()[0] == "slide,annotations,patient"
    for at in (0, 2):
        assert yaml.safe_load(english[at]) == yaml.safe_load(chinese[at])
        AdaptConfig.model_validate(yaml.safe_load(english[at]))


def adapt_nothing(folder: Path) -> None:
    """Of a model that isn't there: whatever is told of the site is told before it is looked for."""
    site = site_config(folder)
    adapt(AdaptConfig(name="new", model="missing", site=site), folder, folder / "run")


def test_classes_that_the_site_does_not_name_are_told_early(tmp_path: Path) -> None:
    folder = write_annotated_site(tmp_path / "site")
    features = [outline("nerve", WHOLE), outline("vessel", WHOLE)]
    write_annotations(folder / "b.geojson", features)
    with pytest.raises(ConfigError) as caught:
        adapt_nothing(folder)
    assert "nerve, vessel (the first in b.geojson)" in caught.value.message
    assert "it names tumour, healthy" in caught.value.message
    assert "site.slides.leave_out" in caught.value.hint


def test_one_patient_alone_is_told_early(tmp_path: Path) -> None:
    folder = write_annotated_site(tmp_path / "site", patients=("P1", "P1", "P1"))
    with pytest.raises(InputError, match="healthy, tumour in one patient alone") as caught:
        adapt_nothing(folder)
    assert "slides of others" in caught.value.hint
    write_listing(folder, ("a",))
    with pytest.raises(InputError, match=r"in one slide, where slides\.csv names no patients"):
        adapt_nothing(folder)


def test_slides_without_a_classified_outline_are_told_early(tmp_path: Path) -> None:
    folder = write_annotated_site(tmp_path / "site", ("a",))
    write_annotations(folder / "a.geojson", [outline(None, WHOLE)])
    with pytest.raises(InputError, match="no area with a class is annotated"):
        adapt_nothing(folder)


def test_a_missing_slide_and_a_broken_file_are_told_early(tmp_path: Path) -> None:
    folder = write_annotated_site(tmp_path / "site")
    (folder / "c.geojson").write_text('{"type":')
    with pytest.raises(InputError, match=r"c\.geojson: line 1, column 9"):
        adapt_nothing(folder)
    (folder / "c.tif").unlink()
    with pytest.raises(InputError, match=r"names 'c\.tif', which isn't in"):
        adapt_nothing(folder)


def test_a_label_with_too_few_tiles_is_named(tmp_path: Path) -> None:
    folder = write_annotated_site(tmp_path / "site")
    for name in "abc":
        features = [outline("tumour", WHOLE), outline("healthy", (0, 0, SPAN, SPAN))]
        write_annotations(folder / f"{name}.geojson", features[: 1 if name == "c" else 2])
    with pytest.raises(InputError, match="label 'healthy' of elsewhere has 2 tiles") as caught:
        read_site(site_config(folder), tmp_path, MeanColourEncoder())
    assert "site.slides.leave_out" in caught.value.hint
