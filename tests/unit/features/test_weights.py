"""Finding, reading and placing weights: one small encoder from its file to its embeddings."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from published.vits import timm_vit
from reference_vit import tokens_of
from safetensors.torch import save_file

from ruichat.errors import ConfigError, ModelError, PrerequisiteError
from ruichat.features.card import Architecture, EncoderCard
from ruichat.features.encoder import ENCODERS, load_encoder
from ruichat.features.encoders.preprocess import prepare
from ruichat.features.extract import ExtractConfig
from ruichat.features.jobs import Settings
from ruichat.features.runtime.encoder import ModuleEncoder
from ruichat.features.runtime.ways import RunConfig, Way

PLAIN = RunConfig(runtime="torch", precision="fp32")
"""Nothing is measured."""

CARD = EncoderCard(
    name="small",
    dim=24,
    tile_px=32,
    tile_mpp=0.5,
    resize_px=28,
    license="Apache-2.0",
    pooling="CLS token",
    hub="nobody/small",
    gated=True,
    files=("model.safetensors", "pytorch_model.bin"),
    source="https://example.org",
    architecture=Architecture(
        "ruichat.features.encoders.vit:build",
        "ruichat.features.encoders.vit_names:rename_timm",
        {"body": "vit", "width": 24, "depth": 2, "heads": 2, "patch_px": 7, "image_px": 28},
        {"body": "vit"},
    ),
)


@pytest.fixture(autouse=True)
def small_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ENCODERS, "_cards", {CARD.name: CARD})
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("RUICHAT_WEIGHTS", raising=False)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    layout = timm_vit(width=24, depth=2, patch=7, positions=17, layer_scale=False)
    return {name: torch.randn(shape) / 3 for name, shape in layout.items()}


def read(*, weights: Path) -> None:
    encoder = load_encoder("small", weights=weights, run=PLAIN)
    assert isinstance(encoder, ModuleEncoder)
    encoder.load()


def test_a_file_gives_the_published_embeddings(state, tmp_path: Path) -> None:
    path = tmp_path / "any-name.safetensors"
    save_file(state, path)
    encoder = load_encoder("small", weights=path, run=PLAIN)
    assert encoder.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    tiles = np.random.default_rng(0).integers(0, 256, (19, 32, 32, 3), dtype=np.uint8)
    wanted = tokens_of(state, torch.from_numpy(prepare(tiles, CARD)), heads=2)[:, 0]
    np.testing.assert_allclose(encoder.encode(tiles), wanted.numpy(), atol=1e-5)
    assert encoder.encode(tiles[:0]).shape == (0, 24)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "checkpoint.pth"])
def test_pickled_weights_are_read_as_arrays_only(state, tmp_path, nested, name) -> None:
    torch.save({"state_dict": state} if nested else state, tmp_path / name)
    save_file(state, tmp_path / "reference.safetensors")
    tiles = np.zeros((1, 28, 28, 3), np.uint8)
    given = load_encoder("small", weights=tmp_path / name, run=PLAIN).encode(tiles)
    reference = tmp_path / "reference.safetensors"
    wanted = load_encoder("small", weights=reference, run=PLAIN).encode(tiles)
    np.testing.assert_array_equal(given, wanted)


def test_half_precision_weights_become_float32(state, tmp_path: Path) -> None:
    halves = {name: value.bfloat16() for name, value in state.items()}
    save_file(halves, tmp_path / "model.safetensors")
    tiles = np.full((1, 28, 28, 3), 200, np.uint8)
    wanted = tokens_of(
        {name: value.float() for name, value in halves.items()},
        torch.from_numpy(prepare(tiles, CARD)),
        heads=2,
    )[:, 0]
    given = load_encoder("small", weights=tmp_path, run=PLAIN).encode(tiles)
    np.testing.assert_allclose(given, wanted.numpy(), atol=1e-5)


def test_a_store_goes_on_in_its_precision(state, tmp_path: Path) -> None:
    save_file(state, tmp_path / "model.safetensors")
    run = RunConfig(runtime="torch")
    settings = Settings(
        CARD, ExtractConfig.for_encoder(CARD), tmp_path / "store", weights=tmp_path, run=run
    )
    replace(settings, run=PLAIN).load()
    chosen = settings.settled().run
    assert (chosen.runtime, chosen.precision, chosen.trusted) == ("torch", "fp32", True)
    other = replace(settings, run=RunConfig.of(Way("torch", "bf16")))
    assert other.settled() is other
    with pytest.raises(ConfigError, match="precision is 'fp32', wanted is 'bf16'"):
        other.load()


class _Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code of a weights file ran')",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.bin"
    path.write_bytes(pickle.dumps(_Runs()))
    with pytest.raises(ModelError, match=r"evil\.bin"):
        read(weights=path)
    torch.save({"state_dict": _Runs()}, path)
    with pytest.raises(ModelError, match="could run code"):
        read(weights=path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(50)])
@pytest.mark.parametrize("name", ["a.safetensors", "a.bin"])
def test_what_is_no_weights_file_is_refused(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=name):
        read(weights=tmp_path / name)


def test_other_weights_are_refused_with_names(state, tmp_path: Path) -> None:
    del state["norm.bias"]
    state["pos_embed"] = state["pos_embed"][:, :10]
    state["head.weight"] = torch.zeros(2, 24)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelError) as caught:
        read(weights=tmp_path)
    assert "1 missing" in caught.value.message and "layernorm.bias" in caught.value.message
    assert "1 left over, such as head.weight" in caught.value.message
    assert "(1, 10, 24) instead of (1, 17, 24)" in caught.value.message
    assert "nobody/small" in caught.value.hint


def test_a_folder_gives_its_best_file(state, tmp_path: Path, monkeypatch) -> None:
    from ruichat.features.encoders.weights import find_weights

    folder = tmp_path / "weights" / "small"
    folder.mkdir(parents=True)
    (folder / "a.pth").touch()
    (folder / "b.pth").touch()
    with pytest.raises(ConfigError, match=r"a\.pth, b\.pth"):
        find_weights(CARD, folder)
    for name in ("other.safetensors", "pytorch_model.bin", "model.safetensors"):
        (folder / name).touch()
        assert find_weights(CARD, folder).name == name
    monkeypatch.setenv("RUICHAT_WEIGHTS", str(tmp_path / "weights"))
    assert find_weights(CARD) == folder / "model.safetensors"
    with pytest.raises(PrerequisiteError, match="no weights"):
        find_weights(CARD, tmp_path / "nowhere")
    with pytest.raises(PrerequisiteError, match="holds no weights"):
        find_weights(CARD, tmp_path / "weights")


def test_the_hubs_cache_is_used_at_the_cards_revision(tmp_path: Path) -> None:
    from ruichat.features.encoders.weights import find_local

    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "hub" / "models--nobody--small" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "pytorch_model.bin").touch()
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    assert find_local(CARD) == snapshot / "pytorch_model.bin"
    assert find_local(replace(CARD, revision=commit)) == snapshot / "pytorch_model.bin"
    assert find_local(replace(CARD, revision="f" * 40)) is None


def test_missing_weights_say_where_was_looked_and_what_to_do() -> None:
    with pytest.raises(PrerequisiteError) as caught:
        load_encoder("small", run=PLAIN)
    assert "$RUICHAT_WEIGHTS/small (not set)" in caught.value.message
    assert "nobody/small" in caught.value.message
    assert "hf auth login" in caught.value.hint and "Accept the licence" in caught.value.hint


def test_the_hub_is_asked_only_when_the_user_says_so(monkeypatch, tmp_path: Path) -> None:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError

    from ruichat.features.encoders.weights import find_weights

    asked: list[str] = []

    def fetch(repo: str, name: str, revision: str | None = None) -> str:
        asked.append(f"{repo} {name} {revision}")
        if name == "model.safetensors":
            raise EntryNotFoundError("no such file")
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    with pytest.raises(PrerequisiteError):
        find_weights(CARD)
    assert asked == []
    card = replace(CARD, revision="abc")
    assert find_weights(card, download=True) == tmp_path / "pytorch_model.bin"
    assert asked == ["nobody/small model.safetensors abc", "nobody/small pytorch_model.bin abc"]

    def refuse(*_: object, **__: object) -> str:
        raise GatedRepoError("gated", response=Mock(headers={}))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(PrerequisiteError, match="gated") as caught:
        find_weights(card, download=True)
    assert "hf auth login" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "message", "hint"),
    [
        ("RepositoryNotFoundError", "shows no nobody/small", "hf auth login"),
        ("RevisionNotFoundError", "no revision abc any more", "elsewhere; give it with --weights"),
        ("LocalEntryNotFoundError", "can't be reached.*no connection", "elsewhere"),
        ("OfflineModeIsEnabled", "can't be reached.*told why", "elsewhere"),
    ],
)
def test_what_the_hub_answers_is_said(monkeypatch, kind: str, message: str, hint: str) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    from ruichat.features.encoders.weights import find_weights

    def refuse(*_: object, **__: object) -> str:
        over_http = kind in ("RepositoryNotFoundError", "RevisionNotFoundError")
        answer = {"response": Mock(headers={})} if over_http else {}
        raise getattr(errors, kind)("told why", **answer)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(PrerequisiteError, match=message) as caught:
        find_weights(replace(CARD, revision="abc"), download=True)
    assert hint in caught.value.hint


def test_an_encoder_with_its_own_weights_takes_no_others(monkeypatch, tmp_path: Path) -> None:
    mini = EncoderCard(
        name="mini", dim=1, tile_px=1, tile_mpp=1, license="MIT", loader="nowhere:load"
    )
    monkeypatch.setattr(ENCODERS, "_cards", {"mini": mini})
    with pytest.raises(ConfigError, match="brings its own"):
        load_encoder("mini", weights=tmp_path)


def test_a_card_names_one_way_to_make_its_encoder() -> None:
    with pytest.raises(ConfigError, match="either"):
        replace(CARD, loader="nowhere:load")
    with pytest.raises(ConfigError, match="either"):
        replace(CARD, architecture=None)
