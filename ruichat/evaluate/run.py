"""One evaluation from config to report."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruichat import __version__
from ruichat.chat.backend import Backend
from ruichat.chat.facts import facts_prompt
from ruichat.chat.reading import Clock
from ruichat.evaluate.config import EvaluateConfig
from ruichat.evaluate.data import EvaluationData
from ruichat.evaluate.reading import TileReader
from ruichat.evaluate.report import Report, Row
from ruichat.evaluate.slide_run import score_slides
from ruichat.evaluate.tile_run import score_tiles
from ruichat.evaluate.tile_scores import Draws
from ruichat.model.checkpoint_files import CALIBRATION_FILES, MANIFEST_FILE, THINKING_DIR
from ruichat.storage.artifacts import cache_dir

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, items done and items in all (0, 0 when it merely begins)."""


def evaluate(
    config: EvaluateConfig,
    *,
    data_root: Path | None = None,
    backend: Backend | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run every part of a config that its data allows; what can't be run is named with the reason.

    Args:
        config: the evaluation.
        data_root: folder with the tile sources; the config's own if None.
        backend: the model; loaded by the config's name if None.
        cache: where encoded tiles are kept.
        progress: told of stages and counts.

    Raises:
        ConfigError: the config names what it doesn't define.
        PrerequisiteError: weights or packages are missing.
    """
    from ruichat.chat.backend import load_backend

    clock = Clock(progress)
    with clock.stage("model"):
        backend = backend or load_backend(config.model, config.options)
    draws = Draws(config.num_draws, config.seed)
    rows: list[Row] = []
    how: dict[str, Any] = {}
    skipped: list[str] = []
    digests: dict[str, str] = {}
    if backend.encoder is None:
        if config.tiles is not None or config.slides is not None:
            skipped.append("tiles, laid and drawn slides: this model looks at slide files only")
    else:
        reader = TileReader(
            backend.encoder,
            (cache or cache_dir()) / "evaluate",
            random_seed=config.tiles.random_seed if config.tiles else 0,
        )
        data = EvaluationData(config, data_root or Path(config.data), reader, clock.counts)
        skipped, digests = data.skipped, data.digests
        if config.tiles is not None:
            with clock.stage("tiles"):
                rows += score_tiles(config.tiles, data, backend.classifier, draws)
        if config.slides is not None:
            with clock.stage("slides"):
                result = score_slides(config.slides, data, backend, draws, clock.counts)
                rows += result.rows
                how = dict(result.details)
    for path in config.questions:
        from ruichat.evaluate.foreign import score_questions

        with clock.stage(f"questions {Path(path).name}"):
            rows += score_questions(Path(path), backend, draws, clock.counts, skipped)
    manifest = {
        "ruichat": __version__,
        "config": config.model_dump(mode="json"),
        "fingerprint": config.fingerprint(),
        "model": describe_model(backend),
        "data": digests,
        "prompts": [facts_prompt().label, *backend.prompts],
        "machine": {"python": platform.python_version(), "processor": platform.machine()},
        **how,
    }
    return Report(tuple(rows), manifest, tuple(skipped), clock.seconds)


def describe_model(backend: Backend) -> dict[str, Any]:
    """What answers: names and digests."""
    folder = getattr(backend.model, "folder", None)
    files = {}
    if isinstance(folder, Path):
        files = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in (MANIFEST_FILE, *CALIBRATION_FILES, f"{THINKING_DIR}/{MANIFEST_FILE}")
            if (folder / name).is_file()
        }
    return {
        "name": backend.name,
        "encoder": None if backend.encoder is None else backend.encoder.card.name,
        "encoder_digest": None if backend.encoder is None else backend.encoder.digest,
        "files": files,
        "calibrated": backend.calibration is not None,
    }
