"""Stain normalisation against the published procedure, written out in NumPy and float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from ruichat.errors import ModelError, PrerequisiteError
from ruichat.features.card import IMAGENET_MEAN, IMAGENET_STD
from ruichat.features.encoder import ENCODERS
from ruichat.features.encoders.macenko import Stains, normalise_stains, read_target
from ruichat.features.encoders.preprocess import prepare
from ruichat.features.encoders.weights import find_files
from ruichat.features.runtime.encoder import ModuleEncoder, Parts
from ruichat.features.runtime.ways import RunConfig, Way
from ruichat.slide.phantom import PhantomConfig, draw_phantom

Rgb = NDArray[np.uint8]


def tissue(side: int, seed: int = 0) -> Rgb:
    config = PhantomConfig(seed=seed, width0=side, height0=side, mpp=0.5, fill=True)
    return np.ascontiguousarray(draw_phantom(config).rgb)


def nearest(values: NDArray[np.float64], percent: int) -> np.float64:
    return np.sort(values)[round(percent / 100 * (len(values) - 1))]


def separate(rgb: Rgb) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Stains [3,2], amounts [2,p] and their 99th percentiles [2]."""
    density = -np.log((rgb.reshape(-1, 3).astype(np.float64) + 1) / 240)
    stained = density[(density >= 0.15).all(axis=1)]
    plane = np.linalg.eigh(np.cov(stained.T))[1][:, 1:]
    angles = np.arctan2(*(stained @ plane).T[::-1])
    ends = [nearest(angles, percent) for percent in (1, 99)]
    low, high = (plane @ np.array([np.cos(angle), np.sin(angle)]) for angle in ends)
    stains = np.stack((low, high) if low[0] > high[0] else (high, low), axis=1)
    amounts = np.linalg.pinv(stains) @ density.T
    return stains, amounts, np.array([nearest(amount, 99) for amount in amounts])


def by_hand(rgb: Rgb, target: Rgb) -> NDArray[np.float64]:
    wanted, _, strongest = separate(target)
    _, amounts, own = separate(rgb)
    found = 240 * np.exp(-wanted @ (amounts * (strongest / own)[:, None]))
    return np.minimum(found, 255).T.reshape(rgb.shape)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rgb, Stains]]:
    picture = tissue(320, seed=9)
    path = tmp_path_factory.mktemp("target") / "target.png"
    Image.fromarray(picture).save(path)
    yield picture, read_target(path)


def test_tiles_get_the_stains_of_the_target(target: tuple[Rgb, Stains]) -> None:
    picture, stains = target
    tiles = np.stack([tissue(256, seed) for seed in range(3)])
    for given, tile in zip(normalise_stains(tiles, stains), tiles, strict=True):
        np.testing.assert_allclose(given, by_hand(tile, picture), atol=0.02)


@pytest.mark.slides
def test_real_tiles_get_the_stains_of_another(shared_data: Path) -> None:
    folders = ("crc5_polito", "lc25000_lung", "oscc", "camelyon512", "glioma", "tnbc")
    files = [
        path
        for folder in folders
        for path in sorted((shared_data / "tiles" / folder).rglob("*.[jp][pn]g"))[::29][:3]
        if "mask" not in str(path)
    ]
    assert len(files) >= 10
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in files]
    stains, _, strongest = separate(pictures[0])
    given = Stains(torch.tensor(stains).float(), torch.tensor(strongest).float())
    for path, picture in zip(files, pictures, strict=True):
        found = normalise_stains(picture[None], given)[0]
        np.testing.assert_allclose(
            found, by_hand(picture, pictures[0]), atol=0.05, err_msg=path.name
        )


def one_dark_pixel(side: int) -> Rgb:
    tile = np.full((side, side, 3), 255, np.uint8)
    tile[3, 5] = (120, 60, 140)
    return tile


@pytest.mark.parametrize(
    "tile",
    [
        np.full((64, 64, 3), 255, np.uint8),
        np.full((64, 64, 3), (255, 0, 0), np.uint8),
        np.full((64, 64, 3), (230, 228, 231), np.uint8),
        one_dark_pixel(64),
    ],
    ids=["white", "pure red", "pale", "one dark pixel"],
)
def test_a_tile_without_stain_stays_as_it_is(tile: Rgb, target: tuple[Rgb, Stains]) -> None:
    np.testing.assert_array_equal(normalise_stains(tile[None], target[1])[0], tile)


@pytest.mark.parametrize("colour", [(0, 0, 0), (180, 90, 160), (1, 2, 3)])
def test_a_tile_of_one_colour_stays_one_colour(
    colour: tuple[int, int, int], target: tuple[Rgb, Stains]
) -> None:
    tile = np.full((1, 64, 64, 3), colour, np.uint8)
    found = normalise_stains(tile, target[1])
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 255
    assert np.ptp(found, axis=(1, 2)).max() < 0.01


def test_a_tile_doesnt_hang_on_its_neighbours(target: tuple[Rgb, Stains]) -> None:
    tiles = np.stack([tissue(64, 1), np.full((64, 64, 3), 255, np.uint8), tissue(64, 2)])
    together = normalise_stains(tiles, target[1])
    alone = np.concatenate([normalise_stains(tile[None], target[1]) for tile in tiles])
    # Sums run in another order in a batch; a neighbour would change whole grey levels.
    np.testing.assert_allclose(together, alone, atol=1e-3)


def resized(picture: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    planes = [Image.fromarray(picture[..., c].astype(np.float32)) for c in range(3)]
    size = (side, side)
    return np.stack([np.asarray(p.resize(size, Image.Resampling.BICUBIC)) for p in planes], axis=2)


@pytest.mark.parametrize("side", [256, 300])
def test_exaonepaths_transform_is_the_published_one(side: int, target: tuple[Rgb, Stains]) -> None:
    tile, (picture, stains) = tissue(side, 4), target
    wanted = by_hand(tile, picture)
    wanted = (wanted if side == 256 else resized(wanted, 256))[16:240, 16:240]
    wanted = (wanted / 255 - IMAGENET_MEAN) / IMAGENET_STD
    found = prepare(tile[None], ENCODERS.get("exaonepath"), stains)[0]
    np.testing.assert_allclose(found, wanted.transpose(2, 0, 1), atol=5e-4)


class MeanColour(nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean(dim=(2, 3))


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_encoders_run_on_what_isnt_rounded(
    runtime: str, target: tuple[Rgb, Stains], tmp_path: Path
) -> None:
    pytest.importorskip("openvino") if runtime == "openvino" else None
    card = replace(ENCODERS.get("exaonepath"), dim=3)
    run = RunConfig.of(Way.parse(f"{runtime}-fp32"))
    encoder = ModuleEncoder(
        card, lambda: Parts(MeanColour(), target[1]), "digest", run, cache=tmp_path
    )
    tiles = np.stack([tissue(256, seed) for seed in range(2)])
    wanted = prepare(tiles, card, target[1]).mean(axis=(2, 3))
    np.testing.assert_allclose(encoder.encode(tiles), wanted, atol=1e-5)


def test_the_target_is_found_beside_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    card = ENCODERS.get("exaonepath")
    weights = tmp_path / "EXAONEPath.ckpt"
    weights.write_bytes(b"weights")
    with pytest.raises(PrerequisiteError, match="isn't beside its weights") as caught:
        find_files(card, weights)
    assert "--download" in caught.value.hint and "macenko_target/" in caught.value.hint
    path = tmp_path / card.stain_target
    path.parent.mkdir()
    path.write_bytes(b"one")
    found = find_files(card, tmp_path)
    assert (found.weights, found.stain_target) == (weights, path)
    digest = found.digest()
    path.write_bytes(b"another")
    assert found.digest() != digest, "bags of another target don't mix with these"


def test_a_target_that_isnt_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "target.png"
    for content, words in (
        (np.full((32, 32, 3), 255, np.uint8), "no stained tissue"),
        (np.full((32, 32), 90, np.uint8), "of mode L, not RGB"),
    ):
        Image.fromarray(content).save(path)
        with pytest.raises(ModelError, match=words):
            read_target(path)
    path.write_bytes(b"none")
    with pytest.raises(ModelError, match="can't be read as an image"):
        read_target(path)
