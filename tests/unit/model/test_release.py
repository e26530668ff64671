"""Checkpoints for others answer as before, and say what they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes_bags import drawn_bag
from fakes_model import tiny_language_model, tiny_model, tiny_slide, train_tokenizer
from peft import LoraConfig, get_peft_model
from typer.testing import CliRunner

from ruichat.cli.main import app
from ruichat.errors import ArtifactError, ConfigError, InputError
from ruichat.model.checkpoint import load_checkpoint, save_checkpoint
from ruichat.model.checkpoint_files import ADAPTER_DIR, read_manifest
from ruichat.model.language_model import ModelChoices, build_model, load_language_model
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.rehearsed import REPLAY_FILE
from ruichat.model.release import CARDS, export, merge

CARD = {"licence": "Apache-2.0", "data": "Drawn slides."}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose adapter changes what it says."""
    root = tmp_path_factory.mktemp("release")
    processor = RuiChatProcessor(train_tokenizer(root))
    model = get_peft_model(
        tiny_model(processor.vocab_size),
        LoraConfig(r=2, target_modules=["q_proj", "down_proj"], modules_to_save=["pointer"]),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    save_checkpoint(root / "it", model, processor, name="tiny", encoder_digest="e" * 64)
    (root / "it" / "calibration.json").write_text("{}")
    return root / "it"


def said(folder: Path) -> list[tuple[int, float]]:
    model = load_checkpoint(folder, "torch")
    session = model.open(tiny_slide(like=model))
    return [(p.token_id, p.logprob) for p in session.stream("Is there tumour?", max_tokens=12)]


def test_a_merged_checkpoint_says_the_same(folder: Path, tmp_path: Path) -> None:
    merged = merge(folder, tmp_path / "merged")
    assert not (merged / ADAPTER_DIR).exists() and (merged / "calibration.json").is_file()
    ours, theirs = said(folder), said(merged)
    assert [token for token, _ in ours] == [token for token, _ in theirs]
    np.testing.assert_allclose([p for _, p in ours], [p for _, p in theirs], atol=1e-4)
    assert read_manifest(merged).made_from["merged"] == read_manifest(folder).sha256


def test_a_release_answers_and_carries_its_cards(folder: Path, tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "scores.json", folder)
    bag = tmp_path / "slide.h5"
    drawn_bag(6, 384).save(bag)
    out = export(folder, tmp_path / "out", scores=scores, features=[bag], **CARD)
    assert said(out) == said(folder)
    cards = [(out / name).read_text() for name in CARDS.values()]
    for card in cards:
        assert "0.84 (0.80-0.90)" in card and "blind 0.36, other 0.33" in card
        assert "| Slides: all, slide minus none | 0.05 |" in card
        assert "Apache-2.0" in card and "Drawn slides." in card
    assert cards[0].count("|") == cards[1].count("|")
    listed = json.loads((out / "features.json").read_text())
    assert listed[0]["tiles"] == 6 and (out / "features" / "slide.h5").is_file()


def write_scores(path: Path, folder: Path, **controls: object) -> Path:
    """As `evaluate run` and `evaluate benchmark` write them."""
    files = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("manifest.json", "calibration.json")
    }
    controls = {"blind": {"value": 0.36, "n": 5}, "other": 0.33, "none": None} | controls
    rows = [
        {"section": "Slides", "name": "all", "value": 0.84, "low": 0.8, "high": 0.9, "n": 5,
         "controls": controls},
        {"section": "Slides", "name": "all", "where": "slide minus none", "value": 0.05},
    ]  # fmt: skip
    path.write_text(json.dumps({"model": {"name": "tiny", "files": files}, "rows": rows}))
    return path


def test_scores_of_other_weights_or_without_numbers_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    scores = write_scores(tmp_path / "scores.json", folder)
    merged = merge(folder, tmp_path / "merged")
    with pytest.raises(InputError, match=r"of a model whose manifest\.json is"):
        export(merged, tmp_path / "a", scores=scores, **CARD)
    values = json.loads(scores.read_text())
    values["model"]["files"] = {}
    scores.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"whose manifest\.json is missing"):
        export(folder, tmp_path / "b", scores=scores, **CARD)
    for wrong in ("high", {"value": "high"}, float("nan")):
        write_scores(scores, folder, blind=wrong)
        with pytest.raises(InputError, match="holds no scores"):
            export(folder, tmp_path / "c", scores=scores, **CARD)
    assert not any((tmp_path / name).exists() for name in "abc")


def test_a_base_that_is_a_folder_here_is_not_released(tmp_path: Path) -> None:
    lm = tiny_language_model(tmp_path / "lm", "qwen3")
    loaded = load_language_model(str(lm), dtype=torch.float32)
    processor = RuiChatProcessor.for_language_model(lm, loaded.num_ids)
    model = build_model(loaded, processor, ModelChoices(encoder="mini", bag_dim=12))
    folder = save_checkpoint(tmp_path / "it", model, processor, name="x", encoder_digest="d1")
    with pytest.raises(ConfigError, match="by a folder of this machine") as caught:
        export(folder, tmp_path / "out", **CARD)
    assert "align merge" in caught.value.hint
    out = export(merge(folder, tmp_path / "merged"), tmp_path / "out", **CARD)
    assert not any(str(lm).encode() in file.read_bytes() for file in out.iterdir())


def test_no_tokenizer_of_an_earlier_checkpoint_stays(folder: Path, tmp_path: Path) -> None:
    processor = RuiChatProcessor.from_pretrained(folder)
    for name in ("processor.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    model = tiny_model(processor.vocab_size)
    save_checkpoint(tmp_path, model, processor, name="x", encoder_digest="e" * 64)
    assert load_checkpoint(tmp_path, "torch").name == "x"
    assert not (tmp_path / "processor.json").exists()


def test_without_scores_the_card_says_so(folder: Path, tmp_path: Path) -> None:
    out = export(folder, tmp_path / "out", **CARD)
    assert "Measure it before you use it" in (out / "MODEL_CARD.md").read_text()
    assert not (out / "features.json").exists()


def test_what_can_not_be_released_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is the checkpoint itself"):
        merge(folder, folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(ConfigError, match="isn't empty"):
        export(folder, tmp_path / "full", **CARD)
    with pytest.raises(ConfigError, match="isn't empty"):
        merge(folder, tmp_path / "full")
    with pytest.raises(ConfigError, match="licence is empty"):
        export(folder, tmp_path / "a", licence=" ", data="Drawn slides.")
    (tmp_path / "wrong.json").write_text("[]")
    with pytest.raises(InputError, match="holds no scores"):
        export(folder, tmp_path / "b", scores=tmp_path / "wrong.json", **CARD)
    drawn_bag(4, 8, encoder="uni2-h").save(tmp_path / "other.h5")
    with pytest.raises(InputError, match=r"by encoder 'uni2-h'; the model reads 'mini'"):
        export(folder, tmp_path / "c", features=[tmp_path / "other.h5"], **CARD)
    drawn_bag(4, 8, encoder_digest="d2").save(tmp_path / "weights.h5")
    with pytest.raises(InputError, match=r"by weights d2 of .* those of eeeeeeee"):
        export(folder, tmp_path / "c", features=[tmp_path / "weights.h5"], **CARD)
    with pytest.raises(ArtifactError):
        merge(tmp_path, tmp_path / "d")


def test_the_embedded_model_is_merged_by_name(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["align", "merge", "mini", "--out", str(tmp_path / "m")])
    assert result.exit_code == 0, result.output
    assert load_checkpoint(tmp_path / "m").name == "mini"
    assert (tmp_path / "m" / REPLAY_FILE).is_file()
