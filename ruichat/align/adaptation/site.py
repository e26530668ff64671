"""The new site's labelled tiles or annotated slides: read, encoded, and partly held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ruichat.align.adaptation.encoding import Tick, encode_kept
from ruichat.config import Config
from ruichat.errors import ConfigError, InputError
from ruichat.features.card import EncoderCard
from ruichat.features.encoder import Encoder
from ruichat.histology import KEYS
from ruichat.truth.annotated_slides import (
    AnnotatedSlide,
    SlidesConfig,
    groups_by_label,
    look_at_slides,
    read_slides,
)
from ruichat.truth.bank import TileBank
from ruichat.truth.colour import colour_statistics
from ruichat.truth.holding_out import split_groups, split_runs
from ruichat.truth.tile_folders import (
    FolderConfig,
    LabelledTiles,
    Strings,
    read_folder,
    read_labels,
)

MIN_TRAINING = 2
"""Tiles of a label below which nothing can be learned of it. Ours."""

_BANK_COLOUR = 6
"""Of the statistics of colour a bank keeps mean and spread of red, green and blue."""


class SiteConfig(Config):
    """A folder of the site's labelled tiles or of its annotated slides, one of both."""

    tiles: FolderConfig | None = None
    """Where tiles lie; files are told apart by patient through its group_column or number."""
    slides: SlidesConfig | None = None
    """Where slides lie on which tissue is outlined and named."""
    labels: dict[str, str] = Field(min_length=2)
    """The site's label -> the tissue class that it is a kind of."""
    held_out: float = Field(default=0.3, gt=0, lt=1)
    """Share kept apart to measure on: whole groups of slides, or of tiles where these have a
    group_column; else the last files of each label where files have numbers."""

    @model_validator(mode="after")
    def _one_source(self) -> SiteConfig:
        if (self.tiles is None) == (self.slides is None):
            given = "neither" if self.tiles is None else "both"
            raise ValueError(
                f"{given} of tiles and slides given; keep one: tiles for folders of labelled "
                "tiles, slides for annotated slides"
            )
        return self

    @model_validator(mode="after")
    def _labels_are_kinds_of_classes(self) -> SiteConfig:
        unknown = sorted(set(self.labels.values()) - set(KEYS))
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: no tissue class; known: {', '.join(KEYS)}")
        return self

    @property
    def source(self) -> FolderConfig | SlidesConfig:
        """What is read."""
        found = self.slides if self.tiles is None else self.tiles
        assert found is not None
        return found


@dataclass(frozen=True)
class SiteTiles:
    """The site's tiles as the encoder sees them.

    Attributes:
        name: of the site.
        embeddings: [n,d].
        colour: [n,m] statistics of colour, for the control that knows nothing else.
        labels: names of the s labels.
        label: [n] index into `labels`.
        parent: [s] row in `histology.CLASSES` of each label.
        group: [n] source groups.
        test: [n] tiles that nothing is learned from.
        notes: what was done to images that didn't fit.
    """

    name: str
    embeddings: Float32[NDArray[np.float32], "n d"]
    colour: Float32[NDArray[np.float32], "n m"]
    labels: tuple[str, ...]
    label: Int64[NDArray[np.int64], " n"]
    parent: Int64[NDArray[np.int64], " s"]
    group: Strings
    test: Bool[NDArray[np.bool_], " n"]
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> Int64[NDArray[np.int64], " n"]:
        """Row in `histology.CLASSES` of each tile's class."""
        return self.parent[self.label]

    def as_bank(self) -> TileBank:
        """Training and held-out tiles ("val") for laying slides."""
        n = len(self.label)
        return TileBank(
            embeddings=self.embeddings[:, None],
            colour=self.colour[:, None, :_BANK_COLOUR],
            target=np.eye(len(KEYS), dtype=np.float32)[self.classes],
            partial=np.zeros(n, bool),
            source=np.full(n, self.name),
            group=self.group,
            split=np.where(self.test, "val", "train"),
        )

    def draw(self, per_label: int, rng: np.random.Generator) -> Int64[NDArray[np.int64], " m"]:
        """Rows of so many training tiles of each label; all where there are fewer."""
        rows = [np.flatnonzero(~self.test & (self.label == i)) for i in range(len(self.labels))]
        return np.sort(np.concatenate([rng.permutation(one)[:per_label] for one in rows]))


def check_site(config: SiteConfig, root: Path, tick: Tick | None = None) -> None:
    """Look at what the site's listing names, before a tile is read.

    Args:
        config: what would be read.
        root: relative folders lie under it.
        tick: told how many slides are looked at, and of how many.

    Raises:
        ConfigError: it has labels that the config doesn't know.
        InputError: it can't be read, a file that it names isn't there or can't be right, or slides
            have a label in one group alone.
    """
    if config.slides is not None:
        _look_at_slides(config.slides, config.labels, root, tick)
    else:
        _check_tiles(config, root)


def _check_tiles(config: SiteConfig, root: Path) -> FolderConfig:
    assert config.tiles is not None
    unknown = sorted(set(read_labels(config.tiles, root)) - set(config.labels))
    if unknown:
        raise ConfigError(
            f"labels.csv of {config.tiles.name} has labels without a class: {', '.join(unknown)}",
            hint="Name the tissue class that each is a kind of, under site.labels",
        )
    return config.tiles


def _look_at_slides(
    config: SlidesConfig, labels: dict[str, str], root: Path, tick: Tick | None
) -> list[AnnotatedSlide]:
    slides = look_at_slides(config, root, tick)
    groups = groups_by_label(config, slides)
    if unknown := [label for label in groups if label not in labels]:
        file = next(one.annotations for one in slides if unknown[0] in one.labels)
        raise ConfigError(
            f"annotations of {config.name} have classes that site.labels doesn't name: "
            f"{', '.join(unknown)} (the first in {file}); it names {', '.join(labels)}",
            hint="Name the tissue class that each is a kind of, under site.labels, or name what "
            "isn't to be learned under site.slides.leave_out",
        )
    if not groups:
        raise InputError(
            f"no area with a class is annotated on the slides of {config.name}",
            hint="Give each annotation a class, and export annotations as GeoJSON",
        )
    if lone := [label for label, found in groups.items() if len(found) < 2]:
        raise InputError(
            f"{config.name} has {', '.join(lone)} in one patient alone (in one slide, where "
            "slides.csv names no patients): nothing is left to measure on",
            hint="Annotate it on slides of others, or name it under site.slides.leave_out",
        )
    return slides


def read_site(
    config: SiteConfig,
    root: Path,
    encoder: Encoder,
    *,
    kept: Path | None = None,
    tick: Tick | None = None,
    tick_slides: Tick | None = None,
) -> SiteTiles:
    """Read and encode the tiles.

    Args:
        config: what to read.
        root: relative folders lie under it.
        encoder: of the model that is adapted.
        kept: folder in which embeddings stay for the next run; None keeps nothing.
        tick: told how many tiles are encoded, and of how many.
        tick_slides: told how many slides are read, and of how many.

    Raises:
        ConfigError, InputError: see `check_site`; or a file can't be read, or a label has too few
            tiles to hold some out.
    """
    read = _read(config, root, encoder.card, tick_slides)
    labels = tuple(label for label in config.labels if label in set(read.label))
    label = np.array([labels.index(str(name)) for name in read.label], np.int64)
    test = _held_out(config, read)
    for i, name in enumerate(labels):
        if (label[~test] == i).sum() < MIN_TRAINING or not (label[test] == i).any():
            raise InputError(
                f"label {name!r} of {config.source.name} has {(label == i).sum()} tiles in too few "
                "groups to learn from some and measure on others",
                hint="Annotate it on slides of other patients, or name it under "
                "site.slides.leave_out"
                if config.tiles is None
                else "Add tiles of other patients, or leave the label out of labels.csv",
            )
    return SiteTiles(
        name=config.source.name,
        embeddings=encode_kept(encoder, read.rgb, kept, tick),
        colour=colour_statistics(read.rgb),
        labels=labels,
        label=label,
        parent=np.array([KEYS.index(config.labels[name]) for name in labels], np.int64),
        group=read.group,
        test=test,
        notes=read.notes,
    )


def _read(config: SiteConfig, root: Path, card: EncoderCard, tick: Tick | None) -> LabelledTiles:
    if config.slides is not None:
        slides = _look_at_slides(config.slides, config.labels, root, None)
        return read_slides(config.slides, slides, card, tick)
    tiles = _check_tiles(config, root)
    return read_folder(tiles, root, tile_px=card.tile_px, tile_mpp=card.tile_mpp)


def _held_out(config: SiteConfig, read: LabelledTiles) -> Bool[NDArray[np.bool_], " n"]:
    tiles = config.tiles
    if tiles is not None and tiles.number and not tiles.group_column:
        fold = split_runs(read.label, read.number, config.held_out)
    else:
        fold = split_groups(read.label, read.group, config.held_out)
    test = np.zeros(len(read.label), bool)
    test[fold.test] = True
    return test
