"""The whole recipe of `mini`, stage by stage, from raw data to a checked-in folder of weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from ruichat.align.calibrate import calibrate
from ruichat.align.embeddings import EmbeddingConfig, fit_embeddings
from ruichat.align.encoder import EncoderTrainingConfig, train_encoder
from ruichat.align.instruct import train_instruct
from ruichat.align.laid_settings import CalibrateConfig, LaidTraining
from ruichat.align.language import LanguageConfig, train_language
from ruichat.align.loop import Log
from ruichat.align.projector import ProjectorConfig, train_projector
from ruichat.align.tokenizer import TokenizerConfig, train_tokenizer
from ruichat.config import Config
from ruichat.errors import ConfigError, PrerequisiteError
from ruichat.features.mini.encoder import MiniEncoder
from ruichat.features.tile_classifier import TileClassifier
from ruichat.model.checkpoint import load_checkpoint, save_checkpoint
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.rehearsed import REPLAY_FILE
from ruichat.storage.artifacts import write_atomic
from ruichat.truth.bags import BagMaker
from ruichat.truth.bank import TileBank
from ruichat.truth.replay import REHEARSED, sample_bank, save_replay
from ruichat.truth.symbolic import SymbolicConfig

T = TypeVar("T")


class RecipeConfig(Config):
    """All stages of one run."""

    encoder: EncoderTrainingConfig
    embeddings: EmbeddingConfig = EmbeddingConfig()
    tokenizer: TokenizerConfig
    language: LanguageConfig
    projector: ProjectorConfig
    instruct: LaidTraining
    calibrate: CalibrateConfig = CalibrateConfig()
    bags: SymbolicConfig = SymbolicConfig()
    """How tiles are laid into slides for the stages that see real embeddings."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0 takes all cores."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long a stage took; near zero where its result was there already."""

    name: str
    seconds: float


class RunRecord:
    """What a folder of a run holds: the settings it was begun with, and the times of its stages.

    Args:
        out: folder of the run; its `recipe.json` is read if there.

    Raises:
        ConfigError: the run there was begun with other settings of a stage.
    """

    def __init__(self, out: Path, config: RecipeConfig) -> None:
        self._path = out / "recipe.json"
        parts = {name: getattr(config, name) for name in type(config).model_fields}
        self.settings: dict[str, str] = {
            name: part.fingerprint() for name, part in parts.items() if isinstance(part, Config)
        }
        self.seconds: dict[str, float] = {}
        if not self._path.is_file():
            return
        kept = json.loads(self._path.read_text(encoding="utf-8"))
        self.seconds = kept["seconds"]
        other = [k for k, v in kept["settings"].items() if self.settings.get(k, v) != v]
        if other:
            raise ConfigError(
                f"{out.name} holds a run with other settings of {', '.join(other)}",
                hint="Give another folder with --out",
            )

    def write(self, done: StageTime | None = None) -> None:
        """Keep the record; the time of a stage that was done before stays what it was."""
        if done is not None:
            self.seconds.setdefault(done.name, round(done.seconds, 1))
        record = {"settings": self.settings, "seconds": self.seconds}
        write_atomic(self._path, (json.dumps(record, indent=1) + "\n").encode())


def run_recipe(
    config: RecipeConfig, data_root: Path, out: Path, log: Log = print
) -> list[StageTime]:
    """Run every stage that isn't done yet; interrupt it at any time and run it again.

    Args:
        config: the whole recipe.
        data_root: folder with the tile sources and texts.
        out: where stages keep their work; `out/mini` holds the finished weights.
        log: takes one line at a time.

    Raises:
        PrerequisiteError: the data isn't there.
        ConfigError: `out` holds a run with other settings.
    """
    import torch

    if not (data_root / "tiles").is_dir():
        raise PrerequisiteError(
            f"no training data at {data_root}", hint="Give its folder with --data"
        )
    if config.threads:
        torch.set_num_threads(config.threads)
    times: list[StageTime] = []
    record = RunRecord(out, config)
    record.write()

    def stage(name: str, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        result = work()
        times.append(StageTime(name, time.perf_counter() - began))
        record.write(times[-1])
        log(f"stage {name}: {times[-1].seconds:.0f} s")
        return result

    network = stage(
        "encoder", lambda: train_encoder(config.encoder, data_root, out / "encoder", log)
    )
    final = out / "mini"
    bank_path = stage(
        "embeddings",
        lambda: fit_embeddings(config.embeddings, config.encoder, data_root, network, final, log),
    )
    tokenizer = out / "tokenizer.model"
    if not tokenizer.is_file():
        report = stage("tokenizer", lambda: train_tokenizer(config.tokenizer, data_root, tokenizer))
        log(f"tokens per character: {report.tokens_per_character}")
    processor = RuiChatProcessor(tokenizer)
    language = stage(
        "language", lambda: train_language(config.language, processor, data_root, out, log)
    )
    bank = TileBank.load(bank_path)
    rehearsal = sample_bank(bank, REHEARSED, config.encoder.seed)
    encoder = MiniEncoder.load(final / "encoder.safetensors")
    save_replay(final / REPLAY_FILE, rehearsal, encoder.digest)
    bags = BagMaker(bank, "train", config.bags)
    stage(
        "projector", lambda: train_projector(config.projector, language, processor, bags, out, log)
    )
    model = stage(
        "instruct",
        lambda: train_instruct(config.instruct, language.model, processor, bags, out, log),
    )
    save_checkpoint(
        final / "lm",
        model,
        processor,
        name="mini",
        encoder_digest=encoder.digest,
        half=True,
    )
    held = BagMaker(bank, "val", config.bags)
    classifier = TileClassifier.load(final / "tiles.safetensors")
    stage(
        "calibrate",
        lambda: calibrate(
            config.calibrate, load_checkpoint(final / "lm"), classifier, encoder, held, final / "lm"
        ),
    )
    return times
