"""The part of an evaluation that asks the tile encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ruichat.chat.backend import TileClassifier
from ruichat.errors import ConfigError, InputError
from ruichat.evaluate.config import TileSuite
from ruichat.evaluate.data import EvaluationData
from ruichat.evaluate.reading import EncodedTiles
from ruichat.evaluate.report import Row
from ruichat.evaluate.tile_scores import (
    Draws,
    TileSet,
    score_classifier,
    score_probe,
    score_unknown,
)


def score_tiles(
    config: TileSuite, data: EvaluationData, classifier: TileClassifier | None, draws: Draws
) -> list[Row]:
    """All rows about tiles; sets that can't be read are left out and noted in `data`."""
    rows: list[Row] = []
    if classifier is not None:
        rows += _classified(config, data, classifier, draws)
    elif config.classified or config.unknown:
        data.skipped.append("classes and unknown tissue: the model has no tile classifier")
    for probe in config.probes:
        tile_set = data.tile_set(probe.name)
        if tile_set is None:
            continue
        try:
            rows += score_probe(tile_set, probe, config, draws)
        except InputError as error:
            data.skipped.append(f"probe of {probe.name}: {error.message}")
    if config.unknown and classifier is not None:
        rows += _unknown(config, data, classifier, draws)
    return rows


def _classified(
    config: TileSuite, data: EvaluationData, classifier: TileClassifier, draws: Draws
) -> list[Row]:
    rows: list[Row] = []
    for name in config.classified:
        tile_set = data.tile_set(name)
        if tile_set is None:
            continue
        if tile_set.foreign:
            raise ConfigError(
                f"tiles.classified names {name!r}, which isn't among sources",
                hint="The classifier knows the labels of sources only",
            )
        row = score_classifier(tile_set, classifier, draws)
        aim = next((p.wanted for p in config.probes if p.name == name), None)
        rows.append(Row(row.section, row.name, row.score, aim=aim))
    return rows


def _unknown(
    config: TileSuite, data: EvaluationData, classifier: TileClassifier, draws: Draws
) -> list[Row]:
    known = [found for name in data.source_names if (found := data.tile_set(name)) is not None]
    unknown = {name: found for name in config.unknown if (found := data.tile_set(name)) is not None}
    if not known:
        data.skipped.append("unknown tissue: no source of known tissue could be read")
        return []
    return score_unknown(_join_held_out(known), unknown, classifier, draws)


def _join_held_out(sets: Sequence[TileSet]) -> TileSet:
    """The held-out tiles of all known sources."""
    embeddings = np.concatenate([s.tiles.embeddings[s.held_out] for s in sets])
    n = len(embeddings)
    empty = np.zeros((n, 0), np.float32)
    return TileSet(
        name="known",
        tiles=EncodedTiles(embeddings, empty, empty, ""),
        label=np.concatenate([s.label[s.held_out] for s in sets]),
        group=np.concatenate([np.char.add(f"{s.name}/", s.group[s.held_out]) for s in sets]),
        number=np.arange(n),
        held_out=np.ones(n, bool),
        foreign=False,
    )
