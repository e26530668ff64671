"""What is wrong is told by every stage before the weights of any model are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fakes_align import align_settings, settings_of, write_bags, write_dialogues, write_site
from PIL import Image

from ruichat.align.adaptation.adapt import AdaptConfig, adapt
from ruichat.align.pretraining.settings import DistillConfig, PretrainConfig
from ruichat.align.pretraining.stage import train_tile_encoder
from ruichat.align.stages.align import train_align
from ruichat.align.stages.config import AlignConfig, InstructConfig
from ruichat.align.stages.instruct import train_instruct
from ruichat.align.think.config import LaidThinkConfig
from ruichat.align.think.stage import think
from ruichat.errors import ArtifactError, ConfigError, InputError, PrerequisiteError
from ruichat.features.encoder import load_encoder
from ruichat.features.encoders import loading
from ruichat.model import language_model, trainable
from ruichat.truth.bank import TileBank
from ruichat.truth.datasets.prepare import MissingBagsError

LORA = {"rank": 16, "alpha": 32}
LOOP = {"steps": 3, "learning_rate": 1e-3}
RECIPES = Path(__file__).parents[3] / "configs" / "align"


@pytest.fixture(autouse=True)
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights can be read."""

    def reads(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(trainable, "load_network", reads)
    monkeypatch.setattr(language_model, "load_causal", reads)
    monkeypatch.setattr(loading, "load_module", reads)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_site(tmp_path_factory.mktemp("site"), load_encoder("mini").digest)
    write_bags(root / "others", digest="f" * 64)
    write_dialogues(root / "missing.jsonl", num_slides=9)
    return root


def quiet(_: str) -> None:
    pass


def data_of(file: str = "train.jsonl", bags: str = "bags") -> dict[str, Any]:
    return {"data": {"train": [{"file": file}], "bags": [bags]}}


def test_sound_data_lets_the_model_be_read(root: Path, tmp_path: Path) -> None:
    config = AlignConfig.model_validate(align_settings(root))
    with pytest.raises(AssertionError, match="weights were read"):
        train_align(config, root, tmp_path, quiet)
    tuned = InstructConfig.model_validate(settings_of(base="mini", lora=LORA))
    with pytest.raises(AssertionError, match="weights were read"):
        train_instruct(tuned, root, tmp_path, quiet)


def test_align_tells_of_its_data(root: Path, tmp_path: Path) -> None:
    values = align_settings(root)
    missing = AlignConfig.model_validate(values | data_of("missing.jsonl"))
    with pytest.raises(MissingBagsError, match=r"missing\.jsonl have no bag, the first in line 5"):
        train_align(missing, root, tmp_path, quiet)
    values["model"] = values["model"] | {"encoder": "uni2-h", "bag_dim": 1536}
    with pytest.raises(ArtifactError, match=r"made by encoder 'mini'.*reads 'uni2-h'"):
        train_align(AlignConfig.model_validate(values), root, tmp_path, quiet)
    values = align_settings(root, batches={"budget": {"tokens": 4096, "tiles": 4}})
    with pytest.raises(InputError, match=r"\w+\.jsonl line 1: it has 9 tiles; allowed: 4"):
        train_align(AlignConfig.model_validate(values), root, tmp_path, quiet)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"lora": {"rank": 8}}, ConfigError, "holds an adapter, which learns on"),
        ({"base": "runs/none"}, ConfigError, "neither mini nor a checkpoint folder"),
        (data_of(bags="others"), ArtifactError, "weights ffffffff of encoder 'mini'"),
    ],
)
def test_instruct_tells_of_its_base(
    changes: dict[str, Any], error: type[Exception], match: str, root: Path, tmp_path: Path
) -> None:
    values = settings_of(base="mini", lora=LORA) | changes
    with pytest.raises(error, match=match):
        train_instruct(InstructConfig.model_validate(values), root, tmp_path, quiet)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"teach": {"thoughts": 0.5, "row_tokens": 9999, "loop": LOOP}}, "row_tokens is 9999"),
        ({"reinforce": {"max_tokens": 4000}}, "max_tokens is 4000; mini reads 2048"),
        ({}, "embeddings have d=12; mini reads d=384"),
    ],
)
def test_think_tells_of_lengths_and_of_its_bank(
    changes: dict[str, Any], match: str, bank: TileBank, tmp_path: Path
) -> None:
    narrow = {name: getattr(bank, name) for name in TileBank.__slots__}
    TileBank(**narrow | {"embeddings": bank.embeddings[..., :12]}).save(tmp_path / "bank.npz")
    teach = {"thoughts": 0.5, "loop": LOOP}
    config = LaidThinkConfig.model_validate({"bank": "bank.npz", "teach": teach} | changes)
    with pytest.raises(ConfigError, match=match):
        think(config, tmp_path, tmp_path / "out", quiet, anyway=True)


def test_a_bank_of_other_weights_is_refused(bank: TileBank, tmp_path: Path) -> None:
    wide = {name: getattr(bank, name) for name in TileBank.__slots__}
    wide["embeddings"] = np.zeros((*bank.embeddings.shape[:2], 384), np.float32)
    TileBank(**wide).save(tmp_path / "bank.npz", "ab" * 32)
    values = {"bank": "bank.npz", "teach": {"thoughts": 0.5, "loop": LOOP}}
    with pytest.raises(ConfigError, match="made by weights abababab of encoder 'mini'"):
        think(
            LaidThinkConfig.model_validate(values), tmp_path, tmp_path / "out", quiet, anyway=True
        )


def test_think_refuses_questions_that_nobody_asks() -> None:
    values = {"bank": "b", "teach": {"thoughts": 0.5, "loop": LOOP}}
    with pytest.raises(ConfigError, match="kinds has everywhere; allowed here: presence, "):
        LaidThinkConfig.checked(values | {"reinforce": {"kinds": ["everywhere"]}}, source="x")


def write_tiles(folder: Path, labels: tuple[str, ...]) -> None:
    folder.mkdir(parents=True)
    lines = ["file,label"]
    for at, label in enumerate(labels):
        Image.fromarray(np.full((32, 32, 3), 40 * at, np.uint8)).save(folder / f"{at}.png")
        lines.append(f"{at}.png,{label}")
    (folder / "labels.csv").write_text("\n".join(lines))


def adapt_config(**changes: Any) -> AdaptConfig:
    labels = {"a": "normal_glands", "b": "carcinoma_glands"}
    site = {"tiles": {"name": "elsewhere", "folder": "tiles"}, "labels": labels}
    return AdaptConfig.model_validate({"name": "x", "site": site, "replay": "none"} | changes)


def test_adapt_tells_of_tiles_and_adapter(tmp_path: Path) -> None:
    write_tiles(tmp_path / "tiles", ("a", "b", "c"))
    with pytest.raises(ConfigError, match="labels without a class: c"):
        adapt(adapt_config(), tmp_path, tmp_path / "out", quiet)
    listed = tmp_path / "tiles" / "labels.csv"
    listed.write_text("file,label\n0.png,a\ngone.png,b\n")
    with pytest.raises(InputError, match=r"names 'gone\.png', which isn't in"):
        adapt(adapt_config(), tmp_path, tmp_path / "out", quiet)
    listed.write_text("file,label\n0.png,a\n1.png,b\n")
    with pytest.raises(ConfigError, match="has rank 16 and alpha 32; lora says 4 and 32") as error:
        lora = {"rank": 4, "loop": LOOP}
        adapt(adapt_config(lora=lora), tmp_path, tmp_path / "out", quiet)
    assert "lora.rank: 16" in error.value.hint
    with pytest.raises(PrerequisiteError, match="no embeddings to rehearse"):
        adapt(adapt_config(replay="none.st"), tmp_path, tmp_path / "out", quiet)
    with pytest.raises(AssertionError, match="weights were read"):
        adapt(adapt_config(), tmp_path, tmp_path / "out", quiet)


def test_pretrain_and_distill_tell_of_encoders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUICHAT_WEIGHTS", str(tmp_path))
    values = yaml.safe_load((RECIPES / "pretrain-small.yaml").read_text())
    started = {"start": {"encoder": "uni2-h"}}
    config = PretrainConfig.model_validate(values | {"backbone": started})
    with pytest.raises(PrerequisiteError, match="weights of encoder 'uni2-h' are in none of"):
        train_tile_encoder(config, tmp_path, tmp_path / "out", quiet, anyway=True)
    teachers = [{"encoder": "dinov2-small"}] * 5
    distilled = DistillConfig.model_validate(values | {"teachers": teachers})
    with pytest.raises(ConfigError, match="5 teachers need as many registers; the student has 4"):
        train_tile_encoder(distilled, tmp_path, tmp_path / "out", quiet, anyway=True)
