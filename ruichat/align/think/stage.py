"""Stage `think`: long thoughts, first taught on written ones, then rewarded for right answers."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from ruichat.align.calibrate import CalibrateConfig, calibrate
from ruichat.align.instruct import InstructConfig, train_adapter, wrap_in_lora
from ruichat.align.laid_needs import taught_need
from ruichat.align.loop import Log
from ruichat.align.preflight.room import Launch, Need, check_memory
from ruichat.align.stages.needs import checkpoint_shapes
from ruichat.align.think.needs import rewarded_need
from ruichat.align.think.opening import find_checkpoint, open_thinker
from ruichat.align.think.questions import LaidQuestions
from ruichat.align.think.rules import ReinforceConfig
from ruichat.config import Config
from ruichat.errors import ConfigError, PrerequisiteError
from ruichat.features.encoder import load_encoder
from ruichat.features.tile_classifier import WEIGHTS, load_tile_classifier
from ruichat.model.checkpoint import load_checkpoint, save_checkpoint
from ruichat.registry import require
from ruichat.truth.bags import BagMaker
from ruichat.truth.bank import TileBank
from ruichat.truth.symbolic import SymbolicConfig


class ThinkConfig(Config):
    """Settings of stage `think`."""

    model: str = "mini"
    """What is taught: mini, or a checkpoint folder."""
    name: str = "mini-think"
    """Of the model that is made; recorded with its answers."""
    bank: Path
    """Embeddings of labelled tiles by the model's encoder, as `ruichat align mini` writes them."""
    bags: SymbolicConfig = SymbolicConfig()
    """How tiles are laid into slides."""
    teach: InstructConfig
    """Written thoughts; `thoughts` is the share of answers that have one."""
    reinforce: ReinforceConfig | None = None
    """Rewards; none if missing."""
    calibrate: CalibrateConfig | None = CalibrateConfig()
    threads: int = Field(default=0, ge=0)
    """CPU threads; 0 takes all cores."""

    @model_validator(mode="after")
    def _thinks(self) -> ThinkConfig:
        if self.teach.thoughts == 0:
            raise ValueError("teach.thoughts is 0: nothing would be thought")
        return self


def think_needs(config: ThinkConfig, launch: Launch) -> list[Need]:
    """Memory that being taught takes, and being rewarded, from the settings alone.

    Raises:
        ConfigError, ArtifactError: there is no such checkpoint.
        UnknownShapeError: its memory isn't computed here.
    """
    shapes = checkpoint_shapes(find_checkpoint(config.model))
    found = [taught_need("teach", config.teach, shapes, config.bags, launch)]
    if config.reinforce is not None:
        found.append(rewarded_need(config.reinforce, shapes, config.bags, launch))
    return found


def think(
    config: ThinkConfig, data: Path, out: Path, log: Log = print, *, anyway: bool = False
) -> Path:
    """Run what isn't done yet; interrupt it at any time and run it again.

    Args:
        config: settings.
        data: folder that the bank's path lies under.
        out: where states and curves are kept; `out/lm` holds the finished checkpoint.
        log: takes lines.
        anyway: start it even if memory is foretold not to suffice.

    Returns:
        The checkpoint, which `ruichat ask --model` takes.

    Raises:
        PrerequisiteError: the bank or a package isn't there, or memory doesn't suffice.
        ConfigError: `out` holds a run with other settings, or the bank is of another encoder.
    """
    import torch

    for package in ("trl", "datasets") if config.reinforce else ():
        require(package, extra="align")
    if config.threads:
        torch.set_num_threads(config.threads)
    check_memory(lambda launch: think_needs(config, launch), log, anyway=anyway)
    path = data / config.bank
    if not path.is_file():
        raise PrerequisiteError(
            f"no embeddings of tiles at {path}", hint="Make them with: ruichat align mini"
        )
    model, processor, manifest = open_thinker(find_checkpoint(config.model))
    bank = TileBank.load(path)
    if bank.embeddings.shape[2] != model.config.bag_dim:
        raise ConfigError(
            f"the bank's embeddings have d={bank.embeddings.shape[2]}; {config.model} reads "
            f"d={model.config.bag_dim}",
            hint=f"Give a bank of encoder {model.config.encoder}",
        )
    train, held = BagMaker(bank, "train", config.bags), BagMaker(bank, "val", config.bags)
    made_of = f"{config.teach.fingerprint()}-{manifest.sha256[:16]}"
    whole = ("region_encoder", "pointer", "pieces")
    wrapped = wrap_in_lora(model, config.teach, whole=whole)
    train_adapter(wrapped, config.teach, processor, train, out / "teach", "teach", made_of, log)
    if config.reinforce is not None:
        from ruichat.align.think.reinforce import reinforce

        rules = config.reinforce
        wrapped = reinforce(
            rules,
            wrapped.merge_and_unload(),  # type: ignore[arg-type]
            processor,
            LaidQuestions(
                train, processor, seed=(rules.seed, 6), num=rules.num_questions, kinds=rules.kinds
            ),
            LaidQuestions(
                held, processor, seed=(rules.seed, 7), num=rules.num_held_out, kinds=rules.kinds
            ),
            out / "reinforce",
            settings=made_of,
            log=log,
        )
    folder = save_checkpoint(
        out / "lm",
        wrapped,
        processor,
        name=config.name,
        encoder_digest=manifest.made_from.get("encoder", ""),
        half=True,
        made_from={"base": manifest.sha256},
        config_fingerprint=config.fingerprint(),
    )
    if config.calibrate is not None:
        encoder = load_encoder(model.config.encoder)
        classifier = load_tile_classifier(WEIGHTS)
        for thinking in (False, True):
            log(f"think: calibrating answers {'with' if thinking else 'without'} thoughts")
            calibrate(
                config.calibrate, load_checkpoint(folder), classifier, encoder, held, folder,
                thinking=thinking,
            )  # fmt: skip
    return folder
