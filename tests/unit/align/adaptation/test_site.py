"""A folder of labelled tiles becomes a site with tiles held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import MeanColourEncoder
from PIL import Image
from pydantic import ValidationError

from ruichat.align.adaptation.site import SiteConfig, read_site
from ruichat.errors import ConfigError, InputError
from ruichat.histology import KEYS

LABELS = {"adenoma": "colorectal_polyp", "healthy": "normal_glands"}


def write_tiles(folder: Path, num: int = 10, labels: tuple[str, ...] = tuple(LABELS)) -> Path:
    """Tiles whose colour tells their label, numbered."""
    folder.mkdir(parents=True)
    lines = ["file,label"]
    for i in range(num):
        for at, label in enumerate(labels):
            colour = (120 + 70 * at, 100, 150 + 2 * i)
            Image.new("RGB", (224, 224), colour).save(folder / f"{label}_{i}.png")
            lines.append(f"{label}_{i}.png,{label}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def site_config(folder: Path, **settings: object) -> SiteConfig:
    tiles = {"name": "elsewhere", "folder": str(folder), "number": r"_(\d+)\.", "block": 2}
    return SiteConfig.model_validate({"tiles": tiles, "labels": LABELS, **settings})


def test_the_last_files_of_each_label_are_held_out(tmp_path: Path) -> None:
    config = site_config(write_tiles(tmp_path / "tiles"))
    site = read_site(config, tmp_path, MeanColourEncoder())
    assert site.labels == ("adenoma", "healthy")
    assert [KEYS[c] for c in site.parent] == list(LABELS.values())
    for label in (0, 1):
        assert site.test[site.label == label].tolist() == [False] * 7 + [True] * 3
    assert set(site.as_bank().split) == {"train", "val"}


def test_groups_are_held_out_whole_where_files_have_no_numbers(tmp_path: Path) -> None:
    folder = write_tiles(tmp_path / "tiles", num=12)
    lines = (folder / "labels.csv").read_text().splitlines()
    rows = [f"{line},p{at // 4}" for at, line in enumerate(lines[1:])]
    (folder / "labels.csv").write_text("\n".join([f"{lines[0]},patient", *rows]) + "\n")
    tiles = {"name": "elsewhere", "folder": str(folder), "group_column": "patient"}
    config = SiteConfig.model_validate({"tiles": tiles, "labels": LABELS})
    site = read_site(config, tmp_path, MeanColourEncoder())
    assert 0 < site.test.sum() < len(site.test)
    assert not set(site.group[site.test]) & set(site.group[~site.test])
    # Patients count, even where files have numbers.
    numbered = tiles | {"number": r"_(\d+)\."}
    config = SiteConfig.model_validate({"tiles": numbered, "labels": LABELS})
    site = read_site(config, tmp_path, MeanColourEncoder())
    assert not set(site.group[site.test]) & set(site.group[~site.test])
    (folder / "labels.csv").write_text(f"{lines[0]},patient\nadenoma_0.png,adenoma\n")
    with pytest.raises(InputError, match="record 1 has no patient"):
        read_site(config, tmp_path, MeanColourEncoder())


@pytest.mark.parametrize(
    ("number", "match"), [(r"\d+", "no group"), (r"_(\d+", "no regular expression")]
)
def test_a_pattern_that_finds_no_number_is_refused(tmp_path: Path, number: str, match: str) -> None:
    tiles = {"name": "elsewhere", "folder": str(tmp_path), "number": number}
    with pytest.raises(ValidationError, match=match):
        SiteConfig.model_validate({"tiles": tiles, "labels": LABELS})


def test_a_number_that_is_none_is_told(tmp_path: Path) -> None:
    folder = write_tiles(tmp_path / "tiles")
    tiles = {"name": "elsewhere", "folder": str(folder), "number": r"(a|h)"}
    config = SiteConfig.model_validate({"tiles": tiles, "labels": LABELS})
    with pytest.raises(InputError, match="'a' in a file name is no whole number"):
        read_site(config, tmp_path, MeanColourEncoder())


def test_drawing_takes_as_many_of_each_label(tmp_path: Path) -> None:
    config = site_config(write_tiles(tmp_path / "tiles"))
    site = read_site(config, tmp_path, MeanColourEncoder())
    rows = site.draw(3, np.random.default_rng(0))
    assert np.bincount(site.label[rows]).tolist() == [3, 3]
    assert not site.test[rows].any()
    assert len(site.draw(1000, np.random.default_rng(0))) == (~site.test).sum()


def test_labels_without_a_class_and_classes_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    folder = write_tiles(tmp_path / "tiles", labels=("adenoma", "healthy", "fat tissue"))
    with pytest.raises(ConfigError, match="labels without a class: fat tissue"):
        read_site(site_config(folder), tmp_path, MeanColourEncoder())
    with pytest.raises(ValidationError, match="polyp: no tissue class; known: lung_adeno"):
        site_config(folder, labels={"a": "polyp", "b": "fat"})


def test_a_label_with_too_few_tiles_is_named(tmp_path: Path) -> None:
    folder = write_tiles(tmp_path / "tiles", num=2)
    with pytest.raises(InputError, match="'adenoma' of elsewhere has 2 tiles"):
        read_site(site_config(folder), tmp_path, MeanColourEncoder())


def test_a_number_too_long_for_one_is_told(tmp_path: Path) -> None:
    folder = write_tiles(tmp_path / "tiles", num=2)
    long = "1" * 20
    (folder / "adenoma_0.png").rename(folder / f"adenoma_{long}.png")
    listed = folder / "labels.csv"
    listed.write_text(listed.read_text().replace("adenoma_0", f"adenoma_{long}"))
    with pytest.raises(InputError, match="has 20 digits; at most 18"):
        read_site(site_config(folder), tmp_path, MeanColourEncoder())


def test_tiles_are_encoded_once_for_all_runs(tmp_path: Path) -> None:
    folder, kept = write_tiles(tmp_path / "tiles"), tmp_path / "kept"
    config, first = site_config(folder), MeanColourEncoder()
    site = read_site(config, tmp_path, first, kept=kept)
    again = MeanColourEncoder()
    same = read_site(config, tmp_path, again, kept=kept)
    assert (first.tiles, again.tiles) == (20, 0)
    np.testing.assert_array_equal(same.embeddings, site.embeddings)
    # A tile that changed is encoded, and all of them by other weights.
    (folder / "healthy_1.png").write_bytes((folder / "adenoma_1.png").read_bytes())
    changed = read_site(config, tmp_path, again, kept=kept)
    assert again.tiles == 0  # Its pixels are known, under another name.
    np.testing.assert_array_equal(changed.embeddings[3], site.embeddings[2])
    Image.new("RGB", (224, 224), (1, 2, 3)).save(folder / "healthy_1.png")
    read_site(config, tmp_path, again, kept=kept)
    assert again.tiles == 1
    other = MeanColourEncoder(weights="2")
    read_site(config, tmp_path, other, kept=kept)
    assert other.tiles == 20


def test_embeddings_of_another_card_are_not_taken(tmp_path: Path) -> None:
    config, kept = site_config(write_tiles(tmp_path / "tiles")), tmp_path / "kept"
    read_site(config, tmp_path, MeanColourEncoder(), kept=kept)
    corrected = MeanColourEncoder()
    corrected.card = replace(corrected.card, mean=(0.7, 0.6, 0.7))
    read_site(config, tmp_path, corrected, kept=kept)
    assert corrected.tiles == 20
