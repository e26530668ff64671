"""`ruichat align adapt` of a checkpoint that has no tile classifier: one begins from the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import MeanColourEncoder
from fakes_model import tiny_model, train_tokenizer
from PIL import Image

from ruichat.align.adaptation.adapt import AdaptConfig, adapt
from ruichat.chat.backend import load_backend
from ruichat.errors import ArtifactError, ConfigError
from ruichat.features.encoder import ENCODERS
from ruichat.features.tile_classifier import TileClassifier
from ruichat.histology import KEYS, MALIGNANT
from ruichat.model.checkpoint import save_checkpoint
from ruichat.model.processing import RuiChatProcessor

pytest.importorskip("sklearn")

KINDS = {"cancer": "carcinoma_glands", "healthy": "normal_glands"}
COLOURS = {"cancer": (90, 40, 120), "healthy": (220, 150, 190)}


def write_tiles(folder: Path) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir()
    lines = ["file,label"]
    for at in range(12):
        for label, colour in COLOURS.items():
            noise = rng.integers(-25, 25, (224, 224, 3)) + rng.integers(-12, 12, 3)
            rgb = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(rgb).save(folder / f"{label}_{at}.png")
            lines.append(f"{label}_{at}.png,{label}")
    (folder / "labels.csv").write_text("\n".join(lines))


def settings(**changes: Any) -> AdaptConfig:
    values = {
        "model": "lm",
        "name": "other-elsewhere",
        "replay": "none",
        "site": {
            "tiles": {"name": "elsewhere", "folder": "tiles", "number": r"_(\d+)\."},
            "labels": KINDS,
        },
        "lora": {
            "rank": 2,
            "alpha": 4,
            "slides_per_step": 1,
            "row_tokens": 600,
            "loop": {"steps": 3, "learning_rate": 1e-4},
        },
        "calibrate": {"num_slides": 14, "turns": 4},
        "scores": {"per_label": [3], "draws": 1, "num_slides": 1, "questions_per_slide": 2},
        "bags": {"max_regions": 4, "min_side": 3, "max_side": 4},
    }
    return AdaptConfig.model_validate(values | changes)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that reads the bags of "mean-colour", and labelled tiles."""
    monkeypatch.setitem(ENCODERS._cards, "mean-colour", MeanColourEncoder().card)
    processor = RuiChatProcessor(train_tokenizer(tmp_path))
    model = tiny_model(processor.vocab_size, text={"max_position_embeddings": 1200})
    model.config.encoder, model.config.bag_dim = "mean-colour", 8
    model = type(model)(model.config).eval()
    digest = MeanColourEncoder().digest
    save_checkpoint(tmp_path / "lm", model, processor, name="other", encoder_digest=digest)
    write_tiles(tmp_path / "tiles")
    return tmp_path


def test_it_knows_the_site_and_nothing_else(root: Path) -> None:
    lines: list[str] = []
    done = adapt(settings(), root, root / "out", lines.append, anyway=True)
    assert any("no tile classifier" in line for line in lines)
    before, after = done.tiles
    assert (before.labels, before.classes, before.old, before.known) == (None,) * 4
    assert after.labels == 1 and after.classes == 1 and after.old is None
    backend = load_backend(str(root / "out" / "model"))
    classifier = backend.classifier
    assert isinstance(classifier, TileClassifier) and backend.calibration is not None
    grey = np.full((1, 224, 224, 3), 20, np.uint8)
    tiles = [np.asarray(Image.open(root / "tiles" / f"{label}_1.png")) for label in KINDS]
    embeddings = MeanColourEncoder().encode(np.stack([*tiles, grey[0]]))
    classes = classifier.class_probabilities(embeddings)
    assert [KEYS[c] for c in classes[:2].argmax(1)] == list(KINDS.values())
    unknown = [i for i, key in enumerate(KEYS) if key not in KINDS.values()]
    assert classes[:, unknown].max() < 1e-6
    known = classifier.known_score(embeddings)
    assert known[:2].min() > 0.05 and known[2] < 0.01


def test_labels_that_can_not_tell_tumour_and_rehearsal_are_refused(root: Path) -> None:
    benign = [key for key in KEYS if key not in MALIGNANT][:2]
    values = settings().model_dump()["site"]
    labels = dict(zip(KINDS, benign, strict=True))
    with pytest.raises(ConfigError, match="labels of benign tissue alone"):
        adapt(settings(site=values | {"labels": labels}), root, root / "out")
    with pytest.raises(ConfigError, match="replay is 'auto'") as caught:
        adapt(settings(replay="auto"), root, root / "out")
    assert "replay: none" in caught.value.hint


def test_a_classifier_of_other_weights_is_refused(root: Path) -> None:
    from ruichat.features.tile_classifier import WEIGHTS

    (root / "lm" / "tiles.safetensors").write_bytes(WEIGHTS.read_bytes())
    with pytest.raises(ArtifactError, match="tile classifier of lm reads encoder weights"):
        adapt(settings(), root, root / "out")
