"""A checkpoint comes back as it was, or is refused with what is wrong."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from fakes_model import tiny_model, tiny_slide
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from transformers import AutoProcessor

from ruichat.errors import ArtifactError, ConfigError, ModelError, PrerequisiteError
from ruichat.model import checkpoint as module
from ruichat.model.checkpoint import load_checkpoint, save_checkpoint
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.weights import read_weights

LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}


@pytest.fixture(scope="module")
def saved(model, processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    return save_checkpoint(folder, model, processor, name="tiny", encoder_digest="d1")


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def test_weights_come_back_bit_equal(model, saved):
    state = load_checkpoint(saved, "torch").decoder.model.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    again = RuiChatForConditionalGeneration.from_pretrained(saved)
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True)
    )


def test_auto_classes_find_the_processor(saved, processor):
    found = AutoProcessor.from_pretrained(saved)
    assert isinstance(found, RuiChatProcessor)
    assert found.answer_ids("glands [R7]") == processor.answer_ids("glands [R7]")


def test_it_knows_its_encoder(saved):
    model = load_checkpoint(saved, num_threads=1)
    assert (model.name, model.encoder, model.encoder_digest) == ("tiny", "mini", "d1")
    with pytest.raises(ArtifactError) as caught:
        model.open(tiny_slide(encoder_digest="d2"))
    assert "'mini' (d2)" in str(caught.value) and "'mini' (d1)" in str(caught.value)


def trained(processor, slide, **lora):
    """A LoRA model after three steps."""
    torch.manual_seed(0)
    model = get_peft_model(tiny_model(processor.vocab_size), LoraConfig(**LORA, **lora)).train()
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    ids = torch.tensor([processor.prefix_ids(len(slide.regions)) + processor.question_ids("why?")])
    bag = {
        "tile_embeddings": torch.from_numpy(slide.bag.embeddings)[None],
        "tile_region": torch.from_numpy(slide.regions.assignment)[None],
        "region_geometry": torch.from_numpy(slide.regions.geometry)[None],
    }
    losses = []
    for _ in range(3):
        loss = model(input_ids=ids, labels=ids, **bag).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return model.eval(), ids, bag, losses


@pytest.mark.parametrize(
    "lora",
    [
        {},
        {"use_rslora": True, "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"q_proj": 3}},
        {"modules_to_save": ["region_encoder", "pointer"]},
        {"use_dora": True},
    ],
    ids=["plain", "patterns", "modules", "dora"],
)
def test_a_trained_adapter_is_merged_as_peft_does(processor, slide, tmp_path, lora):
    model, ids, bag, losses = trained(processor, slide, **lora)
    assert losses[-1] < losses[0]
    save_checkpoint(tmp_path, model, processor, name="lora", encoder_digest="d1")
    with torch.no_grad():
        expected = model(input_ids=ids, **bag).logits
        loaded = load_checkpoint(tmp_path, "torch").decoder.model
        torch.testing.assert_close(loaded(ids, **bag).logits, expected, atol=2e-4, rtol=1e-4)
        fast = load_checkpoint(tmp_path, "openvino", num_threads=1)
        given = [ids[0].tolist(), fast.open(slide)._regions, ids.shape[1]]
        logits = fast.decoder.read(fast.decoder.start(), *given)
        torch.testing.assert_close(torch.from_numpy(logits), expected[0], atol=5e-4, rtol=1e-3)
        base = RuiChatForConditionalGeneration.from_pretrained(tmp_path)
        again = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
        torch.testing.assert_close(again(input_ids=ids, **bag).logits, expected)
        merged = model.merge_and_unload()
        torch.testing.assert_close(merged(ids, **bag).logits, expected, atol=2e-4, rtol=1e-4)
    fresh = tiny_model(processor.vocab_size).state_dict()
    for name, value in read_weights(tmp_path / "model.safetensors").items():
        np.testing.assert_array_equal(value, fresh[name].numpy())


def test_saving_again_leaves_nothing_of_the_old(processor, slide, model, tmp_path):
    adapted, *_ = trained(processor, slide)
    save_checkpoint(tmp_path, adapted, processor, name="a", encoder_digest="d1")
    (tmp_path / "calibration.json").write_text("{}")
    save_checkpoint(tmp_path, model, processor, name="b", encoder_digest="d1")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.json", "manifest.json", "model.safetensors", "tokenizer.model",
    ]  # fmt: skip
    assert load_checkpoint(tmp_path, num_threads=1).name == "b"


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.model"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_damage_is_noticed(copy, file, damage):
    path = copy / file
    raw = bytearray(path.read_bytes())
    path.unlink()
    if damage != "missing":
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw[: len(raw) // 2] if damage == "truncated" else raw)
    with pytest.raises(ArtifactError) as caught:
        load_checkpoint(copy)
    assert file in str(caught.value) and caught.value.hint


def test_a_changed_manifest_is_noticed(copy):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["made_from"]["encoder"] = "d2"
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="manifest"):
        load_checkpoint(copy)
    path.write_text("[]")
    with pytest.raises(ArtifactError):
        load_checkpoint(copy)


def test_an_adapter_that_strayed_in_is_refused(copy, processor, slide, tmp_path):
    adapted, *_ = trained(processor, slide)
    save_checkpoint(tmp_path / "other", adapted, processor, name="o", encoder_digest="d1")
    shutil.copytree(tmp_path / "other" / "adapter", copy / "adapter")
    with pytest.raises(ArtifactError, match="adapter"):
        load_checkpoint(copy)


def test_only_lora_and_dora_are_merged_here(processor, tmp_path):
    kinds = {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    adapted = get_peft_model(tiny_model(processor.vocab_size), IA3Config(**kinds))
    save_checkpoint(tmp_path, adapted, processor, name="ia3", encoder_digest="d1")
    with pytest.raises(ModelError, match="IA3"):
        load_checkpoint(tmp_path)


def test_no_folder_no_checkpoint(tmp_path):
    with pytest.raises(ArtifactError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "nowhere")


def test_a_missing_embedded_model_is_a_prerequisite(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MINI_DIR", tmp_path)
    with pytest.raises(PrerequisiteError, match="embedded model"):
        module.load_mini()


def test_openvino_refuses_layers_it_does_not_know(model, processor, tmp_path):
    text = {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 8,
            "use_sliding_window": True}  # fmt: skip
    other = tiny_model(processor.vocab_size, text=text)
    save_checkpoint(tmp_path, other, processor, name="slide", encoder_digest="d1")
    with pytest.raises(ConfigError, match="OpenVINO"):
        load_checkpoint(tmp_path, "openvino")
    assert load_checkpoint(tmp_path).decoder.runtime == "torch"


def test_half_precision_weights_are_read_as_float32(tmp_path):
    from safetensors.torch import save_file

    values = torch.randn(3, 5)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        save_file({"x": values.to(dtype)}, tmp_path / "w.safetensors")
        got = read_weights(tmp_path / "w.safetensors")["x"]
        np.testing.assert_array_equal(got, values.to(dtype).float().numpy())
    save_file({"x": values.long()}, tmp_path / "w.safetensors")
    with pytest.raises(ArtifactError, match="I64"):
        read_weights(tmp_path / "w.safetensors")
