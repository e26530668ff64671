"""Any causal language model becomes one of ours, with its own layers, head and tokenizer."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from fakes_model import FAMILIES, tiny_language_model, tiny_slide
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.modeling_utils import PreTrainedModel

from ruichat.errors import ArtifactError, ConfigError, InputError, ModelError, PrerequisiteError
from ruichat.model.language_model import ModelChoices, build_model, load_language_model
from ruichat.model.processing import RuiChatProcessor, Turn
from ruichat.model.region_state import embed_regions
from ruichat.model.shape import ModelShape
from ruichat.model.torch_step import TorchDecoder

TURNS = ([Turn("what is in R2?", "glands [R2]")], [Turn("why", "fat [R1] {focus}", "so [R3]")])
DEEP = {"depths": 2, "inject_layers": (1, 2)}
CHOICES = {"qwen3": DEEP, "gemma3_text": DEEP, "gpt2": {"inject_layers": (1, 2)}}


def built(folder, num_open=0.5, **choices):
    lm = load_language_model(str(folder), dtype=torch.float32)
    processor = RuiChatProcessor.for_language_model(folder, lm.num_ids)
    model = build_model(lm, processor, ModelChoices(encoder="mini", bag_dim=12, **choices))
    with torch.no_grad():
        for depth in model.region_encoder.injected:
            depth.gate.fill_(num_open)
        # Zeros would hide a mistake.
        model.region_encoder.gate.score.weight.normal_()
    return model, processor, lm


@pytest.fixture(scope="module", params=list(FAMILIES))
def lm_folder(request, tmp_path_factory):
    return tiny_language_model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def parts(lm_folder):
    model, processor, lm = built(lm_folder)
    family = model.config.text_config.model_type
    return built(lm_folder, **CHOICES[family]) if family in CHOICES else (model, processor, lm)


def bag_of(*slides):
    """Bags of slides of as many tiles and regions each."""
    return {
        "tile_embeddings": torch.stack([torch.from_numpy(s.bag.embeddings) for s in slides]),
        "tile_region": torch.stack([torch.from_numpy(s.regions.assignment) for s in slides]),
        "region_geometry": torch.stack([torch.from_numpy(s.regions.geometry) for s in slides]),
    }


@torch.no_grad()
def test_its_own_logits_are_kept(parts):
    """Softcap, scaling and head are those of the language model; only names are changed."""
    model, _, lm = parts
    ids = torch.randint(0, lm.num_ids, (2, 9))
    logits = model(ids).logits
    torch.testing.assert_close(logits[..., : lm.num_ids], lm.model(ids).logits.float())
    assert logits.shape[-1] == lm.num_ids + model.config.num_added
    first = model.config.first_region_id
    assert (logits[..., first : first + 64] == -torch.inf).all()


def test_its_weights_are_as_they_were_loaded(lm_folder, parts):
    model, _, _ = parts
    fresh = load_language_model(str(lm_folder), dtype=torch.float32).model
    ours = [*model.language_model.parameters(), *model.lm_head.parameters()]
    theirs = [*fresh.get_decoder().parameters(), *fresh.get_output_embeddings().parameters()]
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_generation_ends_and_bars_as_the_processor_says(parts):
    model, processor, _ = parts
    settings = model.generation_config
    assert settings.eos_token_id == processor.end_id
    assert settings.suppress_tokens == list(processor.pieces.never_written)
    slide = tiny_slide()
    ids = torch.tensor([processor.prefix_ids(6, "f") + processor.question_ids("where?")])
    with torch.no_grad():
        cached = model.generate(ids, **bag_of(slide), max_new_tokens=8, do_sample=False)
        again = model.generate(
            ids, **bag_of(slide), max_new_tokens=8, do_sample=False, use_cache=False
        )
    torch.testing.assert_close(cached, again)


def test_the_decoder_step_equals_one_uncached_pass(parts):
    model, processor, _ = parts
    slide = tiny_slide()
    ids = processor.dialogue(TURNS[0], 6, "f {focus}").input_ids
    weights = {k: v.numpy() for k, v in model.state_dict().items()}
    shape = ModelShape.of(json.loads(model.config.to_json_string(use_diff=False)))
    regions = embed_regions(
        weights, shape, slide.bag.embeddings, slide.regions.assignment, slide.regions.geometry
    )
    with torch.no_grad():
        embeds = model.encode_regions(**bag_of(slide))
        expected = model(torch.tensor([ids]), **bag_of(slide)).logits[0]
    torch.testing.assert_close(torch.from_numpy(regions.embeds), embeds[0], atol=1e-5, rtol=1e-4)
    decoder = TorchDecoder(model)
    state, got = decoder.start(), []
    cuts = [0, len(ids) // 2, len(ids) - 3, len(ids) - 2, len(ids) - 1, len(ids)]
    for start, stop in itertools.pairwise(cuts):
        part = ids[start:stop]
        got.append(torch.from_numpy(decoder.read(state, part, regions, keep=len(part))))
    torch.testing.assert_close(torch.cat(got), expected, atol=2e-4, rtol=1e-4)
    # Also after going back, past a sliding window.
    state.rewind(len(ids) - 12)
    again = torch.from_numpy(decoder.read(state, ids[-12:], regions, keep=12))
    torch.testing.assert_close(again, expected[-12:], atol=2e-4, rtol=1e-4)


def packed_batch(processor):
    """Two dialogues in one row behind a third, and each of them alone."""
    slides = [tiny_slide(20, 4, seed=i) for i in range(2)]
    items = [processor.dialogue(t, 4, "f") for t in TURNS] + [processor.dialogue(TURNS[1])]
    of = [0, 1, -1]
    row = {
        "input_ids": [i for item in items for i in item.input_ids],
        "labels": [i for item in items for i in item.labels],
        "position_ids": [i for item in items for i in range(len(item.input_ids))],
        "slide_of_token": [s for s, item in zip(of, items, strict=True) for _ in item.input_ids],
    }
    # Filled up, and a second row that holds one dialogue about the first slide.
    other = processor.dialogue(TURNS[0], 4, "f")
    num, short = len(row["input_ids"]) + 3, len(other.input_ids)
    rows = {
        "input_ids": other.input_ids,
        "labels": other.labels,
        "position_ids": list(range(short)),
        "slide_of_token": [0] * short,
    }
    fill = {"input_ids": 0, "labels": -100, "position_ids": 0, "slide_of_token": -1}
    batch = {
        key: torch.tensor([r + [fill[key]] * (num - len(r)) for r in (row[key], rows[key])])
        for key in row
    }
    alone = [*zip(items, of, strict=True), (other, 0)]
    return slides, batch, alone


def gradients(model):
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("lean", [False, True], ids=["logits", "lean"])
def test_packed_dialogues_are_as_if_alone(parts, lean):
    model, processor, _ = parts
    slides, batch, alone = packed_batch(processor)
    batch["labels"][0, batch["slide_of_token"][0] == -1] = -100
    total = 0.0
    for item, slide in alone:
        if slide < 0:
            continue
        loss = model(
            torch.tensor([item.input_ids]), labels=torch.tensor([item.labels]),
            **bag_of(slides[slide]), num_items_in_batch=1, skip_logits=lean,
        ).loss  # fmt: skip
        loss.backward()
        total += loss.item()
    expected = gradients(model)
    packed = model(
        **batch, **bag_of(*slides), num_items_in_batch=1, skip_logits=lean, use_cache=False
    ).loss
    packed.backward()
    assert packed.item() == pytest.approx(total, rel=1e-5)
    found = gradients(model)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = value.abs().max().clamp(min=1e-3).item()
        assert (found[name] - value).abs().max().item() <= 1e-4 * scale, name


def test_packed_rows_without_positions_are_refused(parts):
    model, processor, _ = parts
    slides, batch, _ = packed_batch(processor)
    with pytest.raises(InputError, match="position_ids"):
        model(**{**batch, "position_ids": None}, **bag_of(*slides))
    mask = torch.ones_like(batch["input_ids"])
    with pytest.raises(InputError, match="attention_mask"):
        model(**batch, attention_mask=mask, **bag_of(*slides))
    with pytest.raises(InputError, match="names a region"):
        batch["labels"][0, -1] = model.config.first_region_id
        batch["slide_of_token"][:] = -1
        model(**batch, **bag_of(*slides))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return tiny_language_model(tmp_path_factory.mktemp("qwen"), "qwen3")


def loss_of(model, processor, slide):
    item = processor.dialogue(TURNS[0], 6, "f")
    ids, labels = torch.tensor([item.input_ids]), torch.tensor([item.labels])
    return model(input_ids=ids, labels=labels, **bag_of(slide), use_cache=False).loss


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "peft"])
@pytest.mark.parametrize("reentrant", [None, False, True], ids=["whole", "fresh", "reentrant"])
def test_deeper_layers_learn_alike_with_checkpointing_and_peft(qwen, wrapped, reentrant):
    model, processor, _ = built(qwen, **DEEP)
    model.requires_grad_(False)
    model.region_encoder.requires_grad_(True)
    slide = tiny_slide()
    loss_of(model, processor, slide).backward()
    expected = gradients(model)
    assert expected and all(value.abs().sum() > 0 for value in expected.values())
    if wrapped:
        lora = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["region_encoder"])
        model = get_peft_model(model, lora)
    if reentrant is not None:
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.train()
    # Two batches before one step back: each layer must be computed again for its own.
    losses = [loss_of(model, processor, s) for s in (slide, tiny_slide(seed=7))]
    losses[0].backward()
    found = gradients(model)
    for name, value in expected.items():
        name = name.replace("region_encoder.", "region_encoder.modules_to_save.default.")
        other = found[f"base_model.model.{name}" if wrapped else name.replace(
            "modules_to_save.default.", "")]  # fmt: skip
        torch.testing.assert_close(other, value, atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_closed_gates_change_nothing_and_open_ones_do(qwen):
    closed, processor, _ = built(qwen, num_open=0.0, **DEEP)
    opened, _, _ = built(qwen, **DEEP)
    slide = tiny_slide()
    losses = [loss_of(m, processor, slide).item() for m in (closed, opened)]
    for layer in closed.region_encoder.injected:
        layer.projector[0].weight.mul_(3)
    assert loss_of(closed, processor, slide).item() == losses[0]
    assert abs(losses[0] - losses[1]) > 1e-3
    with pytest.raises(InputError, match="inputs_embeds"):
        opened(inputs_embeds=torch.zeros(1, 3, 32), **bag_of(slide))


@pytest.mark.parametrize(
    "wrong",
    [{"inject_layers": (0,)}, {"inject_layers": (2, 1)}, {"inject_layers": (3,)}, {"depths": 5},
     {"depths": 3, "inject_layers": (1, 2)}],
)  # fmt: skip
def test_layers_that_are_not_there_are_refused(qwen, wrong):
    with pytest.raises(ConfigError):
        built(qwen, **wrong)


def test_language_models_that_cannot_be_had_are_refused(qwen, tmp_path):
    with pytest.raises(PrerequisiteError, match="neither a folder nor in the cache"):
        load_language_model("nobody/nothing", local_only=True)
    with pytest.raises(ArtifactError, match="no language model"):
        load_language_model(str(tmp_path))
    (tmp_path / "config.json").write_text(
        '{"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config"}}'
    )
    (tmp_path / "theirs.py").write_text("raise SystemExit('their code was run')")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="never run"):
        load_language_model(str(tmp_path))
    lm = load_language_model(str(qwen))
    processor = RuiChatProcessor.for_language_model(qwen, lm.num_ids + 1)
    with pytest.raises(ArtifactError, match="641 ids"):
        build_model(lm, processor, ModelChoices(encoder="mini", bag_dim=12))


def test_a_state_space_model_is_refused(tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("mamba", hidden_size=16, num_hidden_layers=1, vocab_size=64)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="can't be aligned"):
        load_language_model(str(tmp_path))


def test_weights_that_are_missing_are_not_made_up(tmp_path):
    folder = tiny_language_model(tmp_path, "qwen3")
    weights = load_file(folder / "model.safetensors")
    lost = weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match=r"lacks 1 weights .*layers\.1\.mlp\.up_proj"):
        load_language_model(str(folder))
    weights["model.layers.1.mlp.up_proj.weight"] = lost[:-1].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError):
        load_language_model(str(folder))


def test_half_a_download_is_refused(tmp_path):
    folder = tiny_language_model(tmp_path, "qwen3")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ArtifactError, match="can't be read") as caught:
        load_language_model(str(folder))
    assert caught.value.hint == "Download it again"


@pytest.mark.parametrize(
    ("owner", "step", "error"),
    [
        (AutoModelForCausalLM, "from_pretrained", torch.OutOfMemoryError("CUDA out of memory")),
        (PreTrainedModel, "to", RuntimeError("CUDA error: invalid device ordinal")),
    ],
)
def test_what_a_device_lacks_is_no_damage(tmp_path, monkeypatch, owner, step, error):
    folder = tiny_language_model(tmp_path, "qwen3")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(owner, step, fail)
    with pytest.raises(RuntimeError) as caught:
        load_language_model(str(folder))
    assert caught.value is error
