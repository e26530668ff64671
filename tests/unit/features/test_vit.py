"""The mapping of published vision transformers, in numbers, at a depth that takes milliseconds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from published import vits
from reference_vit import clip_embedding, tokens_of
from torch import Tensor

from ruichat.errors import ModelError
from ruichat.features.card import Architecture, Plain
from ruichat.features.encoder import ENCODERS
from ruichat.features.encoders.loading import build_module, place, rename

HERE = "ruichat.features.encoders"
WIDTH, DEPTH, HEADS, PATCH, GRID = 24, 2, 2, 7, 4
SIDE = PATCH * GRID
SHAPE: dict[str, Plain] = {
    "width": WIDTH,
    "depth": DEPTH,
    "heads": HEADS,
    "patch_px": PATCH,
    "image_px": SIDE,
}

FAMILIES: dict[str, dict[str, Any]] = {
    "plain": {"layer_scale": False},
    "layer-scale": {},
    "gated": {"gated": True},
    "registers-all": {"registers": 3},
    "registers-cls": {"registers": 3, "covers": "cls"},
    "registers-patches-gated": {"registers": 3, "covers": "patches", "gated": True},
}


def drawn(layout: Any) -> dict[str, Any]:
    """Numbers for every array, far from the usual zeros and ones."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: drawn(shape)
        if isinstance(shape, dict)
        else torch.randn(shape, generator=generator) / 3
        for name, shape in layout.items()
    }


def loaded(architecture: Architecture, content: dict[str, Any]) -> torch.nn.Module:
    module = build_module(architecture)
    place(module, rename(architecture, content), card=ENCODERS.get("uni"), file="drawn")
    return module.eval()


def pixels(side: int = SIDE) -> Tensor:
    return torch.randn((2, 3, side, side), generator=torch.Generator().manual_seed(1))


def close(given: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(given, wanted, atol=1e-5, rtol=1e-5)


def timm_family(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What is special of a family, and a small published state of it."""
    family = {"layer_scale": True, "gated": False, "registers": 0, "covers": "all"}
    family |= FAMILIES[name]
    prefix = {"all": 1 + family["registers"], "cls": 1, "patches": 0}[family["covers"]]
    layout = vits.timm_vit(
        width=WIDTH,
        depth=DEPTH,
        patch=PATCH,
        positions=GRID * GRID + prefix,
        registers=family["registers"],
        hidden=64 if family["gated"] else 0,
        gated=family["gated"],
        layer_scale=family["layer_scale"],
    )
    return family, drawn(layout)


def timm_architecture(family: dict[str, Any], pooling: str, grid: int = 0) -> Architecture:
    body = "dinov2" if family["layer_scale"] else "vit"
    mlp = "swiglu" if family["gated"] else "gelu"
    return Architecture(
        f"{HERE}.vit:build",
        f"{HERE}.vit_names:rename_timm",
        {"body": body, **SHAPE, "registers": family["registers"], "mlp": mlp, "pooling": pooling},
        {"body": body, "mlp": mlp, "positions": family["covers"], "grid": grid},
    )


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("pooling", ["cls", "mean", "cls+mean"])
def test_timms_form_computes_the_same(name: str, pooling: str) -> None:
    family, state = timm_family(name)
    module = loaded(timm_architecture(family, pooling), state)
    tokens = tokens_of(
        state, pixels(), heads=HEADS, positions=family["covers"], gated=family["gated"]
    )
    mean = tokens[:, 1 + family["registers"] :].mean(1)
    wanted = {"cls": tokens[:, 0], "mean": mean, "cls+mean": torch.cat([tokens[:, 0], mean], 1)}
    close(module(pixels()), wanted[pooling])


def as_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' older names as timm's, by hand."""
    renamed = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
    }
    if "embeddings.register_tokens" in state:
        renamed["reg_token"] = state["embeddings.register_tokens"]
    for kind in ("weight", "bias"):
        at = f"embeddings.patch_embeddings.projection.{kind}"
        renamed[f"patch_embed.proj.{kind}"] = state[at]
        renamed[f"norm.{kind}"] = state[f"layernorm.{kind}"]
        for i in range(DEPTH):
            layer, block = f"encoder.layer.{i}", f"blocks.{i}"
            parts = [
                state[f"{layer}.attention.attention.{part}.{kind}"]
                for part in ("query", "key", "value")
            ]
            renamed[f"{block}.attn.qkv.{kind}"] = torch.cat(parts)
            renamed[f"{block}.attn.proj.{kind}"] = state[f"{layer}.attention.output.dense.{kind}"]
            for target, sources in {
                "norm1": ("norm1", "layernorm_before"),
                "norm2": ("norm2", "layernorm_after"),
                "mlp.fc1": ("mlp.fc1", "mlp.weights_in", "intermediate.dense"),
                "mlp.fc2": ("mlp.fc2", "mlp.weights_out", "output.dense"),
            }.items():
                (source,) = [s for s in sources if f"{layer}.{s}.{kind}" in state]
                renamed[f"{block}.{target}.{kind}"] = state[f"{layer}.{source}.{kind}"]
    for i in range(DEPTH):
        for n in (1, 2):
            at = f"encoder.layer.{i}.layer_scale{n}.lambda1"
            if at in state:
                renamed[f"blocks.{i}.ls{n}.gamma"] = state[at]
    return renamed


@pytest.mark.parametrize("registers", [0, 3])
@pytest.mark.parametrize("gated", [False, True])
def test_transformers_dinov2_form_computes_the_same(registers: int, gated: bool) -> None:
    layout = vits.transformers_dinov2(
        width=WIDTH,
        depth=DEPTH,
        patch=PATCH,
        positions=GRID * GRID + 1,
        registers=registers,
        hidden=64 if gated else 0,
        gated=gated,
    )
    mlp = "swiglu" if gated else "gelu"
    architecture = Architecture(
        f"{HERE}.vit:build",
        f"{HERE}.dino_names:rename_transformers",
        {"body": "dinov2", **SHAPE, "registers": registers, "mlp": mlp},
        {"body": "dinov2", "mlp": mlp},
    )
    state = drawn(layout)
    tokens = tokens_of(as_timm(state), pixels(), heads=HEADS, positions="cls", gated=gated)
    close(loaded(architecture, state)(pixels()), tokens[:, 0])


def test_transformers_vit_form_computes_the_same() -> None:
    layout = vits.transformers_vit(width=WIDTH, depth=DEPTH, patch=PATCH, positions=GRID * GRID + 1)
    architecture = Architecture(
        f"{HERE}.vit:build",
        f"{HERE}.dino_names:rename_transformers",
        {"body": "vit", **SHAPE, "eps": 1e-12},
        {"body": "vit"},
    )
    state = drawn(layout)
    tokens = tokens_of(as_timm(state), pixels(), heads=HEADS, eps=1e-12)
    pooler = {"pooler.dense.weight": torch.zeros(WIDTH, WIDTH)}
    close(loaded(architecture, state | pooler)(pixels()), tokens[:, 0])


@pytest.mark.parametrize("gated", [False, True])
def test_transformers_dinov3_form_computes_the_same(gated: bool) -> None:
    state = drawn(vits.transformers_dinov3(width=WIDTH, depth=DEPTH, gated=gated))
    mlp = "swiglu" if gated else "gelu"
    architecture = Architecture(
        f"{HERE}.vit:build",
        f"{HERE}.dino_names:rename_transformers",
        {
            "body": "dinov3",
            **SHAPE,
            "patch_px": 16,
            "image_px": 64,
            "registers": 4,
            "mlp": mlp,
            "eps": 1e-5,
            "key_bias": False,
        },
        {"body": "dinov3"},
    )
    timm = {
        "cls_token": state["embeddings.cls_token"],
        "reg_token": state["embeddings.register_tokens"],
        "patch_embed.proj.weight": state["embeddings.patch_embeddings.weight"],
        "patch_embed.proj.bias": state["embeddings.patch_embeddings.bias"],
        "norm.weight": state["norm.weight"],
        "norm.bias": state["norm.bias"],
    }
    for i in range(DEPTH):
        at = f"layer.{i}"
        state_k = state | {f"{at}.attention.k_proj.bias": torch.zeros(WIDTH)}
        for kind in ("weight", "bias"):
            parts = [state_k[f"{at}.attention.{part}_proj.{kind}"] for part in "qkv"]
            timm[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat(parts)
            timm[f"blocks.{i}.attn.proj.{kind}"] = state[f"{at}.attention.o_proj.{kind}"]
            up = state[f"{at}.mlp.up_proj.{kind}"]
            fc1 = [state[f"{at}.mlp.gate_proj.{kind}"], up] if gated else [up]
            timm[f"blocks.{i}.mlp.fc1.{kind}"] = torch.cat(fc1)
            timm[f"blocks.{i}.mlp.fc2.{kind}"] = state[f"{at}.mlp.down_proj.{kind}"]
            for n in (1, 2):
                timm[f"blocks.{i}.norm{n}.{kind}"] = state[f"{at}.norm{n}.{kind}"]
                timm[f"blocks.{i}.ls{n}.gamma"] = state[f"{at}.layer_scale{n}.lambda1"]
    tokens = tokens_of(timm, pixels(64), heads=HEADS, gated=gated, eps=1e-5, rope=100)
    close(loaded(architecture, state)(pixels(64)), tokens[:, 0])


def teacher(num_chunks: int, extra: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    layout = vits.meta_blocks(WIDTH, DEPTH, num_chunks) | vits.norm("backbone.norm", WIDTH)
    layout |= {
        "backbone.cls_token": (1, 1, WIDTH),
        "backbone.mask_token": (1, WIDTH),
        "backbone.patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "backbone.patch_embed.proj.bias": (WIDTH,),
        "dino_head.mlp.0.weight": (8, WIDTH),
    }
    return {"teacher": drawn(layout | extra)}


def backbone(content: dict[str, Any], num_chunks: int) -> dict[str, Tensor]:
    """The teacher's backbone in timm's names, by hand."""
    state = {k.removeprefix("backbone."): v for k, v in content["teacher"].items()}
    if num_chunks:
        for i in range(DEPTH):
            chunk = i * num_chunks // DEPTH
            for name in [n for n in state if n.startswith(f"blocks.{chunk}.{i}.")]:
                state[name.replace(f"blocks.{chunk}.{i}.", f"blocks.{i}.")] = state.pop(name)
    if "storage_tokens" in state:
        state["reg_token"] = state.pop("storage_tokens")
    return state


@pytest.mark.parametrize("num_chunks", [0, 2])
def test_a_dinov2_teacher_computes_the_same(num_chunks: int) -> None:
    content = teacher(num_chunks, {"backbone.pos_embed": (1, 1 + GRID * GRID, WIDTH)})
    architecture = Architecture(
        f"{HERE}.vit:build",
        f"{HERE}.dino_names:rename_teacher",
        {"body": "dinov2", **SHAPE},
        {"body": "dinov2"},
    )
    tokens = tokens_of(backbone(content, num_chunks), pixels(), heads=HEADS)
    close(loaded(architecture, content)(pixels()), tokens[:, 0])
    bare = {k: v for k, v in backbone(content, num_chunks).items() if "head" not in k}
    close(loaded(architecture, bare)(pixels()), tokens[:, 0])


def test_kaikos_large_is_read_in_both_forms() -> None:
    card = ENCODERS.get("kaiko-vitl14").architecture
    assert card is not None
    options = {**card.options, **SHAPE, "image_px": 6 * PATCH}
    architecture = Architecture(
        card.build, card.rename, options, {**card.rename_options, "grid": 6}
    )
    extra = {
        "backbone.pos_embed": (1, 1 + GRID * GRID, WIDTH),
        "backbone.register_tokens": (1, 4, WIDTH),
    }
    own = backbone(teacher(0, extra), 0)
    own = {name: value for name, value in own.items() if "head" not in name}
    # timm adds CLS's position to CLS itself, and has no token for masked patches.
    timm = {name: value for name, value in own.items() if name != "mask_token"}
    timm["reg_token"] = timm.pop("register_tokens")
    timm["cls_token"] = own["cls_token"] + own["pos_embed"][:, :1]
    timm["pos_embed"] = own["pos_embed"][:, 1:]
    given, wanted = (loaded(architecture, form)(pixels(6 * PATCH)) for form in (own, timm))
    close(given, wanted)


def ruipath(name: str, depth: int = DEPTH) -> Architecture:
    card = ENCODERS.get(name).architecture
    assert card is not None
    return Architecture(card.build, card.rename, {**card.options, **SHAPE, "depth": depth})


DINOV3_ONLY: dict[str, tuple[int, ...]] = {
    "backbone.storage_tokens": (1, 4, WIDTH),
    "backbone.rope_embed.periods": (3,),
    "backbone.local_cls_norm.weight": (WIDTH,),
    "backbone.local_cls_norm.bias": (WIDTH,),
}


def test_ruipaths_dinov3_form_computes_the_same() -> None:
    content = teacher(0, DINOV3_ONLY)
    tokens = tokens_of(backbone(content, 0), pixels(), heads=HEADS, eps=1e-5, rope=100)
    close(loaded(ruipath("ruipath-dinov3"), content)(pixels()), tokens[:, 0])


@pytest.mark.parametrize("nested", [False, True])
def test_ruipath_v1_computes_the_same(nested: bool) -> None:
    _, state = timm_family("layer-scale")
    tokens = tokens_of(state, pixels(), heads=HEADS)
    content = {"state_dict": state} if nested else state
    close(loaded(ruipath("ruipath-v1"), content)(pixels()), tokens[:, 0])


@pytest.mark.parametrize("nested", [False, True])
def test_ruipaths_other_form_is_named(nested: bool) -> None:
    _, v1 = timm_family("layer-scale")
    dinov3 = teacher(0, DINOV3_ONLY)
    with pytest.raises(ModelError) as caught:
        rename(ruipath("ruipath-dinov3"), {"state_dict": v1} if nested else v1)
    assert "ruipath-v1" in caught.value.hint
    with pytest.raises(ModelError) as caught:
        rename(ruipath("ruipath-v1"), dinov3 if nested else dinov3["teacher"])
    assert "ruipath-dinov3" in caught.value.hint


def test_plips_image_half_computes_the_same() -> None:
    layout = {k: v for k, v in vits.clip_b32().items() if ".layers." not in k or ".layers.0." in k}
    state = {name: value / 4 for name, value in drawn(layout).items()}
    card = ENCODERS.get("plip").architecture
    assert card is not None
    architecture = Architecture(card.build, card.rename, {**card.options, "depth": 1})
    wanted = clip_embedding(state, pixels(224), heads=12)
    beside = {"logit_scale": torch.zeros(()), "text_model.final_layer_norm.bias": torch.zeros(3)}
    close(loaded(architecture, state | beside)(pixels(224)), wanted)


@pytest.mark.parametrize("name", ["layer-scale", "registers-patches-gated"])
def test_positions_of_another_grid_are_resampled_as_the_libraries_do(name: str) -> None:
    """At load, once: the same as transformers does per call for an input of another size."""
    family, state = timm_family(name)
    at_load = loaded(
        Architecture(
            f"{HERE}.vit:build",
            f"{HERE}.vit_names:rename_timm",
            {**timm_architecture(family, "cls").options, "image_px": 6 * PATCH},
            {**timm_architecture(family, "cls").rename_options, "grid": 6},
        ),
        state,
    )
    per_call = loaded(timm_architecture(family, "cls"), state)
    given, wanted = at_load(pixels(6 * PATCH)), per_call(pixels(6 * PATCH))
    if family["registers"]:  # as timm, this class smooths before it samples
        close(given, wanted)
    else:
        assert 1e-4 < (given - wanted).abs().max() < 1


@pytest.mark.parametrize("registers", [0, 3])
def test_transformers_positions_are_resampled_as_transformers_does(registers: int) -> None:
    layout = vits.transformers_dinov2(
        width=WIDTH, depth=DEPTH, patch=PATCH, positions=GRID * GRID + 1, registers=registers
    )
    state = drawn(layout)

    def module(side: int, grid: int) -> torch.nn.Module:
        options = {"body": "dinov2", **SHAPE, "registers": registers, "image_px": side}
        rename_options: dict[str, Plain] = {"body": "dinov2", "grid": grid}
        build, names = f"{HERE}.vit:build", f"{HERE}.dino_names:rename_transformers"
        return loaded(Architecture(build, names, options, rename_options), state)

    side = 3 * PATCH
    close(module(side, 3)(pixels(side)), module(SIDE, 0)(pixels(side)))


@pytest.mark.filterwarnings("ignore")  # the tracer's, about shapes that stay as they are
@pytest.mark.parametrize("name", ["registers-patches-gated", "dinov3"])
def test_the_graph_is_the_module_for_any_number_of_tiles(name: str) -> None:
    ov = pytest.importorskip("openvino")
    if name == "dinov3":
        module = loaded(ruipath("ruipath-dinov3"), teacher(0, DINOV3_ONLY))
    else:
        family, state = timm_family(name)
        module = loaded(timm_architecture(family, "cls+mean"), state)
    graph = ov.convert_model(module, example_input=pixels()[:1])
    graph.reshape([-1, 3, SIDE, SIDE])
    run = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.no_grad():
        wanted = module(pixels()).numpy()
    assert abs(run(pixels().numpy())[0] - wanted).max() < 1e-4
