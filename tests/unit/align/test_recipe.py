"""The whole recipe on a handful of tiles: it ends in weights that answer, and never works twice."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes_model import ONE_LAYER
from PIL import Image

from ruichat.align.ablation import AblationConfig, run_ablation
from ruichat.align.corpus import CorpusConfig, read_corpus
from ruichat.align.embeddings import EmbeddingConfig
from ruichat.align.encoder import EncoderTrainingConfig
from ruichat.align.laid_settings import LaidTraining
from ruichat.align.language import LanguageConfig
from ruichat.align.loop import LoopConfig
from ruichat.align.projector import ProjectorConfig
from ruichat.align.recipe import RecipeConfig, StageTime, run_recipe
from ruichat.align.tile_classifier import ClassifierConfig
from ruichat.align.tokenizer import TokenizerConfig, held_out_texts
from ruichat.errors import ConfigError, PrerequisiteError
from ruichat.features.mini.encoder import MiniEncoder
from ruichat.features.runtime.ways import RunConfig
from ruichat.features.tile_classifier import TileClassifier
from ruichat.histology import CLASSES, Language
from ruichat.model.checkpoint_files import ADAPTER_DIR, read_manifest
from ruichat.model.native import NativeChatModel
from ruichat.truth.bags import BagMaker
from ruichat.truth.bank import TileBank
from ruichat.truth.symbolic import SymbolicConfig
from ruichat.truth.tiles import SourceConfig, Split, assign_split, draw_pool

STAGES = (
    "encoder",
    "embeddings",
    "tokenizer",
    "language",
    "projector",
    "instruct",
    "calibrate",
)
LOOP = LoopConfig(steps=3, learning_rate=1e-3, log_every=1)
SMALL = SymbolicConfig(max_regions=3, min_side=2, max_side=3)
SOURCE = SourceConfig(
    name="demo", labels={item.key: item.key for item in CLASSES}, group=r"(g\d+)-"
)
CONFIG = RecipeConfig(
    encoder=EncoderTrainingConfig(
        sources=[SOURCE],
        steps=2,
        real_per_step=4,
        phantom_per_step=2,
        view_px=64,
        min_crop_px=64,
        num_phantoms=1,
        windows_per_phantom=2,
    ),
    embeddings=EmbeddingConfig(
        stains=1, num_val_phantoms=1, num_test_phantoms=1, classifier=ClassifierConfig(steps=5)
    ),
    tokenizer=TokenizerConfig(
        vocab_size=1300, num_dialogues=60, corpus=CorpusConfig(num_written=100)
    ),
    language=LanguageConfig(
        text_model=ONE_LAYER,
        dialogues_per_step=2,
        texts_per_step=1,
        text_tokens=40,
        loop=LOOP,
        symbolic=SMALL,
    ),
    projector=ProjectorConfig(slides_per_step=2, loop=LOOP),
    instruct=LaidTraining(slides_per_step=2, rank=2, loop=LOOP),
    bags=SMALL,
    threads=0,
)


def tile_color(color: tuple[int, int, int], split: Split) -> tuple[int, int, int]:
    """That of the class; darker where held out, so that no two embeddings are the same."""
    red, green, blue = color
    return color if split == "train" else (red // 2, green // 2, blue // 2)


def write_data(root: Path) -> Path:
    """One tile of every class in each of two splits, every one of another colour."""
    folder = root / "tiles" / SOURCE.name
    folder.mkdir(parents=True)
    (root / "MANIFEST.tsv").write_text("item\tweights\n")
    rows: list[dict[str, str]] = []
    wanted: tuple[Split, ...] = ("train", "val")
    for split in wanted:
        group = next(
            f"g{i}" for i in range(100) if assign_split(SOURCE, {}, f"g{i}", 0.12) == split
        )
        for item in CLASSES:
            file = f"{group}-{item.key}.png"
            Image.new("RGB", (224, 224), tile_color(item.color, split)).save(folder / file)
            rows.append({"file": file, "label": item.key})
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


@dataclass(frozen=True)
class Run:
    """What one call of the recipe said and handed to its last stage."""

    times: list[StageTime]
    lines: list[str]
    calibrated: list[Any]


def few_held_out(config: TokenizerConfig) -> Iterator[tuple[str, Language]]:
    return islice(held_out_texts(config), 20)


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[[Path, Path], Run]]:
    """Runs the recipe with smaller phantoms and less text; calibration only takes notes.

    Its fit needs forty answers that can be scored; see test_stages for it.
    """
    calls: list[Any] = []
    small_fields = functools.partial(draw_pool, side_px=400)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ruichat.align.recipe.calibrate", lambda *given: calls.append(given))
        patch.setattr("ruichat.align.encoder.draw_pool", small_fields)
        patch.setattr("ruichat.align.embeddings.draw_pool", small_fields)
        short = functools.partial(read_corpus, config=CorpusConfig(num_written=60))
        patch.setattr("ruichat.align.language.read_corpus", short)
        patch.setattr("ruichat.align.tokenizer.held_out_texts", few_held_out)

        def call(data: Path, out: Path) -> Run:
            lines: list[str] = []
            times = run_recipe(CONFIG, data, out, lines.append)
            return Run(times, lines, calls[-1])

        yield call


@dataclass(frozen=True)
class Twice:
    """The recipe run, and run again on what it left."""

    data: Path
    out: Path
    first: Run
    files: dict[str, bytes]
    second: Run


@pytest.fixture(scope="module")
def twice(run: Callable[[Path, Path], Run], tmp_path_factory: pytest.TempPathFactory) -> Twice:
    data = write_data(tmp_path_factory.mktemp("data"))
    out = tmp_path_factory.mktemp("out")
    first = run(data, out)
    files = contents(out)
    return Twice(data, out, first, files, run(data, out))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the record of how long stages took."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "recipe.json"
    }


def test_all_stages_run_in_order(twice: Twice) -> None:
    assert tuple(item.name for item in twice.first.times) == STAGES
    for name in ("language", "projector", "instruct"):
        steps = [line for line in twice.first.lines if line.startswith(f"{name} step")]
        assert len(steps) == LOOP.steps


def test_a_second_run_does_nothing_again(twice: Twice) -> None:
    steps = [line for line in twice.second.lines if " step " in line and "going on" not in line]
    assert steps == []
    assert not any(line.startswith(("drawing", "embedding")) for line in twice.second.lines)
    for name in ("language", "projector", "instruct"):
        assert f"{name}: going on from step {LOOP.steps}" in twice.second.lines
    assert tuple(item.name for item in twice.second.times) == tuple(
        name for name in STAGES if name != "tokenizer"
    )
    assert contents(twice.out).keys() == twice.files.keys()
    assert [k for k, v in contents(twice.out).items() if v != twice.files[k]] == []


def test_the_parts_belong_together(twice: Twice) -> None:
    final = twice.out / "mini"
    encoder = MiniEncoder.load(final / "encoder.safetensors", RunConfig(runtime="torch"))
    assert TileClassifier.load(final / "tiles.safetensors").encoder_digest == encoder.digest
    assert read_manifest(final / "lm").made_from["encoder"] == encoder.digest
    assert (final / "lm" / ADAPTER_DIR).is_dir()


def test_the_bank_holds_what_the_saved_encoder_sees(twice: Twice) -> None:
    """In the leading components: so few windows leave those behind to chance."""
    final = twice.out / "mini"
    bank = TileBank.load(final / "bank.npz")
    colours = np.array([item.color for item in CLASSES], np.uint8)
    tiles = np.broadcast_to(colours[:, None, None], (len(CLASSES), 224, 224, 3))
    encoder = MiniEncoder.load(final / "encoder.safetensors", RunConfig(runtime="torch"))
    seen = encoder.encode(tiles)[:, : len(CLASSES)]
    kept = bank.embeddings[bank.source == SOURCE.name][: len(CLASSES), 0, : len(CLASSES)]
    # The saved matrices have half precision.
    np.testing.assert_allclose(seen, kept, atol=0.02 * np.abs(kept).max())
    assert np.ptp(kept, axis=0).min() > 0.1 * np.abs(kept).max()
    assert set(bank.split) == {"train", "val", "test"}
    assert bank.embeddings.shape[1] == CONFIG.embeddings.stains


def test_calibration_gets_the_saved_model_and_held_out_bags(twice: Twice) -> None:
    config, model, _, encoder, bags, folder = twice.first.calibrated
    assert config == CONFIG.calibrate
    assert isinstance(model, NativeChatModel)
    assert folder == twice.out / "mini" / "lm"
    assert read_manifest(folder).made_from["encoder"] == encoder.digest
    assert isinstance(bags, BagMaker)
    bank = TileBank.load(twice.out / "mini" / "bank.npz")
    held = {row.tobytes() for row in bank.embeddings[bank.split == "val", 0]}
    slide = bags.draw(np.random.default_rng(0))
    assert {row.tobytes() for row in slide.embeddings} <= held
    train = {row.tobytes() for row in bank.embeddings[bank.split == "train", 0]}
    assert train and not train & held


def test_the_record_keeps_settings_and_times(twice: Twice) -> None:
    record = json.loads((twice.out / "recipe.json").read_text())
    assert record["settings"]["language"] == CONFIG.language.fingerprint()
    first = {item.name: round(item.seconds, 1) for item in twice.first.times}
    assert record["seconds"] == first


def test_other_settings_need_another_folder(twice: Twice) -> None:
    loop = LOOP.model_copy(update={"learning_rate": 1e-4})
    language = CONFIG.language.model_copy(update={"loop": loop})
    other = CONFIG.model_copy(update={"language": language})
    with pytest.raises(ConfigError, match="other settings of language"):
        run_recipe(other, twice.data, twice.out)


def test_variants_are_aligned_and_asked_alike(twice: Twice, tmp_path: Path) -> None:
    deep = {"depths": 2, "contrastive": 0.5, "matching": 0}
    config = AblationConfig.model_validate(
        {
            "run": twice.out,
            "steps": 3,
            "num_slides": 3,
            "variants": {"shipped": {}, "deep": deep},
        }
    )
    lines: list[str] = []
    scores = run_ablation(config, CONFIG, twice.data, tmp_path, lines.append)
    assert any(" step " in line for line in lines)
    assert list(scores) == list(config.variants)
    assert scores["shipped"].difference is None and scores["deep"].difference is not None
    folders = (twice.out / "mini", tmp_path / "depths-2")
    shallow, deeper = (TileBank.load(folder / "bank.npz").embeddings for folder in folders)
    assert shallow.shape == deeper.shape and not np.array_equal(shallow, deeper)
    record = json.loads((tmp_path / "scores.json").read_text())
    assert record["deep"]["right"]["mean"] == scores["deep"].right.mean
    lines.clear()
    assert run_ablation(config, CONFIG, twice.data, tmp_path, lines.append) == scores
    assert not any(" step " in line for line in lines)


def test_missing_data_is_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no training data"):
        run_recipe(CONFIG, tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_shipped_recipe_is_valid() -> None:
    path = Path(__file__).parents[3] / "configs" / "mini" / "recipe.yaml"
    recipe = RecipeConfig.from_yaml(path)
    names = [source.name for source in recipe.encoder.sources]
    assert len(set(names)) == len(names) > 1
    keys = {item.key for item in CLASSES}
    for source in recipe.encoder.sources:
        assert set(source.labels.values()) <= keys
        assert source.rest is None or source.rest in keys
