"""Stages on dialogues, through the command line: from a language model to an answer."""

from __future__ import annotations

import importlib.util
import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from fakes_align import align_settings, run_stage_command, settings_of, write_site
from fakes_model import tiny_slide
from safetensors.torch import load_file
from typer.testing import CliRunner

from ruichat.align.data.batch import encode_batch
from ruichat.align.dialogue_batches import DialogueBatches
from ruichat.align.stages.align import AlignConfig, build, train_align
from ruichat.align.stages.beside import carry_on, classifier_for
from ruichat.align.stages.config import InstructConfig, Training
from ruichat.align.stages.contrast import Contrast
from ruichat.align.stages.data import dialogues_of, open_data
from ruichat.align.stages.instruct import build as build_instruct
from ruichat.align.stages.instruct import outline as outline_instruct
from ruichat.align.stages.instruct import train_instruct
from ruichat.align.stages.outline import outline_of_source
from ruichat.align.stages.running import quiet
from ruichat.align.training.processes import start_processes
from ruichat.chat.backend import CLASSIFIER_FILE
from ruichat.cli.main import app
from ruichat.errors import ConfigError, PrerequisiteError
from ruichat.features.bag import FeatureBag
from ruichat.features.encoder import load_encoder
from ruichat.features.tile_classifier import load_tile_classifier
from ruichat.model.base import BaseReference
from ruichat.model.checkpoint import MINI_DIR, load_checkpoint
from ruichat.model.checkpoint_files import read_manifest
from ruichat.model.rehearsed import REPLAY_FILE
from ruichat.model.trainable import find_checkpoint
from ruichat.truth.replay import load_replay


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(tmp_path_factory.mktemp("site"), load_encoder("mini").digest)


@pytest.fixture(scope="module")
def aligned(root: Path) -> tuple[Path, str]:
    return run_stage_command(root, "align", align_settings(root, contrastive=0.1), "aligned")


def answer(folder: Path) -> str:
    model = load_checkpoint(folder)
    slide = tiny_slide(like=model)
    return "".join(p.text for p in model.open(slide).stream("Is there tumour?", max_tokens=8))


def test_align_ends_with_a_checkpoint_that_answers(aligned: tuple[Path, str]) -> None:
    folder, told = aligned
    assert isinstance(answer(folder), str)
    manifest = read_manifest(folder)
    assert manifest.made_from["encoder"] == load_encoder("mini").digest
    assert manifest.details["stage"] == "align" and manifest.details["encoder"] == "mini"
    assert "align trains rest" in told and "align leaves frozen" in told


def test_align_leaves_the_language_model_as_it_is(root: Path, aligned: tuple[Path, str]) -> None:
    after = load_file(aligned[0] / "model.safetensors")
    assert after and not any(name.startswith("language_model.") for name in after)
    base = BaseReference.read(aligned[0])
    assert base == BaseReference.of(root / "lm", str((root / "lm").resolve()), "")


def test_a_finished_stage_gives_the_same_checkpoint(root: Path, aligned: tuple[Path, str]) -> None:
    before = (aligned[0] / "model.safetensors").read_bytes()
    folder, told = run_stage_command(
        root, "align", align_settings(root, contrastive=0.1), "aligned"
    )
    assert "going on from step" in told and " step 1/" not in told
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("dora", [False, True])
def test_instruct_tunes_what_align_made(root: Path, aligned: tuple[Path, str], dora: bool) -> None:
    values = settings_of(
        base=str(aligned[0]),
        lora={"rank": 2, "alpha": 4, "dora": dora},
        projector_rate=0.001,
    )
    folder, told = run_stage_command(root, "instruct", values, f"instructed{dora}")
    assert isinstance(answer(folder), str)
    assert "instruct trains projector" in told and "rate 0.001" in told
    assert (folder / "adapter").is_dir() and (folder / "base.json").is_file()
    made = read_manifest(folder)
    assert made.made_from["base"] == read_manifest(aligned[0]).sha256


@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_stages_train_in_half_precision(root: Path, pool: str) -> None:
    """With recomputed layers and vectors before a deeper one, as recipes for cards have them."""
    values = align_settings(root, contrastive=0.1)
    values["model"] |= {"pool": pool, "inject_layers": [1]}
    values["training"] |= {"precision": "bf16", "gradient_checkpointing": True, "steps": 3}
    folder, told = run_stage_command(root, "align", values, f"half-{pool}")
    assert "align step 3/3 loss " in told and "nan" not in told
    tuned = instruct(folder, training=values["training"])
    folder, _ = run_stage_command(root, "instruct", tuned, f"half-{pool}-instructed")
    assert isinstance(answer(folder), str)


def instruct(base: Path, **changes: Any) -> dict[str, Any]:
    return settings_of(base=str(base), lora={"rank": 2, "alpha": 4}, **changes)


def test_what_a_checkpoint_carries_goes_along(root: Path, aligned: tuple[Path, str]) -> None:
    """The tile classifier of another site, and what is rehearsed."""
    base = root / "adapted"
    shutil.copytree(aligned[0], base)
    own = replace(load_tile_classifier(), weight=load_tile_classifier().weight / 2)
    own.save(base / CLASSIFIER_FILE)
    shutil.copyfile(MINI_DIR.parent / REPLAY_FILE, base / REPLAY_FILE)
    folder, told = run_stage_command(root, "instruct", instruct(base), "goes-along")
    assert (folder / CLASSIFIER_FILE).read_bytes() == (base / CLASSIFIER_FILE).read_bytes()
    rehearsed, known = (load_file(each / REPLAY_FILE) for each in (folder, base))
    assert set(rehearsed) == set(known)
    assert all(np.array_equal(rehearsed[name], known[name]) for name in known)
    for name in (CLASSIFIER_FILE, REPLAY_FILE):
        assert f"{name} goes along from {base}" in " ".join(told.split())
    found = classifier_for("mini", base)
    assert found is not None and found.encoder_digest == own.encoder_digest
    assert classifier_for("mini", aligned[0]) is load_tile_classifier()
    assert found is not load_tile_classifier()


def test_what_mini_is_released_with_goes_along(tmp_path: Path) -> None:
    """It lies beside mini's checkpoint, not in it."""
    told: list[str] = []
    carry_on(find_checkpoint("mini"), tmp_path, told.append)
    assert len(load_replay(tmp_path / REPLAY_FILE, load_encoder("mini").digest).embeddings)
    assert [path.name for path in tmp_path.iterdir()] == [REPLAY_FILE] and len(told) == 1


def test_an_adapter_learns_on(root: Path, aligned: tuple[Path, str]) -> None:
    first, _ = run_stage_command(root, "instruct", instruct(aligned[0]), "first")
    second, _ = run_stage_command(root, "instruct", instruct(first, seed=1), "second")
    assert isinstance(answer(second), str)
    before, after = (load_file(f / "adapter/adapter_model.safetensors") for f in (first, second))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert BaseReference.read(second) == BaseReference.read(aligned[0])
    assert read_manifest(second).made_from["base"] == read_manifest(first).sha256
    other = InstructConfig.model_validate(settings_of(base=str(first)))
    with pytest.raises(ConfigError, match="with other settings of lora") as error:
        outline_instruct(other)
    assert "lora: {rank: 2, alpha: 4, dropout: 0.0, dora: False}" in error.value.hint
    assert "align merge" in error.value.hint


def test_four_bits_need_a_reference_and_bitsandbytes(root: Path, aligned: tuple[Path, str]) -> None:
    config = InstructConfig.model_validate(instruct(aligned[0], quantise="4bit"))
    if importlib.util.find_spec("bitsandbytes") is None:
        with pytest.raises(PrerequisiteError, match="bitsandbytes"):
            build_instruct(config)
    whole = InstructConfig.model_validate(instruct(MINI_DIR, quantise="4bit"))
    with pytest.raises(ConfigError, match="holds its language model itself"):
        build_instruct(whole)
    assert not build_instruct(config, whole=True).is_quantised


def test_an_adapter_learns_on_four_bits(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    # A block of 64 weights shares one scale.
    sizes = {"hidden_size": 64, "intermediate_size": 64, "head_dim": 32}
    site = write_site(tmp_path, load_encoder("mini").digest, **sizes)
    base, _ = run_stage_command(site, "align", align_settings(site), "aligned")
    folder, _ = run_stage_command(site, "instruct", instruct(base, quantise="4bit"), "four")
    assert isinstance(answer(folder), str) and (folder / "base.json").is_file()


def test_ask_answers_from_the_checkpoint(
    root: Path, aligned: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUICHAT_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    slide = str(tmp_path / "slide.tif")
    run_cli = CliRunner().invoke
    drawn = run_cli(app, ["phantom", "draw", slide, "--width", "900", "--height", "700"])
    assert drawn.exit_code == 0, drawn.output
    question = ["ask", slide, "Is there tumour?", "--model", str(aligned[0]), "--json"]
    asked = run_cli(app, question, catch_exceptions=False)
    assert asked.exit_code == 0, asked.output
    assert json.loads(asked.stdout)["model"] == "tiny"


def test_shared_rows_go_on_where_they_stopped(root: Path) -> None:
    budget = {"tokens": 1200, "row_tokens": 400, "tiles": 60}
    batches = {"budget": budget, "micro_batches": 2, "epochs": 3}
    values = align_settings(root, batches=batches)
    folder, _ = run_stage_command(root, "align", values, "shared")
    whole = (folder / "model.safetensors").read_bytes()
    states = sorted((root / "shared" / "align").glob("step-*"))
    assert len(states) == 2
    shutil.rmtree(states[1])
    shutil.rmtree(folder)
    _, told = run_stage_command(root, "align", values, "shared")
    assert f"going on from step {int(states[0].name[5:])}" in told
    assert (folder / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize(("row_tokens", "right"), [(0, True), (600, False), (1200, True)])
def test_flash_attention_reads_one_shared_row(root: Path, row_tokens: int, right: bool) -> None:
    values = align_settings(root)
    values["language_model"]["attention"] = "flash_attention_2"
    values["batches"]["budget"]["row_tokens"] = row_tokens
    wrong = pytest.raises(ConfigError, match=r"budget.row_tokens is 600; allowed: 0, or budget")
    with nullcontext() if right else wrong:
        AlignConfig.checked(values, source="align.yaml")


def test_other_settings_need_another_folder(root: Path, aligned: tuple[Path, str]) -> None:
    values = align_settings(root, contrastive=0.2)
    (root / "other.yaml").write_text(yaml.safe_dump(values))
    arguments = ["--config", "other.yaml", "--data", ".", "--out", str(root / "aligned")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        done = CliRunner().invoke(app, ["align", "align", *arguments])
    assert isinstance(done.exception, ConfigError) and "other settings" in str(done.exception)


def test_bags_made_another_way_need_another_folder(
    root: Path, aligned: tuple[Path, str], tmp_path: Path
) -> None:
    bags = tmp_path / "bags"
    shutil.copytree(root / "bags", bags)
    for path in bags.iterdir():
        replace(FeatureBag.load(path), fingerprint="another mpp").save(path)
    values = align_settings(root, contrastive=0.1)
    values["data"] |= {"bags": [str(bags)]}
    config = AlignConfig.model_validate(values)
    short = {"training": Training(steps=3, checkpoint_every=1)}
    train_align(config.model_copy(update=short), root, tmp_path / "out", quiet)
    for path in bags.iterdir():
        shutil.copy(root / "bags" / path.name, path)
    with pytest.raises(ConfigError, match="other settings"):
        train_align(config.model_copy(update=short), root, tmp_path / "out", quiet)


def test_another_tile_classifier_needs_another_folder(
    root: Path, aligned: tuple[Path, str], tmp_path: Path
) -> None:
    """It decides which tiles are shown, and with that the regions and facts."""
    base = tmp_path / "adapted"
    shutil.copytree(aligned[0], base)
    own = load_tile_classifier()
    own.save(base / CLASSIFIER_FILE)
    values = instruct(base)
    values["training"] |= {"steps": 3, "checkpoint_every": 1}
    config = InstructConfig.model_validate(values)
    train_instruct(config, root, tmp_path / "out", quiet)
    told: list[str] = []
    train_instruct(config, root, tmp_path / "out", told.append)
    assert "instruct: going on from step 3" in told
    strict = replace(own, distance_quantiles=own.distance_quantiles * 0.3)
    strict.save(base / CLASSIFIER_FILE)
    with pytest.raises(ConfigError, match="other settings"):
        train_instruct(config, root, tmp_path / "out", quiet)


def test_the_contrastive_loss_tells_slides_apart(root: Path, tmp_path: Path) -> None:
    config = AlignConfig.model_validate(align_settings(root, contrastive=1.0))
    built = build(config)
    data = open_data(config.data, root, tmp_path / "data", start_processes())
    batches = DialogueBatches(
        dialogues_of(config, data, outline_of_source(config)),
        built.processor,
        config.batches,
        seed=0,
        max_positions=512,
        log=lambda line: None,
    )
    batch = batches.micro_batches(0)[0]().content
    torch.manual_seed(0)
    contrast = Contrast(32, shared=8)
    parts = [*contrast.parameters(), *built.model.region_encoder.parameters()]
    optimiser = torch.optim.Adam(parts, lr=1e-2)
    losses: list[float] = []
    for _ in range(30):
        regions = encode_batch(built.model, batch)
        said = (batch.said, batch.said_mask)
        loss = contrast(built.model, *said, regions, batch.region_mask, batch.about)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert np.isfinite(losses).all()
    # Rows about one slide are no others to each other.
    alone = torch.zeros_like(batch.about)
    regions = encode_batch(built.model, batch).detach()
    assert contrast(built.model, *said, regions, batch.region_mask, alone).item() == 0


def test_steps_are_those_of_the_epochs_unless_fewer_are_wanted() -> None:
    assert Training().for_steps(40).steps == 40
    assert Training(steps=10).for_steps(40).steps == 10
    assert Training(steps=100).for_steps(40).steps == 40
    assert Training().for_steps(1).steps == 3
    with pytest.raises(ConfigError, match="steps is 1; allowed: 0, or at least 3"):
        Training.checked({"steps": 1}, source="align.yaml")
