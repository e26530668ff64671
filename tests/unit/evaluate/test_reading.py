from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import MeanColourEncoder
from PIL import Image

from ruichat.errors import InputError
from ruichat.evaluate.reading import TileReader
from ruichat.truth.colour import COLOUR_DIM, colour_statistics
from ruichat.truth.tile_folders import FolderConfig, read_folder


def write_folder(folder: Path, size: tuple[int, int] = (224, 224), num: int = 6) -> Path:
    folder.mkdir()
    lines = ["file,label,slide"]
    for i in range(num):
        colour = (200, 120, 160 + i) if i % 2 else (120, 80, 150 + i)
        Image.new("RGB", size, colour).save(folder / f"tile_{i}.png")
        lines.append(f"tile_{i}.png,{'pink' if i % 2 else 'purple'},s{i // 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def read(folder: Path, **settings: object) -> object:
    config = FolderConfig.model_validate({"name": "own", "folder": str(folder), **settings})
    return read_folder(config, Path(), tile_px=224, tile_mpp=0.5)


def test_a_folder_is_read_with_its_groups(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "own")
    tiles = read(folder, group_column="slide")
    assert tiles.rgb.shape == (6, 224, 224, 3)
    assert tiles.label.tolist()[:2] == ["purple", "pink"]
    assert tiles.group.tolist() == ["s0", "s0", "s1", "s1", "s2", "s2"]
    numbered = read(folder, number=r"_(\d+)\.", block=4)
    assert numbered.number.tolist() == list(range(6))
    assert numbered.group.tolist()[4:] == ["purple/1", "pink/1"]


@pytest.mark.parametrize(
    ("size", "settings", "num"),
    [((448, 448), {}, 6), ((448, 460), {"max_windows": 4}, 24), ((448, 448), {"shrink": 2}, 6)],
)
def test_larger_images_are_cut(
    tmp_path: Path, size: tuple[int, int], settings: dict[str, int], num: int
) -> None:
    tiles = read(write_folder(tmp_path / "own", size), **settings)
    assert tiles.rgb.shape == (num, 224, 224, 3) and tiles.notes == ()


def test_smaller_images_are_enlarged_and_that_is_said(tmp_path: Path) -> None:
    tiles = read(write_folder(tmp_path / "own", (100, 120)))
    assert tiles.rgb.shape == (6, 224, 224, 3)
    assert "6 images smaller than 224 px" in tiles.notes[0]


def test_resolution_is_matched(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "own", (448, 448))
    assert read(folder, mpp=0.25).notes == ()
    assert read(folder, mpp=0.125).notes != ()


@pytest.mark.parametrize(
    ("listing", "words"),
    [
        ("file,label\n../labels.csv,a\n", "allowed are images"),
        ("file,label\n../../secret.png,a\n", "allowed are images"),
        ("file,label\nmissing.png,a\n", "can't be read"),
        ("file,label\ntile_0.png,\n", "record 1 has no label"),
        ("file,label\ntile_0.png,a\n,\n", "record 2 has no file and no label"),
        ("file\ntile_0.png,a\n", "has columns"),
        ("name,label\ntile_0.png,a\n", "needed"),
        ("", "needed"),
    ],
)
def test_a_wrong_listing_is_named(tmp_path: Path, listing: str, words: str) -> None:
    folder = write_folder(tmp_path / "own")
    (folder / "labels.csv").write_text(listing)
    with pytest.raises(InputError, match=words):
        read(folder)


def test_a_missing_listing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no labels\.csv"):
        read(tmp_path)


def test_tiles_are_encoded_once(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (5, 224, 224, 3), np.uint8)
    encoder = MeanColourEncoder()
    reader = TileReader(encoder, tmp_path, random_seed=0)
    first = reader.encode(rgb)
    again = TileReader(encoder, tmp_path, random_seed=0).encode(rgb)
    assert encoder.tiles == 5
    assert np.array_equal(first.embeddings, again.embeddings) and first.digest == again.digest
    other = MeanColourEncoder(weights="2")
    TileReader(other, tmp_path, random_seed=0).encode(rgb)
    assert other.tiles == 5
    assert first.random.shape == (5, 0)


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    rgb = np.zeros((2, 224, 224, 3), np.uint8)
    encoder = MeanColourEncoder()
    TileReader(encoder, tmp_path, random_seed=0).encode(rgb)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-3])
    TileReader(encoder, tmp_path, random_seed=0).encode(rgb)
    assert encoder.tiles == 4


def test_the_untrained_network_depends_on_its_seed(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (2, 224, 224, 3), np.uint8)
    random = [
        TileReader(MeanColourEncoder(), tmp_path, random_seed=seed)
        .encode(rgb, with_random=True)
        .random
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(random[0], random[1]) and not np.allclose(random[0], random[2])


def test_colour_statistics_are_of_colour_alone() -> None:
    rng = np.random.default_rng(0)
    tile = rng.integers(60, 250, (224, 224, 3)).astype(np.uint8)
    shuffled = rng.permutation(tile.reshape(-1, 3)).reshape(tile.shape)
    rows = colour_statistics(np.stack([tile, shuffled]))
    assert rows.shape == (2, COLOUR_DIM)
    assert np.allclose(rows[0], rows[1], atol=1e-4)
    assert np.allclose(rows[0, :3], tile.reshape(-1, 3).mean(0) / 255, atol=1e-4)
