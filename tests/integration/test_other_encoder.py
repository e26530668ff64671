"""A checkpoint of ours on another encoder, without a tile classifier, answers through the CLI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import MeanColourEncoder
from fakes_chat import write_two_halves
from fakes_model import tiny_model, train_tokenizer

from ruichat.chat.backend import CLASSIFIER_FILE, load_backend
from ruichat.cli import main as cli
from ruichat.errors import ArtifactError
from ruichat.features.encoder import ENCODERS
from ruichat.features.tile_classifier import WEIGHTS
from ruichat.model.checkpoint import save_checkpoint
from ruichat.model.processing import RuiChatProcessor


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint that reads the bags of "mean-colour", and a slide."""
    folder = tmp_path_factory.mktemp("other")
    processor = RuiChatProcessor(train_tokenizer(folder))
    model = tiny_model(processor.vocab_size, text={"max_position_embeddings": 600})
    model.config.encoder, model.config.bag_dim = "mean-colour", 8
    model = type(model)(model.config).eval()
    save_checkpoint(folder / "lm", model, processor, name="other", encoder_digest="")
    return folder / "lm", write_two_halves(folder / "halves.tif")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS._cards, "mean-colour", MeanColourEncoder().card)


def test_it_answers_and_says_what_is_not_measured(
    made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, slide = made
    arguments = ["ask", str(slide), "Is there tumour?", "--model", str(folder), "--json"]
    assert cli.run([*arguments, "--no-overlay"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["diagnosis_class"] in ("III", "IV") and answer["confidence"] is None
    assert answer["facts"]["composition"] == {} and answer["facts"]["tumour_fraction"] is None
    assert answer["alternatives"] == []
    assert sum("no tile classifier" in warning for warning in answer["warnings"]) == 1
    assert all(citation["classes"] == [] for citation in answer["citations"])


def test_a_classifier_of_another_encoder_in_its_folder_is_refused(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "lm"
    folder.mkdir()
    for file in made[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / CLASSIFIER_FILE).write_bytes(WEIGHTS.read_bytes())
    with pytest.raises(ArtifactError, match="trained on encoder weights"):
        load_backend(str(folder))
