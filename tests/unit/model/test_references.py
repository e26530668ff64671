"""Checkpoints that refer to a published language model, and find it or say what to do."""

from __future__ import annotations

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from fakes_model import tiny_language_model, tiny_slide
from peft import LoraConfig, get_peft_model

from ruichat.errors import ArtifactError, ConfigError, ModelError, PrerequisiteError
from ruichat.model.base import BaseReference
from ruichat.model.checkpoint import load_checkpoint, save_checkpoint
from ruichat.model.language_model import ModelChoices, build_model, load_language_model
from ruichat.model.network import load_network
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.trainable import load_trainable

QUESTION = "What is in R2, and where is tumour?"
LORA = {"r": 2, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}


def built(folder, quantise="none", **choices):
    lm = load_language_model(str(folder), dtype=torch.float32, quantise=quantise)
    processor = RuiChatProcessor.for_language_model(folder, lm.num_ids)
    model = build_model(lm, processor, ModelChoices(encoder="mini", bag_dim=12, **choices))
    for depth in model.region_encoder.injected:
        torch.nn.init.constant_(depth.gate, 0.5)
    return model, processor


@pytest.fixture(scope="module")
def lm_folder(tmp_path_factory):
    return tiny_language_model(tmp_path_factory.mktemp("qwen3"), "qwen3")


@pytest.fixture(scope="module")
def adapted(lm_folder):
    model, processor = built(lm_folder)
    torch.manual_seed(1)
    saved = ["region_encoder", "pointer", "pieces"]
    return get_peft_model(model, LoraConfig(**LORA, modules_to_save=saved)).eval(), processor


@pytest.fixture(scope="module")
def referring(adapted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("referring")
    return save_checkpoint(folder, *adapted, name="ours", encoder_digest="d1")


def answers(model):
    session = model.open(tiny_slide())
    return [p.token_id for p in session.stream(QUESTION, max_tokens=12)]


def logits_of(network, processor):
    ids = processor.prefix_ids(6, "f") + processor.question_ids(QUESTION)
    slide = tiny_slide()
    with torch.no_grad():
        return network(
            input_ids=torch.tensor([ids]),
            tile_embeddings=torch.from_numpy(slide.bag.embeddings)[None],
            tile_region=torch.from_numpy(slide.regions.assignment)[None],
            region_geometry=torch.from_numpy(slide.regions.geometry)[None],
        ).logits


def test_it_holds_what_is_ours_and_names_the_rest(referring, lm_folder):
    files = {p.name for p in referring.iterdir()}
    assert files == {"config.json", "model.safetensors", "manifest.json", "base.json", "adapter",
                     "tokenizer.json", "processor.json"}  # fmt: skip
    base = BaseReference.read(referring)
    assert base.name == str(lm_folder.resolve()) and set(base.files) == {
        "config.json",
        "model.safetensors",
    }
    ours = (referring / "model.safetensors").stat().st_size
    assert ours < (lm_folder / "model.safetensors").stat().st_size


def test_it_answers_in_both_runtimes_as_it_was_trained(referring, adapted):
    """OpenVINO where the layers are plain, adapter merged, rows of added pieces joined."""
    model, processor = adapted
    fast, slow = load_checkpoint(referring, num_threads=1), load_checkpoint(referring, "torch")
    assert (fast.decoder.runtime, slow.decoder.runtime) == ("openvino", "torch")
    expected = logits_of(model, processor)
    torch.testing.assert_close(
        logits_of(slow.decoder.model, processor), expected, atol=2e-4, rtol=1e-4
    )
    assert answers(fast) == answers(slow)
    assert fast.thinks
    ids = list(range(3, 20))
    regions = [m.open(tiny_slide())._regions for m in (fast, slow)]
    np.testing.assert_allclose(regions[0].embeds, regions[1].embeds, atol=1e-5)
    a, b = (m.decoder.read(m.decoder.start(), ids, regions[0], 5) for m in (fast, slow))
    finite = np.isfinite(b)
    np.testing.assert_allclose(a[finite], b[finite], atol=5e-4, rtol=1e-3)


def test_it_learns_on_and_is_saved_again(referring, adapted, tmp_path):
    _, processor = adapted
    loaded = load_trainable(referring)
    learning = [n for n, p in loaded.model.named_parameters() if p.requires_grad]
    assert learning and all("lora_" in n or "modules_to_save" in n for n in learning)
    again = save_checkpoint(tmp_path, loaded.model, processor, name="b", encoder_digest="d1")
    assert (again / "base.json").read_bytes() == (referring / "base.json").read_bytes()
    assert answers(load_checkpoint(again, num_threads=1)) == answers(
        load_checkpoint(referring, num_threads=1)
    )


def test_halves_are_computed_in_where_asked(referring):
    model = load_checkpoint(referring, dtype="bfloat16")
    network = model.decoder.model
    assert network.get_input_embeddings().weight.dtype == torch.bfloat16
    assert network.region_encoder.norm.weight.dtype == torch.float32
    assert answers(model)
    with pytest.raises(ConfigError, match="float8"):
        load_checkpoint(referring, dtype="float8")


def test_a_copy_needs_nothing_else(adapted, lm_folder, tmp_path):
    model, processor = adapted
    save_checkpoint(tmp_path, model, processor, name="c", encoder_digest="d1", base="copy")
    assert not (tmp_path / "base.json").exists()
    network = load_checkpoint(tmp_path, "torch").decoder.model
    expected = logits_of(model, processor)
    torch.testing.assert_close(logits_of(network, processor), expected, atol=2e-4, rtol=1e-4)
    tied = network.lm_head.weight is network.get_input_embeddings().weight
    assert tied == network.config.tie_word_embeddings
    with pytest.raises(ConfigError, match="isn't quantised here"):
        load_network(tmp_path, quantise="4bit")


def test_a_language_model_that_was_changed_is_not_referred_to(adapted, lm_folder, tmp_path):
    model, processor = built(lm_folder)
    merged = get_peft_model(model, LoraConfig(**LORA)).merge_and_unload()
    with pytest.raises(ModelError, match="base='copy'"):
        save_checkpoint(tmp_path, merged, processor, name="m", encoder_digest="d1")
    save_checkpoint(tmp_path, merged, processor, name="m", encoder_digest="d1", base="copy")


@pytest.fixture
def moved(adapted, lm_folder, tmp_path):
    """A checkpoint whose language model's folder can be taken away."""
    there = shutil.copytree(lm_folder, tmp_path / "there")
    model, processor = built(there)
    save_checkpoint(tmp_path / "ours", model, processor, name="m", encoder_digest="d1")
    return tmp_path / "ours", there


def test_a_missing_language_model_is_named_with_its_remedy(moved, tmp_path):
    folder, there = moved
    there.rename(tmp_path / "elsewhere")
    with pytest.raises(PrerequisiteError, match="isn't on this machine") as caught:
        load_checkpoint(folder)
    assert str(folder / "base") in caught.value.hint
    (folder / "base").symlink_to(tmp_path / "elsewhere")
    assert answers(load_checkpoint(folder, num_threads=1))


def test_another_language_model_in_its_place_is_refused(moved):
    folder, there = moved
    tiny_language_model(there, "qwen3", num_ids=650)
    for runtime in ("openvino", "torch"):
        with pytest.raises(ArtifactError, match="was trained on"):
            load_checkpoint(folder, runtime)


def test_the_hubs_cache_is_looked_into(moved, tmp_path, monkeypatch):
    """By repository and commit, as huggingface_hub lays it out."""
    folder, there = moved
    cache, commit = tmp_path / "hub", "0123456789abcdef0123456789abcdef01234567"
    snapshot = cache / "models--some--lm" / "snapshots" / commit
    snapshot.parent.mkdir(parents=True)
    there.rename(snapshot)
    (cache / "models--some--lm" / "refs").mkdir()
    (cache / "models--some--lm" / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    lm = load_language_model("some/lm", local_only=True, dtype=torch.float32)
    assert (lm.base.name, lm.base.revision) == ("some/lm", commit)
    processor = RuiChatProcessor.for_language_model(lm.folder, lm.num_ids)
    model = build_model(lm, processor, ModelChoices(encoder="mini", bag_dim=12))
    save_checkpoint(folder, model, processor, name="hub", encoder_digest="d1")
    assert json.loads((folder / "base.json").read_text())["revision"] == commit
    assert answers(load_checkpoint(folder, num_threads=1))
    shutil.rmtree(cache)
    with pytest.raises(PrerequisiteError) as caught:
        load_checkpoint(folder)
    assert f"hf download some/lm --revision {commit}" in caught.value.hint


@pytest.mark.parametrize("family", ["gemma3_text", "gpt2"])
def test_layers_that_openvino_does_not_know_answer_with_torch(family, tmp_path):
    folder = tiny_language_model(tmp_path / "lm", family)
    model, processor = built(folder, inject_layers=(1, 2))
    for kind in ("reference", "copy"):
        out = tmp_path / kind
        save_checkpoint(out, model, processor, name="x", encoder_digest="d1", base=kind)
        loaded = load_checkpoint(out)
        assert loaded.decoder.runtime == "torch"
        expected = logits_of(model, processor)
        found = logits_of(loaded.decoder.model, processor)
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)
        assert answers(loaded)


def test_four_bits_need_bitsandbytes(lm_folder):
    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    with pytest.raises(PrerequisiteError, match="bitsandbytes"):
        load_language_model(str(lm_folder), quantise="4bit")


def test_a_language_model_in_four_bits_learns_and_answers(tmp_path):
    pytest.importorskip("bitsandbytes")
    # A block of 64 weights shares one scale.
    sizes = {"hidden_size": 64, "intermediate_size": 64, "head_dim": 32}
    wide = tiny_language_model(tmp_path / "lm", "qwen3", **sizes)
    model, processor = built(wide, "4bit")
    wrapped = get_peft_model(model, LoraConfig(**LORA, modules_to_save=["pointer"]))
    assert "Linear4bit" in str(wrapped)
    with pytest.raises(ModelError, match="4 bits"):
        save_checkpoint(tmp_path, wrapped, processor, name="q", encoder_digest="d1", base="copy")
    ids = torch.tensor([processor.answer_ids("glands in stroma")])
    wrapped.train()(input_ids=ids, labels=ids).loss.backward()
    trained = [n for n, p in wrapped.named_parameters() if p.grad is not None]
    assert trained and all("lora_" in n or "pointer" in n for n in trained)
    wrapped.eval()
    out = tmp_path / "ours"
    save_checkpoint(out, wrapped, processor, name="q", encoder_digest="d1")
    loaded = load_checkpoint(out, quantise="4bit")
    assert loaded.decoder.runtime == "torch"
    found, expected = logits_of(loaded.decoder.model, processor), logits_of(wrapped, processor)
    finite = torch.isfinite(expected)
    # On the CPU bitsandbytes computes in halves once weights are packed.
    assert (found - expected)[finite].abs().max() < 0.05 * expected[finite].abs().max()
    assert answers(loaded)
