"""Thoughts about our own questions: slides laid from a bank of labelled tiles."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruichat.align.calibrate import calibrate
from ruichat.align.instruct import train_adapter, wrap_in_lora
from ruichat.align.laid_needs import taught_need
from ruichat.align.loop import Log
from ruichat.align.preflight.room import Launch, Need, check_memory
from ruichat.align.stages.beside import carry_on, classifier_for, require_same_encoder
from ruichat.align.stages.needs import checkpoint_shapes
from ruichat.align.stages.outline import Outline, outline_of_checkpoint
from ruichat.align.think.config import LaidThinkConfig
from ruichat.align.think.needs import rewarded_need
from ruichat.align.think.questions import LaidQuestions
from ruichat.align.training.processes import start_processes
from ruichat.chat.calibration import THINKING_FILE_NAME
from ruichat.errors import ConfigError, PrerequisiteError
from ruichat.features.encoder import Encoder, load_encoder
from ruichat.features.tile_classifier import TileClassifier
from ruichat.model.checkpoint import load_checkpoint, save_checkpoint
from ruichat.model.checkpoint_files import THINKING_DIR, clear_folder
from ruichat.model.trainable import Trainable, find_checkpoint, load_trainable
from ruichat.registry import require
from ruichat.truth.bags import BagMaker
from ruichat.truth.bank import TileBank, encoder_of_bank

WHOLE = ("region_encoder", "pointer", "pieces")
"""Modules that train as they are while thoughts are taught."""


@dataclass(frozen=True)
class _Judges:
    """What calibration needs beside the model."""

    encoder: Encoder
    classifier: TileClassifier


def laid_needs(config: LaidThinkConfig, launch: Launch) -> list[Need]:
    """See `stage.think_needs`."""
    shapes, slides = checkpoint_shapes(find_checkpoint(config.model)), config.bags
    found = [taught_need("teach", config.teach, shapes, slides, launch)]
    if config.reinforce is not None:
        sizes = {"regions": slides.max_regions, "tiles": slides.max_side**2}
        found.append(rewarded_need(config.reinforce, shapes, launch, **sizes))
    return found


def think_laid(config: LaidThinkConfig, data: Path, out: Path, log: Log, *, anyway: bool) -> Path:
    """See `stage.think`; `out/lm` holds the finished checkpoint."""
    import torch

    for package in ("trl", "datasets") if config.reinforce else ():
        require(package, extra="align")
    if config.threads:
        torch.set_num_threads(config.threads)
    check_memory(lambda launch: laid_needs(config, launch), log, anyway=anyway)
    folder = find_checkpoint(config.model)
    outline = outline_of_checkpoint(folder)
    _check_lengths(config, outline)
    judges = None if config.calibrate is None else _judges(config, outline)
    bank = _read_bank(config, data / config.bank, outline)
    train, held = BagMaker(bank, "train", config.bags), BagMaker(bank, "val", config.bags)
    start = load_trainable(folder, add_pieces=True, fold=True)
    slides = f"{config.bags.fingerprint()}-{bank.digest()[:16]}"
    trained = _train(config, start, train, held, slides, out, log)
    saved = out / "lm"
    if config.apart:
        _copy_answering(folder, saved)
    save_checkpoint(
        saved / THINKING_DIR if config.apart else saved,
        trained,
        start.processor,
        name=config.name,
        encoder_digest=start.manifest.made_from.get("encoder", ""),
        half=True,
        made_from={"base": start.manifest.sha256},
        config_fingerprint=config.fingerprint(),
    )
    carry_on(folder, saved, log)
    if config.calibrate is not None and judges is not None:
        for thinking in (True,) if config.apart else (False, True):
            log(f"think: calibrating answers {'with' if thinking else 'without'} thoughts")
            model, tiles = load_checkpoint(saved), judges.classifier
            calibrate(
                config.calibrate, model, tiles, judges.encoder, held, saved, thinking=thinking
            )
    return saved


def _copy_answering(folder: Path, out: Path) -> None:
    """Take over what answers at once, without what thought so far."""
    clear_folder(out)
    thinking = shutil.ignore_patterns(THINKING_DIR, THINKING_FILE_NAME)
    shutil.copytree(folder, out, ignore=thinking, dirs_exist_ok=True)


def _train(
    config: LaidThinkConfig,
    start: Trainable,
    train: BagMaker,
    held: BagMaker,
    slides: str,
    out: Path,
    log: Log,
) -> Any:
    """The model as it was taught, then rewarded, in an adapter; `slides` is their fingerprint."""
    processor = start.processor
    made_of = f"{config.teach.fingerprint()}-{slides}-{start.manifest.sha256[:16]}"
    wrapped = wrap_in_lora(start.model, config.teach, whole=WHOLE)
    train_adapter(wrapped, config.teach, processor, train, out / "teach", "teach", made_of, log)
    rules = config.reinforce
    if rules is None:
        return wrapped
    from ruichat.align.think.reinforce import reinforce

    merged: Any = wrapped.merge_and_unload()
    # Its language model isn't the published one any more.
    merged.base = None
    kinds, num, num_held = rules.kinds, rules.num_questions, rules.num_held_out
    return reinforce(
        rules,
        merged,
        processor,
        LaidQuestions(train, processor, seed=(rules.seed, 6), num=num, kinds=kinds),
        LaidQuestions(held, processor, seed=(rules.seed, 7), num=num_held, kinds=kinds),
        out / "reinforce",
        settings=made_of,
        log=log,
    )


def _check_lengths(config: LaidThinkConfig, outline: Outline) -> None:
    """Refuse rows and completions that the model can't read, and parts that processes can't take.

    Raises:
        ConfigError: naming the setting.
    """
    lengths = {"teach.row_tokens": config.teach.row_tokens}
    if config.reinforce is not None:
        config.reinforce.parts_of_a_step(start_processes().num)
        lengths["reinforce.max_tokens"] = config.reinforce.max_tokens
    for name, length in lengths.items():
        if length > outline.max_positions:
            raise ConfigError(
                f"{name} is {length}; {config.model} reads {outline.max_positions} text tokens",
                hint=f"Lower {name}",
            )


def _judges(config: LaidThinkConfig, outline: Outline) -> _Judges:
    """What calibration reads slides with.

    Raises:
        ConfigError: there is no tile classifier for the model's encoder.
        PrerequisiteError: the encoder's weights aren't here.
        ArtifactError: the tile classifier was made with others.
    """
    classifier = classifier_for(outline.encoder, outline.base)
    if classifier is None:
        raise ConfigError(
            f"{config.model} reads encoder {outline.encoder!r}, for which there is no tile "
            "classifier to calibrate with",
            hint="Set calibrate: null",
        )
    encoder = load_encoder(outline.encoder)
    require_same_encoder(classifier, encoder, config.model)
    return _Judges(encoder, classifier)


def _read_bank(config: LaidThinkConfig, path: Path, outline: Outline) -> TileBank:
    if not path.is_file():
        raise PrerequisiteError(
            f"no embeddings of tiles at {path}", hint="Make them with: ruichat align mini"
        )
    bank = TileBank.load(path)
    if bank.embeddings.shape[2] != outline.bag_dim:
        raise ConfigError(
            f"the bank's embeddings have d={bank.embeddings.shape[2]}; {config.model} reads "
            f"d={outline.bag_dim}",
            hint=f"Give a bank of encoder {outline.encoder}",
        )
    made_by = encoder_of_bank(path)
    if "" not in (made_by, outline.encoder_digest) and made_by != outline.encoder_digest:
        raise ConfigError(
            f"the bank was made by weights {made_by[:8]} of encoder {outline.encoder!r}; "
            f"{config.model} was trained with {outline.encoder_digest[:8]}",
            hint="Give the bank of the run that made the model",
        )
    return bank
