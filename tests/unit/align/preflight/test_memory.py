"""What is foretold from shapes is what a real model takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

from ruichat.align.preflight.memory import Plan, activation_bytes, logit_bytes, memory_of
from ruichat.align.preflight.propose import CARDS, propose
from ruichat.align.preflight.shapes import QWEN3, LanguageShape, RegionShape
from ruichat.align.preflight.vision import block_activations, vit_parameters
from ruichat.errors import ConfigError, PrerequisiteError
from ruichat.features.encoders.folder import VitShape
from ruichat.features.encoders.vit import build

CONFIG = Qwen3Config(
    vocab_size=500,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
    intermediate_size=384,
)


def kept_bytes(forward: Callable[[], object], weights: set[int]) -> int:
    """Bytes that autograd keeps, each storage once, weights apart."""
    storages: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    alive: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(storages.values())


@pytest.mark.parametrize("tokens", [64, 256])
def test_activations_are_foretold(tokens: int) -> None:
    model = get_peft_model(Qwen3ForCausalLM(CONFIG), LoraConfig(r=8, target_modules="all-linear"))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    # The first layer's inputs carry gradients in training: regions are added to them.
    embeds = torch.randn(1, tokens, 128, requires_grad=True)
    measured = kept_bytes(
        lambda: model.base_model.model.model(inputs_embeds=embeds, use_cache=False), weights
    )
    plan = Plan(base="fp32", rank=8, tokens=tokens, tiles=0, recompute=False)
    foretold = activation_bytes(LanguageShape.of(CONFIG.to_dict()), plan)
    assert measured == pytest.approx(foretold, rel=0.25)


def test_parameters_are_counted() -> None:
    shape = LanguageShape.of(CONFIG.to_dict())
    model = Qwen3ForCausalLM(CONFIG)
    assert shape.parameters == pytest.approx(sum(p.numel() for p in model.parameters()), rel=0.01)
    adapted = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear"))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert shape.lora_parameters(8) == trained


@pytest.mark.parametrize(
    ("name", "billions"),
    [("Qwen3-0.6B", 0.6), ("Qwen3-1.7B", 1.72), ("Qwen3-4B", 4.02), ("Qwen3-8B", 8.19),
     ("Qwen3-14B", 14.77), ("Qwen3-32B", 32.76)],
)  # fmt: skip
def test_published_models_have_the_parameters_that_they_state(name: str, billions: float) -> None:
    assert QWEN3[name].parameters / 1e9 == pytest.approx(billions, rel=0.01)


def test_what_costs_more_takes_more() -> None:
    language, regions = QWEN3["Qwen3-8B"], RegionShape(1536, 4096)
    plan = Plan(base="bf16", rank=64, tokens=4096, tiles=4096)
    total = memory_of(language, regions, plan).total
    for change in ({"tokens": 8192}, {"base": "fp32"}, {"recompute": False}, {"rank": 128}):
        more = memory_of(language, regions, Plan(**{**_fields(plan), **change})).total
        assert more > total
    four = memory_of(language, regions, Plan(**{**_fields(plan), "base": "4bit"})).total
    sharded = Plan(**{**_fields(plan), "processes": 8, "sharded": True})
    assert four < total and memory_of(language, regions, sharded).total < total
    assert logit_bytes(language, plan) == 4096 * 0.5 * 151_936 * 10


def _fields(plan: Plan) -> dict[str, object]:
    return {name: getattr(plan, name) for name in type(plan).__dataclass_fields__}


def test_a_proposal_fits_its_card_and_a_larger_card_takes_more() -> None:
    language, regions = QWEN3["Qwen3-8B"], RegionShape(1536, 4096)
    budgets = []
    for name in ("24gb", "80gb", "141gb"):
        proposal = propose(language, regions, CARDS[name])
        assert proposal.memory.total <= 0.92 * CARDS[name].memory
        budgets.append((proposal.plan.base == "bf16", proposal.plan.rank, proposal.plan.tokens))
    assert budgets == sorted(budgets) and budgets[0] < budgets[-1]


def test_what_fits_nowhere_is_refused_with_figures() -> None:
    language, regions = QWEN3["Qwen3-32B"], RegionShape(1536, 5120)
    with pytest.raises(PrerequisiteError, match=r"at least \d+ GB on each of 1 cards; .*24 GB"):
        propose(language, regions, CARDS["24gb"])
    assert propose(language, regions, CARDS["24gb"], processes=8).plan.sharded


def test_a_config_of_something_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="lacks 'num_attention_heads'"):
        LanguageShape.of({"model_type": "vit"})
    with pytest.raises(ConfigError, match="mixture of 128 experts"):
        LanguageShape.of({"model_type": "qwen3_moe", "num_experts": 128})


# Encoders


@pytest.mark.parametrize(
    "shape",
    [
        VitShape(body="dinov3", width=96, depth=3, heads=3, patch_px=16, registers=4),
        VitShape(body="dinov2", width=96, depth=3, heads=3, patch_px=16),
        VitShape(body="vit", width=96, depth=3, heads=3, patch_px=16),
        VitShape(body="dinov3", width=96, depth=3, heads=3, patch_px=16, mlp="swiglu"),
    ],
    ids=lambda shape: f"{shape.body}-{shape.mlp}",
)
def test_activations_of_an_encoder_are_foretold(shape: VitShape) -> None:
    module = build(**shape.model_dump(), image_px=224, mask_token=True).train()
    weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
    assert vit_parameters(shape) == pytest.approx(
        sum(p.numel() for p in module.parameters()), rel=0.15
    )
    pixels = torch.randn(2, 3, 224, 224)
    measured = kept_bytes(lambda: module.tokens(pixels, None), weights)
    tokens = 2 * (14**2 + 1 + shape.registers)
    foretold = shape.depth * block_activations(shape, 4) * tokens
    assert measured == pytest.approx(foretold, rel=0.25)
