"""What a choice of the alignment stage is worth: the same run without and with it, side by side.

All variants start from one trained language model, see the same slides in the same order and are
asked the same held-out questions; only regions' way into the language model is trained anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ruichat.align.embeddings import fit_embeddings
from ruichat.align.encoder import train_encoder
from ruichat.align.intervals import Interval, interval_of
from ruichat.align.language import LanguageStage, train_language
from ruichat.align.loop import Log
from ruichat.align.projector import train_projector
from ruichat.align.recipe import RecipeConfig
from ruichat.config import Config
from ruichat.errors import ConfigError
from ruichat.features.encoder import Encoder
from ruichat.features.mini.encoder import MiniEncoder
from ruichat.features.tile_classifier import TileClassifier
from ruichat.histology import Language
from ruichat.model.chat_model import ChatModel, ChatSession
from ruichat.model.checkpoint import load_checkpoint, save_checkpoint
from ruichat.model.checkpoint_files import MANIFEST_FILE, read_manifest
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.processing import RuiChatProcessor
from ruichat.storage.artifacts import write_atomic
from ruichat.truth.bags import BagMaker, LaidSlide
from ruichat.truth.bank import TileBank
from ruichat.truth.dialogues import QA, Balance, write_dialogue
from ruichat.truth.opening import open_laid
from ruichat.truth.scoring import score_answer


class Variant(Config):
    """One way of aligning."""

    depths: int = Field(default=1, ge=1)
    """Blocks of a tile embedding, each of its own stages of the encoder."""
    inject_layers: tuple[int, ...] = ()
    """Layers of the language model before which region vectors are added again."""
    contrastive: float = Field(default=0.0, ge=0)
    """Weight of the contrastive loss."""
    matching: float | None = Field(default=None, ge=0)
    """Weight of the distance to symbolic vectors; the recipe's if missing."""


class AblationConfig(Config):
    """Which ways are compared, and on how much."""

    run: Path
    """Folder of a run of the recipe whose language stage is done."""
    variants: dict[str, Variant] = Field(min_length=2)
    """By name; the first is what the others are compared with."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    steps: int = Field(default=250, gt=0)
    """Of the alignment stage."""
    num_slides: int = Field(default=200, gt=0)
    """Held-out slides that are asked about."""
    turns: int = Field(default=3, gt=0)
    """Questions about each."""

    @model_validator(mode="after")
    def _has_seeds_once(self) -> AblationConfig:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)} repeat; name each once")
        return self


@dataclass(frozen=True)
class VariantScore:
    """How a variant did, all seeds together.

    Attributes:
        right: share of questions answered rightly.
        other_slide: the same when the model is shown another slide.
        difference: right minus that of the first variant, question by question.
        precision: share of cited regions that show what is said.
        recall: share of the regions that are due which are cited.
        by_seed: `right` of each seed.
    """

    right: Interval
    other_slide: Interval
    difference: Interval | None
    precision: float
    recall: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class _Asked:
    """Answers of one variant and seed, question by question."""

    right: NDArray[np.float64]
    other: NDArray[np.float64]
    slide: NDArray[np.int64]
    cited: int
    cited_right: int
    due: int
    found: int


def run_ablation(
    config: AblationConfig, recipe: RecipeConfig, data: Path, out: Path, log: Log = print
) -> dict[str, VariantScore]:
    """Train and ask every variant; interrupt it at any time and run it again.

    Args:
        config: what is compared.
        recipe: of the run.
        data: folder with the tile sources; read only where a variant has several depths.
        out: where variants keep their work; scores go to `out/scores.json`.
        log: takes one line at a time.
    """
    processor = RuiChatProcessor(config.run / "tokenizer.model")
    asked: dict[str, list[_Asked]] = {}
    for name, variant in config.variants.items():
        parts = _tiles(config, variant, recipe, data, out, log)
        for seed in config.seeds:
            folder = out / f"{name}-{seed}"
            made_of = _made_of(config, variant, recipe, parts)
            if not _is_trained(folder / "lm", made_of):
                log(f"{name}, seed {seed}")
                stage = _language(config, variant, recipe, processor, data, seed, log)
                _train(config, variant, recipe, stage, processor, parts, seed, folder, log, made_of)
            model = load_checkpoint(folder / "lm")
            asked.setdefault(name, []).append(_ask(config, recipe, model, parts))
            log(f"{name}, seed {seed}: {asked[name][-1].right.mean():.3f} right")
    first = asked[next(iter(asked))]
    scores = {name: _score(runs, None if runs is first else first) for name, runs in asked.items()}
    record = {name: _as_json(score) for name, score in scores.items()}
    write_atomic(out / "scores.json", (json.dumps(record, indent=1) + "\n").encode())
    return scores


@dataclass(frozen=True)
class _Tiles:
    """What reads tiles: encoder, classifier, and the bank of their embeddings."""

    encoder: Encoder
    classifier: TileClassifier
    bank: TileBank


def _tiles(
    config: AblationConfig, variant: Variant, recipe: RecipeConfig, data: Path, out: Path, log: Log
) -> _Tiles:
    """Those of the run, or with blocks by depth, fitted once."""
    folder = config.run / "mini"
    if variant.depths > 1:
        folder = out / f"depths-{variant.depths}"
        settings = recipe.embeddings.model_copy(update={"depths": variant.depths})
        network = train_encoder(recipe.encoder, data, config.run / "encoder", log)
        fit_embeddings(settings, recipe.encoder, data, network, folder, log)
    return _Tiles(
        MiniEncoder.load(folder / "encoder.safetensors"),
        TileClassifier.load(folder / "tiles.safetensors"),
        TileBank.load(folder / "bank.npz"),
    )


def _made_of(config: AblationConfig, variant: Variant, recipe: RecipeConfig, tiles: _Tiles) -> str:
    """Fingerprint of what trains a variant beside its seed, which its folder names."""
    parts = variant, recipe.language, recipe.projector, recipe.bags
    made_of = [*(part.fingerprint() for part in parts), str(config.steps), tiles.bank.digest()]
    return hashlib.sha256(" ".join(made_of).encode()).hexdigest()[:16]


def _is_trained(folder: Path, made_of: str) -> bool:
    """Whether a whole checkpoint is there.

    Raises:
        ConfigError: it was trained with other settings.
    """
    if not (folder / MANIFEST_FILE).is_file():
        return False
    if read_manifest(folder).config_fingerprint != made_of:
        raise ConfigError(
            f"{folder.parent} holds a variant with other settings",
            hint="Give another folder with --out, or the settings it was begun with",
        )
    return True


def _language(
    config: AblationConfig,
    variant: Variant,
    recipe: RecipeConfig,
    processor: RuiChatProcessor,
    data: Path,
    seed: int,
    log: Log,
) -> LanguageStage:
    """The run's language stage, with a fresh region encoder of the variant's form."""
    stage = train_language(recipe.language, processor, data, config.run, log)
    trained = stage.model.state_dict()
    torch.manual_seed(seed)
    form: dict[str, Any] = {"depths": variant.depths, "inject_layers": variant.inject_layers}
    settings = RuiChatConfig(**(stage.model.config.to_dict() | form))
    stage.model = RuiChatForConditionalGeneration(settings)
    kept = {k: v for k, v in trained.items() if not k.startswith("region_encoder.")}
    missing, unexpected = stage.model.load_state_dict(kept, strict=False)
    assert not unexpected and all(name.startswith("region_encoder.") for name in missing)
    stage.model.tie_weights()
    if recipe.language.compiled:
        for layer in stage.model.language_model.layers:
            layer.compile(dynamic=True)
    return stage


def _train(
    config: AblationConfig,
    variant: Variant,
    recipe: RecipeConfig,
    stage: LanguageStage,
    processor: RuiChatProcessor,
    tiles: _Tiles,
    seed: int,
    folder: Path,
    log: Log,
    made_of: str,
) -> None:
    matching = recipe.projector.matching if variant.matching is None else variant.matching
    loop = recipe.projector.loop.model_copy(update={"steps": config.steps})
    settings = recipe.projector.model_copy(
        update={
            "seed": seed,
            "loop": loop,
            "contrastive": variant.contrastive,
            "matching": matching,
        }
    )
    bags = BagMaker(tiles.bank, "train", recipe.bags)
    train_projector(settings, stage, processor, bags, folder, log)
    save_checkpoint(
        folder / "lm",
        stage.model,
        processor,
        name=folder.name,
        encoder_digest=tiles.encoder.digest,
        half=True,
        config_fingerprint=made_of,
    )


def _questions(
    config: AblationConfig, recipe: RecipeConfig, tiles: _Tiles
) -> Generator[tuple[LaidSlide, LaidSlide, list[QA], np.random.Generator]]:
    """Held-out slides, another beside each, and what is asked; the same for every variant."""
    bags = BagMaker(tiles.bank, "val", recipe.bags)
    balance = Balance()
    for number in range(config.num_slides):
        rng = np.random.default_rng((recipe.projector.seed, 5, number))
        slide, other = bags.draw(rng, stains=1), bags.draw(rng, stains=1)
        language: Language = "en" if number % 2 else "zh"
        asked = write_dialogue(slide.truth, rng, language, balance=balance, num_turns=config.turns)
        yield slide, other, asked, rng


def _ask(config: AblationConfig, recipe: RecipeConfig, model: ChatModel, tiles: _Tiles) -> _Asked:
    right: list[float] = []
    other_right: list[float] = []
    slides: list[int] = []
    counts = np.zeros(4, np.int64)
    for number, (slide, other, asked, rng) in enumerate(_questions(config, recipe, tiles)):
        shown, instead = (
            open_laid(one, model, tiles.classifier, tiles.encoder, rng).session
            for one in (slide, other)
        )
        for qa in asked:
            score = score_answer(qa, _answer(shown, qa))
            if score.correct is None:
                continue
            right.append(score.correct)
            other_right.append(bool(score_answer(qa, _answer(instead, qa)).correct))
            slides.append(number)
            if qa.evidence:
                counts += len(score.cited), score.num_right, len(qa.evidence), score.num_found
    return _Asked(
        np.array(right, np.float64),
        np.array(other_right, np.float64),
        np.array(slides),
        *counts.tolist(),
    )


def _answer(session: ChatSession, qa: QA) -> str:
    return "".join(piece.text for piece in session.fork().stream(qa.question))


def _score(runs: list[_Asked], first: list[_Asked] | None) -> VariantScore:
    right, slide = np.mean([run.right for run in runs], axis=0), runs[0].slide
    difference = None
    if first is not None:
        difference = interval_of(right - np.mean([run.right for run in first], axis=0), slide)
    return VariantScore(
        right=interval_of(right, slide),
        other_slide=interval_of(np.mean([run.other for run in runs], axis=0), slide),
        difference=difference,
        precision=sum(run.cited_right for run in runs) / max(1, sum(run.cited for run in runs)),
        recall=sum(run.found for run in runs) / max(1, sum(run.due for run in runs)),
        by_seed=tuple(float(run.right.mean()) for run in runs),
    )


def _as_json(score: VariantScore) -> Mapping[str, object]:
    return {
        name: vars(value) if isinstance(value, Interval) else value
        for name, value in vars(score).items()
    }
