"""Scores of the tile encoder: classifier, linear probes, unknown tissue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ruichat.chat.backend import TileClassifier
from ruichat.errors import ConfigError
from ruichat.evaluate.config import ProbeConfig, TileSuite
from ruichat.evaluate.metrics import Bootstrap, Estimate, area_under_roc, balanced_accuracy
from ruichat.evaluate.probes import outer_folds, probe
from ruichat.evaluate.reading import EncodedTiles
from ruichat.evaluate.report import Row
from ruichat.histology import KEYS
from ruichat.truth.holding_out import Fold, split_runs
from ruichat.truth.tile_folders import Strings

SECTION = "Tiles, balanced accuracy"
UNKNOWN_SECTION = "Unknown tissue, AUROC"


@dataclass(frozen=True)
class TileSet:
    """Encoded tiles of one source with what is known of them.

    Attributes:
        name: of the source or folder.
        tiles: embeddings, colour, untrained statistics.
        label: class or label of each tile.
        group: source group of each.
        number: file number of each; where none is known, its rank.
        held_out: tiles of groups that no stage trains on, [n]; all of them for foreign folders.
        foreign: no stage has trained on this source at all.
    """

    name: str
    tiles: EncodedTiles
    label: Strings
    group: Strings
    number: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    foreign: bool


@dataclass(frozen=True, slots=True)
class Draws:
    """How bootstrap samples are drawn."""

    num: int
    seed: int

    def over(self, unit: Strings) -> Bootstrap:
        """A bootstrap over these units."""
        return Bootstrap(unit, num_draws=self.num, seed=self.seed)


def score_classifier(tile_set: TileSet, classifier: TileClassifier, draws: Draws) -> Row:
    """The shipped classifier on held-out groups, among the classes that the source has."""
    keys = np.unique(tile_set.label)
    columns = [KEYS.index(str(key)) for key in keys]
    rows = np.flatnonzero(tile_set.held_out)
    probability = classifier.class_probabilities(tile_set.tiles.embeddings[rows])[:, columns]
    truth = np.searchsorted(keys, tile_set.label[rows])
    estimate = _balanced(truth, probability.argmax(1), tile_set.group[rows], draws)
    return Row(SECTION, f"{tile_set.name}: shipped classifier", estimate)


def _balanced(
    truth: NDArray[np.int64], guess: NDArray[np.int64], group: Strings, draws: Draws
) -> Estimate:
    return draws.over(group).statistic(lambda w: balanced_accuracy(truth, guess, w))


def score_probe(
    tile_set: TileSet, config: ProbeConfig, suite: TileSuite, draws: Draws
) -> list[Row]:
    """Linear probes on embeddings, on colour, and on an untrained network's statistics.

    Raises:
        InputError: too few tiles or groups to hold some out.
        ConfigError: the split would test on tiles that training has seen.
    """
    label, group, number = tile_set.label, tile_set.group, tile_set.number
    if not tile_set.foreign:
        if config.split != "groups":
            raise ConfigError(
                f"tiles.probes splits {tile_set.name!r} by {config.split}; training has seen part "
                "of it",
                hint="Use split: groups, which holds out what training holds out",
            )
        train, test = np.flatnonzero(~tile_set.held_out), np.flatnonzero(tile_set.held_out)
        return [
            _probe_row(
                tile_set, [Fold(train, test)], "probe, held-out groups", config, suite, draws
            )
        ]
    rows: list[Row] = []
    if config.split == "runs":
        one = [split_runs(label, number, config.test_fraction)]
        share = f"probe, last {config.test_fraction:.0%} of files"
        rows.append(_probe_row(tile_set, one, share, config, suite, draws))
    folds = outer_folds(config.split, label, group, number)
    rows.append(_probe_row(tile_set, folds, f"probe, {len(folds)} folds", config, suite, draws))
    return rows


def _probe_row(
    tile_set: TileSet,
    folds: Sequence[Fold],
    name: str,
    config: ProbeConfig,
    suite: TileSuite,
    draws: Draws,
) -> Row:
    tested = np.concatenate([fold.test for fold in folds])
    _, truth = np.unique(tile_set.label, return_inverse=True)

    def score(features: NDArray[np.float32]) -> Estimate:
        guess = probe(features, tile_set.label, tile_set.group, folds, suite.regularisation)
        return _balanced(truth[tested], guess[tested], tile_set.group[tested], draws)

    tiles = tile_set.tiles
    controls = {"colour": score(tiles.colour)}
    if tiles.random.shape[1]:
        controls["untrained"] = score(tiles.random)
    return Row(
        SECTION, f"{tile_set.name}: {name}", score(tiles.embeddings), controls, aim=config.wanted
    )


def score_unknown(
    known: TileSet, unknown: Mapping[str, TileSet], classifier: TileClassifier, draws: Draws
) -> list[Row]:
    """How well the known-tissue score tells held-out known tiles from tissue never trained on."""
    rows: list[Row] = []
    inside = classifier.known_score(known.tiles.embeddings)
    groups = known.group
    for name, tile_set in unknown.items():
        outside = classifier.known_score(tile_set.tiles.embeddings)
        score = np.concatenate([inside, outside]).astype(np.float64)
        positive = np.arange(len(score)) < len(inside)
        unit = np.concatenate([groups, np.char.add(f"{name}/", tile_set.group)])
        estimate = draws.over(unit).statistic(
            lambda w, s=score, p=positive: area_under_roc(s, p, w)
        )
        rows.append(Row(UNKNOWN_SECTION, f"known tiles against {name}", estimate))
    return rows
