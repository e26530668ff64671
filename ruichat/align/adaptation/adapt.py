"""The stage `adapt`: another site's tissue, the head and LoRA only, measured before and after."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from ruichat.align.adaptation.beginning import begin_classifier, check_beginning
from ruichat.align.adaptation.head import HeadConfig, fit_site_head
from ruichat.align.adaptation.report import Adaptation, write_report
from ruichat.align.adaptation.scores import (
    QuestionScores,
    ScoreConfig,
    learning_curve,
    least_tiles,
    score_questions,
    score_tiles,
)
from ruichat.align.adaptation.site import SiteConfig, SiteTiles, check_site, read_site
from ruichat.align.calibrate import calibrate
from ruichat.align.instruct import train_adapter, wrap_in_lora
from ruichat.align.laid_needs import taught_need
from ruichat.align.laid_settings import CalibrateConfig, LaidTraining
from ruichat.align.loop import Log
from ruichat.align.preflight.room import Launch, Need, check_memory
from ruichat.align.stages.beside import require_same_encoder
from ruichat.align.stages.needs import checkpoint_shapes
from ruichat.align.stages.outline import outline_of_checkpoint
from ruichat.chat.backend import CLASSIFIER_FILE
from ruichat.config import Config
from ruichat.errors import ArtifactError, ConfigError
from ruichat.features.encoder import Encoder, load_encoder
from ruichat.features.tile_classifier import ENCODER, WEIGHTS, TileClassifier
from ruichat.model.checkpoint import load_checkpoint, save_checkpoint
from ruichat.model.checkpoint_files import ADAPTER_DIR, read_json
from ruichat.model.rehearsed import REPLAY_FILE, rehearsed_with
from ruichat.model.trainable import Trainable, find_checkpoint, load_trainable
from ruichat.model.weights import ADAPTER_CONFIG
from ruichat.storage.artifacts import cache_dir
from ruichat.truth.bags import BagMaker, MixedBags
from ruichat.truth.bank import TileBank, join_banks
from ruichat.truth.replay import load_replay, save_replay
from ruichat.truth.symbolic import SymbolicConfig

Show = Callable[[str, int, int], None]

ADAPTED_DIR = "model"
"""Of the checkpoint, in the folder of the run."""


class AdaptConfig(Config):
    """One adaptation."""

    model: str = "mini"
    """What is adapted: mini, or a checkpoint folder. Where it has no tile classifier, one begins
    that knows the site's labels alone; there is nothing to rehearse then (`replay: none`)."""
    name: str
    """Of the adapted model, recorded with every answer."""
    site: SiteConfig
    per_label: int = Field(default=0, ge=0)
    """Tiles of each label to learn from; all that aren't held out if 0."""
    replay: str = "auto"
    """Old embeddings to rehearse: auto takes those released with the model, none goes without."""
    site_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the slides laid from the site's tiles, in training and calibration."""
    head: HeadConfig = HeadConfig()
    lora: LaidTraining | None = None
    """How the language model learns on; None leaves it as it is."""
    calibrate: CalibrateConfig = CalibrateConfig()
    scores: ScoreConfig = ScoreConfig()
    bags: SymbolicConfig = SymbolicConfig()
    release_features: bool = False
    """Add the site's training embeddings to what is released for rehearsal. They show no pixels,
    yet come from patients: release them only where the site allows it."""


def _unseen(_step: str, _done: int, _total: int) -> None:
    """Where nobody watches."""


@dataclass(frozen=True)
class _Start:
    """What is there before."""

    trainable: Trainable
    encoder: Encoder
    classifier: TileClassifier | None
    replay: TileBank | None
    folder: Path


def adapt_needs(config: AdaptConfig, root: Path, launch: Launch) -> list[Need]:
    """Memory that LoRA takes, from the settings alone; the head is no matter.

    Raises:
        ArtifactError: there is no such checkpoint.
        UnknownShapeError: its memory isn't computed here.
    """
    if config.lora is None:
        return []
    shapes = checkpoint_shapes(find_checkpoint(config.model, root))
    return [taught_need("lora", config.lora, shapes, config.bags, launch)]


def adapt(
    config: AdaptConfig,
    root: Path,
    out: Path,
    log: Log = print,
    show: Show = _unseen,
    *,
    anyway: bool = False,
) -> Adaptation:
    """Adapt a model to a site; interrupted, it goes on where it stopped.

    Args:
        config: the whole adaptation.
        root: relative folders of the config lie under it.
        out: `out/model` becomes the checkpoint, `out/report.md` and `report.json` the scores.
        log: takes lines.
        show: told the step under way, how much of it is done, and of how much.
        anyway: start it even if memory is foretold not to suffice.

    Raises:
        ConfigError, PrerequisiteError, ArtifactError, InputError: what is given doesn't fit.
    """
    seconds: dict[str, float] = {}
    check_memory(lambda launch: adapt_needs(config, root, launch), log, anyway=anyway)
    start = _load(config, root, show)
    with _timed(seconds, "encode"):
        site = read_site(
            config.site,
            root,
            start.encoder,
            kept=_kept(config, root),
            tick=partial(show, "tiles"),
            tick_slides=partial(show, "slides"),
        )
    log(f"{len(site.label)} tiles of {site.name}, {int(site.test.sum())} of them held out")
    for note in site.notes:
        log(note)
    first = start.classifier or begin_classifier(site, start.encoder.digest)
    if start.classifier is None:
        log(f"{config.model} has no tile classifier: one begins that knows the site's labels alone")
    curve = learning_curve(
        first, site, start.replay, config.scores, config.head, partial(show, "curve")
    )
    left_out = tuple(num for num in config.scores.per_label if num > least_tiles(site))
    if left_out:
        log(f"no curve for {left_out} tiles of each label: one has {least_tiles(site)} to learn of")
    questions_before = _questions(config, load_checkpoint(start.folder), start, site, log, show)
    with _timed(seconds, "head"):
        rng = np.random.default_rng(config.scores.seed)
        rows = site.draw(config.per_label or len(site.label), rng)
        classifier = fit_site_head(first, site, rows, start.replay, config.head)
    with _timed(seconds, "lora"):
        model = _train(config, start, site, out, log)
    folder = _save(config, start, site, classifier, model, out)
    adapted = load_checkpoint(folder)
    with _timed(seconds, "calibrate"):
        held = _mixed(config, site, start.replay, "val")
        calibrate(config.calibrate, adapted, classifier, start.encoder, held, folder)
    after = replace(start, classifier=classifier, folder=folder)
    adaptation = Adaptation(
        model=config.model,
        name=config.name,
        site=site.name,
        labels=site.labels,
        num_learned=len(rows),
        num_held_out=int(site.test.sum()),
        rehearsed=0 if start.replay is None else int((start.replay.split == "train").sum()),
        notes=site.notes,
        tiles=(
            score_tiles(start.classifier, site, start.replay),
            score_tiles(classifier, site, start.replay),
        ),
        curve=tuple(curve),
        left_out=left_out,
        fewest=least_tiles(site),
        questions=(questions_before, _questions(config, adapted, after, site, log, show)),
        seconds=seconds,
    )
    write_report(adaptation, out)
    return adaptation


def _kept(config: AdaptConfig, root: Path) -> Path:
    """Where embeddings of the site's folder stay for its next adaptation."""
    source = (root / config.site.source.folder).resolve()
    return cache_dir() / "adapt" / hashlib.sha256(bytes(source)).hexdigest()[:16]


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Generator[None]:
    began = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - began


def _load(config: AdaptConfig, root: Path, show: Show) -> _Start:
    """All that is there before, the largest last: what doesn't fit is told before it is loaded."""
    check_site(config.site, root, partial(show, "looking at slides"))
    folder = find_checkpoint(config.model, root)
    outline = outline_of_checkpoint(folder)
    _check_adapter(config, folder)
    classifier = _classifier(config, folder, outline.encoder)
    encoder = load_encoder(outline.encoder)
    if outline.encoder_digest not in ("", encoder.digest):
        raise ArtifactError(
            f"model {config.model} reads encoder weights {outline.encoder_digest[:8]}; those here "
            f"are {encoder.digest[:8]}",
            hint="Give the encoder's weights that the model was trained with",
        )
    if classifier is not None:
        require_same_encoder(classifier, encoder, config.model)
    replay = _replay(config, folder, root, encoder)
    if replay is not None:
        # Slides are laid of both, of the second after all training.
        for split in ("train", "val"):
            BagMaker(replay, split, config.bags)
    return _Start(load_trainable(folder), encoder, classifier, replay, folder)


def _check_adapter(config: AdaptConfig, folder: Path) -> None:
    """Refuse sizes of LoRA that an adapter which learns on can't take.

    Raises:
        ConfigError: naming its own.
    """
    path = folder / ADAPTER_DIR / ADAPTER_CONFIG
    if config.lora is None or not path.is_file():
        return
    found = read_json(path)
    own = (found["r"], found["lora_alpha"])
    if own != (config.lora.rank, config.lora.alpha):
        raise ConfigError(
            f"the adapter of {config.model}, which learns on, has rank {own[0]} and alpha "
            f"{own[1]}; lora says {config.lora.rank} and {config.lora.alpha}",
            hint=f"Set lora.rank: {own[0]} and lora.alpha: {own[1]}",
        )


def _classifier(config: AdaptConfig, folder: Path, encoder: str) -> TileClassifier | None:
    """As `ask` takes it: the checkpoint's own, else the shipped one if it reads that encoder."""
    own = folder / CLASSIFIER_FILE
    if not own.is_file() and encoder != ENCODER:
        check_beginning(config.site.labels, config.model)
        if config.replay != "none":
            raise ConfigError(
                f"{config.model} has no tile classifier; one that begins with the site's labels "
                f"can't rehearse, and replay is {config.replay!r}",
                hint=f"Set replay: none, or put the model's {CLASSIFIER_FILE} into its folder",
            )
        return None
    classifier = TileClassifier.load(own if own.is_file() else WEIGHTS)
    if classifier.site is not None:
        raise ConfigError(
            f"{config.model} has been adapted to {classifier.site.name} before",
            hint="Adapt the model it came from, with the labels of both sites",
        )
    return classifier


def _replay(config: AdaptConfig, folder: Path, root: Path, encoder: Encoder) -> TileBank | None:
    if config.replay == "none":
        return None
    path = rehearsed_with(folder) if config.replay == "auto" else root / config.replay
    return load_replay(path, encoder.digest)


def _mixed(config: AdaptConfig, site: SiteTiles, replay: TileBank | None, split: Any) -> MixedBags:
    new = BagMaker(site.as_bank(), split, config.bags)
    if replay is None:
        return MixedBags([new], [1.0])
    old = BagMaker(replay, split, config.bags)
    return MixedBags([new, old], [config.site_share, 1 - config.site_share])


def _train(config: AdaptConfig, start: _Start, site: SiteTiles, out: Path, log: Log) -> Any:
    """The model with its LoRA weights trained on; nothing else of it learns."""
    model = start.trainable.model
    if config.lora is None:
        return model
    if not hasattr(model, "peft_config"):
        model = wrap_in_lora(model, config.lora, whole=())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name)
    bags = _mixed(config, site, start.replay, "train")
    slides = [bank.digest()[:16] for bank in (site.as_bank(), start.replay) if bank is not None]
    made_of = " ".join([config.fingerprint(), start.trainable.manifest.sha256, *slides])
    train_adapter(
        model, config.lora, start.trainable.processor, bags, out / "lora", "adapt", made_of, log
    )
    return model


def _save(
    config: AdaptConfig,
    start: _Start,
    site: SiteTiles,
    classifier: TileClassifier,
    model: Any,
    out: Path,
) -> Path:
    folder = save_checkpoint(
        out / ADAPTED_DIR,
        model,
        start.trainable.processor,
        name=config.name,
        encoder_digest=start.encoder.digest,
        half=True,
        made_from={"model": start.trainable.manifest.sha256},
        config_fingerprint=config.fingerprint(),
    )
    classifier.save(folder / CLASSIFIER_FILE)
    released = [] if start.replay is None else [start.replay]
    if config.release_features:
        bank = site.as_bank()
        released.append(bank.where(bank.split == "train"))
    if released:
        save_replay(folder / REPLAY_FILE, join_banks(released), start.encoder.digest)
    return folder


def _questions(
    config: AdaptConfig, model: Any, state: _Start, site: SiteTiles, log: Log, show: Show
) -> dict[str, QuestionScores]:
    """Answers about slides of the new site and, where there are old tiles, of the old."""
    banks = {"new": site.as_bank()} | ({} if state.replay is None else {"old": state.replay})
    scores: dict[str, QuestionScores] = {}
    if config.scores.num_slides == 0:
        return scores
    for name, bank in banks.items():
        bags = BagMaker(bank, "val", config.bags)
        tick = partial(show, f"slides, {name} site")
        found = score_questions(model, state.classifier, state.encoder, bags, config.scores, tick)
        log(f"{model.name}, slides of the {name} site: {found.right:.2f} of {found.num} right")
        scores[name] = found
    return scores
