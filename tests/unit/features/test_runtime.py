"""Every way of running gives the same embeddings; the choice is measured once and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ruichat.errors import ConfigError, InputError, ModelError, PrerequisiteError
from ruichat.features.card import EncoderCard
from ruichat.features.runtime import choice
from ruichat.features.runtime.batches import Batches, is_out_of_memory
from ruichat.features.runtime.choice import MIN_COSINE, Trial, Trials, least_cosine
from ruichat.features.runtime.encoder import ModuleEncoder, Parts, draw_sample
from ruichat.features.runtime.memory import activation_bytes, first_size
from ruichat.features.runtime.runners import TileModule, start
from ruichat.features.runtime.ways import ON_CPU, ON_GPU, RunConfig, Way

SIDE = 64
PATCH = 16
WIDTH = 48

CARD = EncoderCard(
    name="tiny",
    dim=WIDTH,
    tile_px=SIDE,
    tile_mpp=0.5,
    mean=(0.7, 0.6, 0.7),
    std=(0.2, 0.25, 0.2),
    license="Apache-2.0",
    loader="nowhere:none",
)


class TinyViT(nn.Module):
    """Two blocks of a vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)
        self.positions = nn.Parameter(torch.randn(1, (SIDE // PATCH) ** 2, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, 4, 2 * WIDTH, batch_first=True, norm_first=True, activation="gelu", dropout=0
        )
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.patches(pixels).flatten(2).transpose(1, 2) + self.positions
        return self.blocks(tokens).mean(dim=1)


class Cancelling(nn.Module):
    """What is left when two nearly equal products are subtracted: bf16 keeps none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3 * SIDE, WIDTH, bias=False)
        self.second = nn.Linear(3 * SIDE, WIDTH, bias=False)
        with torch.no_grad():
            self.second.weight.copy_(self.first.weight * (1 + 1e-3 * torch.rand(WIDTH, 1)))

    def forward(self, pixels: Tensor) -> Tensor:
        rows = pixels.mean(dim=2).flatten(1)
        return self.first(rows) - self.second(rows)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch a way is enough to choose by."""
    monkeypatch.setattr(choice, "MEASURE_S", 0)


@pytest.fixture(scope="module")
def vit() -> TileModule:
    torch.manual_seed(0)
    return tile_module(TinyViT())


def tile_module(module: nn.Module) -> TileModule:
    return TileModule(module, CARD.mean, CARD.std).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tiles() -> NDArray[np.uint8]:
    return draw_sample(CARD)


def encoder(
    tmp_path: Path, module: nn.Module, notes: list[str] | None = None, **config: object
) -> ModuleEncoder:
    return ModuleEncoder(
        CARD,
        lambda: Parts(module.eval().requires_grad_(False)),
        "digest",
        RunConfig.checked(config, source="test"),
        cache=tmp_path,
        note=(notes if notes is not None else []).append,
    )


@pytest.mark.parametrize("way", ON_CPU, ids=str)
def test_every_way_keeps_the_embeddings(
    way: Way, vit: TileModule, tiles: NDArray[np.uint8]
) -> None:
    if way.runtime == "openvino":
        pytest.importorskip("openvino")
    with torch.inference_mode():
        wanted = vit(torch.from_numpy(tiles)).numpy()
    run = start(vit, way, (SIDE, SIDE))
    found = run(tiles)
    assert found.dtype == np.float32 and found.shape == (len(tiles), WIDTH)
    assert least_cosine(found, wanted) >= (0.999999 if way.precision == "fp32" else MIN_COSINE)
    assert np.array_equal(found, run(tiles))
    one_by_one = np.concatenate([run(tiles[i : i + 1]) for i in range(len(tiles))])
    assert np.abs(one_by_one - found).max() <= 1e-5 * np.abs(wanted).max() or (
        way.precision == "bf16"
    )
    assert least_cosine(one_by_one, found) > 0.99999


@pytest.mark.parametrize("way", [ON_CPU[0], ON_CPU[1]], ids=str)
def test_embeddings_do_not_hang_on_threads(
    way: Way, vit: TileModule, tiles: NDArray[np.uint8]
) -> None:
    before = torch.get_num_threads()
    try:
        one, two = (start(vit, way, (SIDE, SIDE), num_threads=num)(tiles) for num in (1, 2))
    finally:
        torch.set_num_threads(before)
    assert np.abs(one - two).max() <= 1e-5 * np.abs(one).max()


def test_bytes_are_scaled_as_the_card_says() -> None:
    class Center(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return pixels[:, :, 1, 2]

    tile = np.zeros((1, 4, 4, 3), np.uint8)
    tile[0, 1, 2] = (255, 51, 0)
    run = start(tile_module(Center()), Way("torch", "fp32"), (4, 4))
    wanted = (np.array([1, 0.2, 0]) - CARD.mean) / CARD.std
    assert run(tile)[0] == pytest.approx(wanted, rel=1e-6)


def test_a_module_that_cannot_be_traced_is_refused_for_openvino_alone(tmp_path: Path) -> None:
    pytest.importorskip("openvino")

    class Untraceable(TinyViT):
        def forward(self, pixels: Tensor) -> Tensor:
            if torch.jit.is_tracing():
                raise NotImplementedError("no graph of this")
            return super().forward(pixels)

    root = logging.getLogger()
    before = root.level, list(root.filters)
    with pytest.raises(ModelError, match="no graph of this"):
        _ = encoder(tmp_path, Untraceable(), runtime="openvino").way
    assert (root.level, root.filters) == before, "warnings are logged as before"
    assert encoder(tmp_path, Untraceable(), precision="fp32").way == Way("torch", "fp32")


def test_bf16_is_refused_where_it_changes_embeddings(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(ModelError, match=r"torch-bf16 0\.\d+"):
        _ = encoder(tmp_path, Cancelling(), runtime="torch", precision="bf16").way
    assert encoder(tmp_path, Cancelling(), runtime="torch").way.precision == "fp32"


def test_the_choice_is_kept_until_a_package_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    torch.manual_seed(0)
    first = encoder(tmp_path, TinyViT(), notes, runtime="torch").way
    assert len(notes) == 2 and "torch-bf16" in notes[1]

    class Never(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            raise AssertionError("a remembered choice runs nothing")

    assert encoder(tmp_path, Never(), notes, runtime="torch").way == first and len(notes) == 2

    version = choice.importlib.metadata.version
    monkeypatch.setattr(choice.importlib.metadata, "version", lambda name: version(name) + ".post1")
    _ = encoder(tmp_path, TinyViT(), notes, runtime="torch").way
    assert len(notes) == 4


def test_a_damaged_memory_of_choices_is_measured_again(tmp_path: Path) -> None:
    notes: list[str] = []
    _ = encoder(tmp_path, TinyViT(), notes, runtime="torch").way
    (kept,) = (tmp_path / "runtimes").iterdir()
    kept.write_text(kept.read_text()[:40])
    _ = encoder(tmp_path, TinyViT(), notes, runtime="torch").way
    assert len(notes) == 4


def test_other_weights_are_measured_on_their_own(tmp_path: Path) -> None:
    notes: list[str] = []
    for digest in ("one", "other"):
        _ = ModuleEncoder(
            CARD,
            lambda: Parts(TinyViT().eval()),
            digest,
            RunConfig(runtime="torch"),
            cache=tmp_path,
            note=notes.append,
        ).way
    assert len(notes) == 4


@pytest.mark.parametrize(
    ("speeds", "best"),
    [
        ((20.0, 17.0, 21.0, 19.0), "openvino-fp32"),  # bf16 isn't worth 5 %
        ((20.0, 17.0, 36.0, 30.0), "openvino-bf16"),
        ((20.0, 24.0, 24.0, 30.0), "torch-bf16"),
    ],
)
def test_bf16_is_taken_where_it_is_worth_it(speeds: tuple[float, ...], best: str) -> None:
    trials = tuple(
        Trial(way=str(way), tiles_per_s=speed, cosine=1.0)
        for way, speed in zip(ON_CPU, speeds, strict=True)
    )
    assert str(Trials(place={}, trials=trials).best()) == best


def no_parts() -> Parts:
    raise AssertionError("its files aren't needed")


def test_a_way_that_another_process_chose_is_not_measured_again(tmp_path: Path) -> None:
    config = RunConfig.of(Way("torch", "bf16"))
    chosen = ModuleEncoder(CARD, no_parts, "digest", config, cache=tmp_path, note=pytest.fail)
    assert chosen.way == Way("torch", "bf16")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", (*ON_CPU, *ON_GPU), ids=str)
def test_ways_have_a_text_form(way: Way) -> None:
    assert Way.parse(str(way)) == way


def test_unknown_and_contradictory_ways_are_refused() -> None:
    with pytest.raises(ConfigError, match="torch-int8"):
        Way.parse("torch-int8")
    with pytest.raises(ConfigError, match="don't go together"):
        RunConfig(runtime="openvino", precision="fp16").ways(has_gpu=False)
    with pytest.raises(ConfigError, match="don't go together"):
        RunConfig(runtime="openvino", device="cuda:1").ways(has_gpu=True)
    with pytest.raises(ConfigError, match="don't go together"):
        RunConfig(runtime="cuda", device="cpu").ways(has_gpu=True)
    with pytest.raises(ConfigError, match="device"):
        RunConfig.checked({"device": "gpu0"}, source="test")
    with pytest.raises(PrerequisiteError, match="GPU"):
        RunConfig(device="cuda").ways(has_gpu=False)


def test_a_gpu_is_taken_where_there_is_one() -> None:
    assert {way.runtime for way in RunConfig().ways(has_gpu=True)} == {"cuda"}
    assert {way.runtime for way in RunConfig(device="cpu").ways(has_gpu=True)} == {
        "openvino",
        "torch",
    }
    assert RunConfig(runtime="torch").ways(has_gpu=True)[0] == Way("torch", "fp32")


def exhausted_above(
    most: int, error: Callable[[], Exception], sizes: list[int]
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    def run(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        sizes.append(len(tiles))
        if len(tiles) > most:
            raise error()
        return tiles[:, 0, 0].astype(np.float32)

    return run


@pytest.mark.parametrize(
    "error",
    [
        MemoryError,
        lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        lambda: RuntimeError("Exception from src/plugins: std::bad_alloc"),
    ],
)
def test_batches_halve_until_they_fit_and_no_tile_is_lost(error: Callable[[], Exception]) -> None:
    tiles = np.arange(45, dtype=np.uint8).repeat(3 * 4).reshape(45, 2, 2, 3)
    sizes: list[int] = []
    batches = Batches(exhausted_above(5, error, sizes), 32)
    assert np.array_equal(batches(tiles)[:, 0], np.arange(45))
    assert sizes == [32, 16, 8, *[4] * 11, 1]
    assert batches.size == 4


def test_a_tile_that_does_not_fit_ends_in_one_error() -> None:
    batches = Batches(exhausted_above(0, MemoryError, []), 4)
    with pytest.raises(ModelError, match="single tile"):
        batches(np.zeros((3, 2, 2, 3), np.uint8))


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    batches = Batches(exhausted_above(0, lambda: RuntimeError("shapes differ"), []), 4)
    with pytest.raises(RuntimeError, match="shapes differ"):
        batches(np.zeros((3, 2, 2, 3), np.uint8))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_memory_of_activations_is_measured_without_computing() -> None:
    class Wide(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return pixels.repeat(1, 100, 1, 1).mean(dim=(2, 3))

    pixels = 3 * SIDE * SIDE * 4
    found = activation_bytes(tile_module(Wide()), (SIDE, SIDE))
    assert 100 * pixels < found < 105 * pixels


def test_the_first_batch_hangs_on_free_memory(
    vit: TileModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = activation_bytes(vit, (SIDE, SIDE))
    for free, wanted in ((100 * each, 8), (9 * each, 4), (each, 1), (0, 1)):
        monkeypatch.setattr("ruichat.features.runtime.memory.free_bytes", lambda _, f=free: f)
        assert first_size(vit, (SIDE, SIDE), device=None) == wanted


def test_an_encoder_takes_tiles_of_its_size_only(tmp_path: Path) -> None:
    tiny = encoder(tmp_path, TinyViT(), runtime="torch", precision="fp32")
    assert tiny.encode(np.zeros((0, SIDE, SIDE, 3), np.uint8)).shape == (0, WIDTH)
    with pytest.raises(InputError, match="tiles of 32 x 32 px"):
        tiny.encode(np.zeros((1, 32, 32, 3), np.uint8))


def test_an_encoder_gives_what_its_module_gives(
    tmp_path: Path, vit: TileModule, tiles: NDArray[np.uint8]
) -> None:
    many = np.concatenate([tiles] * 5)
    pytest.importorskip("openvino")
    with torch.inference_mode():
        wanted = vit(torch.from_numpy(many)).numpy()
    found = encoder(tmp_path, vit.module, runtime="openvino", precision="fp32").encode(many)
    assert least_cosine(found, wanted) > 0.999999
