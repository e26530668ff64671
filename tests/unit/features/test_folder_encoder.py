"""Encoders of a user: written as a folder, chosen by path or name, run, refused where wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from ruichat.cli.main import app
from ruichat.errors import ArtifactError, ConfigError, ModelError
from ruichat.features.encoder import choose_encoder, load_encoder
from ruichat.features.encoders.folder import CARD_FILE, FolderCard
from ruichat.features.encoders.preprocess import prepare
from ruichat.features.encoders.saving import save_encoder
from ruichat.features.encoders.vit import TileViT, build
from ruichat.features.runtime.ways import RunConfig

PLAINLY = ("--runtime", "torch", "--precision", "fp32")

PLAIN = RunConfig(runtime="torch", precision="fp32")

BODIES: dict[str, dict[str, Any]] = {
    "vit": {"body": "vit"},
    "dinov2": {"body": "dinov2"},
    "dinov2-registers": {"body": "dinov2", "registers": 2},
    "dinov2-swiglu": {"body": "dinov2", "registers": 1, "mlp": "swiglu"},
    "dinov3": {"body": "dinov3", "registers": 4, "eps": 1e-5},
}


def card_of(kind: str, pooling: str = "cls", **changes: Any) -> FolderCard:
    shape = {"width": 16, "depth": 2, "heads": 2, "patch_px": 8, **BODIES[kind]}
    fields = {
        "name": "ours",
        "dim": 32 if pooling == "cls+mean" else 16,
        "tile_px": 32,
        "tile_mpp": 0.5,
        "mean": (0.7, 0.6, 0.7),
        "std": (0.2, 0.25, 0.2),
        "pooling": pooling,
        "license": "CC0-1.0",
        "architecture": shape,
    }
    return FolderCard.checked({**fields, **changes}, source="the test")


def trained(card: FolderCard) -> TileViT:
    """A network as training leaves it: with a token for hidden patches, scales off one."""
    torch.manual_seed(0)
    shape = card.architecture.model_dump()
    module = build(
        **shape, image_px=32, pooling=card.pooling, mask_token=True, drop_path=0.0, layer_scale=0.5
    )
    with torch.no_grad():
        for value in module.parameters():
            value.add_(torch.randn_like(value) / 10)
    return module.eval()


def tiles(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("pooling", ["cls", "mean", "cls+mean"])
@pytest.mark.parametrize("kind", BODIES)
def test_what_is_written_encodes_as_it_did(tmp_path: Path, kind: str, pooling: str) -> None:
    card = card_of(kind, pooling)
    module = trained(card)
    save_encoder(tmp_path / "e", module, card)
    encoder = load_encoder(str(tmp_path / "e"), run=PLAIN)
    assert encoder.card.dim == card.dim
    with torch.no_grad():
        wanted = module(torch.from_numpy(prepare(tiles(), encoder.card))).numpy()
    np.testing.assert_allclose(encoder.encode(tiles()), wanted, atol=1e-5, rtol=1e-5)


def test_transformers_reads_the_folder_too(tmp_path: Path) -> None:
    from transformers import AutoModel

    card = card_of("dinov3")
    module = trained(card)
    save_encoder(tmp_path, module, card)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        given = AutoModel.from_pretrained(tmp_path)(pixel_values=pixels).last_hidden_state
        torch.testing.assert_close(given, module.tokens(pixels))


def test_it_is_found_by_name_where_weights_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUICHAT_WEIGHTS", str(tmp_path))
    card = card_of("dinov2")
    save_encoder(tmp_path / "ours", trained(card), card)
    assert choose_encoder("ours").weights == tmp_path / "ours" / "model.safetensors"
    listed = CliRunner().invoke(app, ["features", "list-encoders", "--json"])
    rows = {row["name"]: row for row in json.loads(listed.stdout)["encoders"]}
    assert rows["ours"]["weights"] == "here"
    (tmp_path / "ours").rename(tmp_path / "theirs")
    with pytest.raises(ConfigError, match=r"of encoder 'ours'.*name: theirs"):
        choose_encoder("theirs")


def test_a_slide_becomes_a_bag_through_the_command_line(tmp_path: Path) -> None:
    import h5py

    card = card_of("dinov3", tile_px=64, resize_px=32)
    save_encoder(tmp_path / "e", trained(card), card)
    slide = tmp_path / "slide.tif"
    run = CliRunner()
    drawn = run.invoke(app, ["phantom", "draw", str(slide), "--width", "900", "--height", "700"])
    assert drawn.exit_code == 0, drawn.output
    arguments = ["features", "extract", str(slide), "--encoder", str(tmp_path / "e")]
    made = run.invoke(app, [*arguments, "--out", str(tmp_path / "bag.h5"), *PLAINLY])
    assert made.exit_code == 0, made.output
    with h5py.File(tmp_path / "bag.h5") as bag:
        shape = bag["features"].shape
    assert shape[0] > 10
    assert shape[1] == 16
    shown = run.invoke(app, ["features", "show-encoder", str(tmp_path / "e"), "--json"])
    assert json.loads(shown.stdout)["name"] == "ours"
    looked = run.invoke(app, ["doctor", "--encoder", str(tmp_path / "e"), "--json"])
    assert json.loads(looked.stdout)["healthy"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dim", 17, "dim is 17; width 16 pooled by 'cls' gives 16"),
        ("tile_px", 33, "33 px aren't whole patches of 8 px"),
        ("tile_mpp", 0, "tile_mpp"),
        ("std", [0.2, 0.0, 0.2], "std"),
        ("weights", "../model.safetensors", "weights"),
        ("loader", "os:system", "loader"),
        ("schema", "ruichat-encoder-2", "schema"),
    ],
)
def test_a_wrong_card_is_refused(tmp_path: Path, field: str, value: object, message: str) -> None:
    card = card_of("dinov2")
    save_encoder(tmp_path, trained(card), card)
    path = tmp_path / CARD_FILE
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), field: value}))
    with pytest.raises(ConfigError, match=message) as caught:
        choose_encoder(str(tmp_path))
    assert CARD_FILE in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("dinov2", {"heads": 3}, "multiple of heads"),
        ("dinov3", {"heads": 8}, "rotary positions need heads of 4 n wide, not 2"),
        ("vit", {"registers": 1}, "neither registers nor swiglu"),
    ],
)
def test_an_impossible_shape_is_refused(kind: str, changes: dict[str, Any], message: str) -> None:
    shape = card_of(kind).architecture.model_dump() | changes
    with pytest.raises(ConfigError, match=message):
        card_of(kind, architecture=shape)


def test_missing_weights_and_taken_names_are_refused(tmp_path: Path) -> None:
    card = card_of("dinov2")
    save_encoder(tmp_path, trained(card), card.model_copy(update={"name": "uni2-h"}))
    with pytest.raises(ConfigError, match="takes the name of encoder 'uni2-h'"):
        choose_encoder(str(tmp_path))
    save_encoder(tmp_path, trained(card), card)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="aren't beside it"):
        choose_encoder(str(tmp_path))
    (tmp_path / CARD_FILE).unlink()
    with pytest.raises(ConfigError, match=f"holds no {CARD_FILE}"):
        choose_encoder(str(tmp_path))


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    card = card_of("dinov2")
    save_encoder(tmp_path, trained(card), card)
    state = load_file(tmp_path / "model.safetensors")
    del state["layernorm.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"1 missing, such as body\.layernorm\.bias"):
        load_encoder(str(tmp_path), run=PLAIN).encode(tiles())


def test_hidden_patches_are_not_seen() -> None:
    """Whatever lies under a mask, every token is the same."""
    for kind in BODIES:
        module = trained(card_of(kind))
        masked = torch.zeros(2, 16, dtype=torch.bool)
        masked[:, :5] = True
        pixels = torch.randn(2, 3, 32, 32)
        other = pixels.clone()
        other[:, :, :8] += 1  # patches 0 to 3
        with torch.no_grad():
            one, two = module.tokens(pixels, masked), module.tokens(other, masked)
            seen = module.tokens(pixels), module.tokens(other)
        torch.testing.assert_close(one, two)
        assert (seen[0] - seen[1]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", BODIES)
def test_crops_of_another_size_have_tokens(kind: str) -> None:
    module = trained(card_of(kind))
    with torch.no_grad():
        tokens = module.tokens(torch.randn(2, 3, 16, 16))
    assert tokens.shape == (2, module.num_prefix + 4, 16)


@pytest.mark.parametrize("name", ["encoder-training.md", "encoder-training.zh.md"])
def test_the_card_in_the_documentation_is_one(name: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / name).read_text(encoding="utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]
    card = FolderCard.checked(yaml.safe_load(example), source=name).card()
    assert (card.dim, card.input_px, card.interpolation) == (384, 224, "bicubic")
