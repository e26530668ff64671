"""CONCH, CONCH v1.5, MUSK and CTransPath do what their authors published.

The references work on the published state dict alone, in plain tensor arithmetic.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from published import towers

from ruichat.features.encoder import ENCODERS
from ruichat.features.encoders import conch, ctranspath, musk
from ruichat.features.encoders.loading import load_from_card
from ruichat.features.encoders.preprocess import prepare
from ruichat.features.runtime.ways import RunConfig


def drawn(shapes, seed=0):
    """Weights of that layout, small and random; running variances positive."""
    chance = torch.Generator().manual_seed(seed)
    return {
        key: torch.rand(shape, generator=chance) + 0.5
        if key.endswith("running_var")
        else torch.randn(shape, generator=chance) * 0.2
        for key, shape in shapes.items()
    }


def placed(module, rename, state):
    module.load_state_dict(rename(state), strict=True)
    return module.eval()


def test_parameters_of_musk_add_up_to_those_of_the_whole_model():
    """Both ways and both heads, 675.2 M: the authors' class has as many."""
    total = towers.musk() | towers.musk_beside()
    assert sum(math.prod(shape) for shape in total.values()) == 675_188_737


def norm(x, state, at, eps):
    return F.layer_norm(x, x.shape[-1:], state[at + ".weight"], state[at + ".bias"], eps)


def linear(x, state, at):
    return x @ state[at + ".weight"].T + state.get(at + ".bias", torch.zeros(()))


def attend(query, key, value, heads):
    """Softmax attention written per head."""
    width = query.shape[-1] // heads
    parts = []
    for h in range(heads):
        cut = slice(h * width, (h + 1) * width)
        scores = query[..., cut] @ key[..., cut].transpose(-2, -1) / math.sqrt(width)
        parts.append(scores.softmax(-1) @ value[..., cut])
    return torch.cat(parts, -1)


def naive_vit(state, pixels, heads, depth, positions):
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    patches = F.conv2d(pixels, weight, bias, stride=weight.shape[-1])
    x = torch.cat([state["cls_token"].repeat(len(pixels), 1, 1), patches.flatten(2).mT], 1)
    x = x + positions
    for i in range(depth):
        at = f"blocks.{i}."
        query, key, value = linear(
            norm(x, state, at + "norm1", 1e-6), state, at + "attn.qkv"
        ).chunk(3, -1)
        mixed = linear(attend(query, key, value, heads), state, at + "attn.proj")
        x = x + mixed * state.get(at + "ls1.gamma", 1)
        hidden = F.gelu(linear(norm(x, state, at + "norm2", 1e-6), state, at + "mlp.fc1"))
        x = x + linear(hidden, state, at + "mlp.fc2") * state.get(at + "ls2.gamma", 1)
    return norm(x, state, "norm", 1e-6)


def under(state, prefix):
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def test_conch_equals_the_published_order_of_operations():
    state = drawn(
        towers.conch(width=48, depth=2, dim=32, grid=3) | towers.conch_beside(width=48, dim=32)
    )
    module = placed(
        conch.build(width=48, depth=2, num_heads=4, dim=32, grid=3), conch.rename, state
    )
    pixels = torch.randn(2, 3, 48, 48)
    trunk, pool = under(state, "visual.trunk."), under(state, "visual.attn_pool_contrast.")
    tokens = norm(naive_vit(trunk, pixels, 4, 2, trunk["pos_embed"]), pool, "ln_k", 1e-5)
    query = norm(pool["query"], pool, "ln_q", 1e-5).repeat(2, 1, 1)
    bias_q, bias_k, bias_v = pool["attn.in_proj_bias"].chunk(3)
    mixed = attend(
        query @ pool["attn.q_proj_weight"].T + bias_q,
        tokens @ pool["attn.k_proj_weight"].T + bias_k,
        tokens @ pool["attn.v_proj_weight"].T + bias_v,
        8,
    )
    wanted = norm(linear(mixed, pool, "attn.out_proj")[:, 0], state, "visual.ln_contrast", 1e-5)
    torch.testing.assert_close(module(pixels), wanted, atol=1e-4, rtol=1e-4)


def test_conch_v15_resizes_positions_as_published():
    state = drawn(towers.conch_v15(width=48, depth=2, dim=32, grid=2))
    module = placed(
        conch.build_v15(width=48, depth=2, num_heads=4, dim=32, grid=2), conch.rename_v15, state
    )
    pixels = torch.randn(2, 3, 64, 64)
    trunk, pool = under(state, "trunk."), under(state, "attn_pool_contrast.")
    table = trunk["pos_embed"][:, 1:].reshape(1, 2, 2, 48).permute(0, 3, 1, 2)
    table = F.interpolate(table, scale_factor=(4.1 / 2, 4.1 / 2), mode="bicubic")
    positions = torch.cat([trunk["pos_embed"][:, :1], table.flatten(2).mT], 1)
    tokens = norm(naive_vit(trunk, pixels, 4, 2, positions), pool, "ln_k", 1e-5)
    key, value = linear(tokens, pool, "to_kv").chunk(2, -1)
    query = linear(norm(pool["query"], pool, "ln_q", 1e-5), pool, "to_q").repeat(2, 1, 1)
    pooled = linear(attend(query, key, value, 8), pool, "to_out")[:, 0]
    wanted = norm(pooled, state, "ln_contrast", 1e-5)
    torch.testing.assert_close(module(pixels), wanted, atol=1e-4, rtol=1e-4)


def naive_musk(state, pixels, heads, depth):
    state = under(state, "beit3.")
    weight, bias = state["vision_embed.proj.weight"], state["vision_embed.proj.bias"]
    patches = F.conv2d(pixels, weight, bias, stride=weight.shape[-1]).flatten(2).mT
    first = state["vision_embed.cls_token"].repeat(len(pixels), 1, 1)
    x = torch.cat([first, patches], 1)
    x = x + state["encoder.embed_positions.A.weight"][2 : 2 + x.shape[1]]
    for i in range(depth):
        at = f"encoder.layers.{i}."
        normed = norm(x, state, at + "self_attn_layer_norm.A", 1e-5)
        query, key, value = (linear(normed, state, f"{at}self_attn.{p}_proj.A") for p in "qkv")
        mixed = norm(
            attend(query, key, value, heads), state, at + "self_attn.inner_attn_ln.A", 1e-5
        )
        x = x + linear(mixed, state, at + "self_attn.out_proj.A")
        hidden = F.gelu(
            linear(norm(x, state, at + "final_layer_norm.A", 1e-5), state, at + "ffn.A.fc1")
        )
        x = x + linear(
            norm(hidden, state, at + "ffn.A.ffn_layernorm", 1e-5), state, at + "ffn.A.fc2"
        )
    return norm(x, state, "encoder.layer_norm.A", 1e-5)[:, 0]


def test_musk_equals_the_published_order_of_operations_at_one_and_two_scales():
    state = drawn(
        towers.musk(dim=32, depth=2, grid=3) | towers.musk_beside(dim=32, depth=2, words=5)
    )
    options = {"dim": 32, "depth": 2, "num_heads": 4, "grid": 3}
    pixels = torch.randn(2, 3, 48, 48)
    whole = naive_musk(state, pixels, 4, 2)
    one = placed(musk.build(**options), musk.rename, state)
    torch.testing.assert_close(one(pixels), whole, atol=1e-4, rtol=1e-4)

    large = F.interpolate(pixels, size=96, mode="bicubic")
    cuts = large.unflatten(2, (2, 48)).unflatten(4, (2, 48)).permute(2, 4, 0, 1, 3, 5)
    quarters = [naive_musk(state, cut, 4, 2) for cut in cuts.flatten(0, 1)]
    two = placed(musk.build(**options, two_scales=True), musk.rename, state)
    wanted = torch.cat([whole, sum(quarters) / 4], 1)
    torch.testing.assert_close(two(pixels), wanted, atol=1e-4, rtol=1e-4)


def swin_name(key):
    """Name that transformers gives to a parameter of the published layout."""
    for theirs, ours in (
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("patch_embed.norm", "embeddings.norm"),
        ("relative_position_bias_table", "relative_position_bias.relative_position_bias_table"),
        ("attn.proj", "attn.o_proj"),
        ("attn.", "attention."),
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
    ):
        key = key.replace(theirs, ours)
    if key.startswith("norm."):
        return "layer" + key
    return "encoder." + key if key.startswith("layers.") else key


def test_ctranspath_behind_its_stem_equals_swin_of_transformers():
    transformers = pytest.importorskip("transformers", minversion="5.20")
    depths, heads = (2, 2), (2, 4)
    state = drawn(
        towers.ctranspath(dim=32, depths=depths, heads=heads)
        | towers.ctranspath_beside(dim=32, depths=depths)
    )
    module = placed(
        ctranspath.build(dim=32, depths="2,2", heads="2,4", side=14), ctranspath.rename, state
    )
    swin = transformers.SwinModel(
        transformers.SwinConfig(
            image_size=56, patch_size=4, embed_dim=32, depths=list(depths), num_heads=list(heads),
            window_size=7,
        )
    ).eval()  # fmt: skip
    stem = torch.nn.Sequential(*module.patch_embed.proj)
    swin.embeddings.patch_embeddings.projection = stem
    theirs = {}
    for key, value in ctranspath.rename(state).items():
        parts = dict(zip("qkv", value.chunk(3), strict=True)) if ".qkv." in key else {"": value}
        for part, cut in parts.items():
            theirs[swin_name(key.replace("attn.qkv", f"attn.{part}_proj"))] = cut
    swin.load_state_dict(theirs, strict=True)
    pixels = torch.randn(3, 3, 56, 56)
    wanted = swin(pixels).pooler_output
    torch.testing.assert_close(module(pixels), wanted, atol=1e-4, rtol=1e-4)


TINY = {
    "conch": (conch.build, {"width": 48, "depth": 1, "num_heads": 4, "dim": 32, "grid": 2}, 32),
    "conch-v1.5": (
        conch.build_v15,
        {"width": 48, "depth": 1, "num_heads": 4, "dim": 32, "grid": 2},
        64,
    ),
    "musk-ms": (
        musk.build,
        {"dim": 32, "depth": 1, "num_heads": 4, "grid": 2, "two_scales": True},
        32,
    ),
    "ctranspath": (
        ctranspath.build,
        {"dim": 32, "depths": "2,1", "heads": "2,4", "side": 14},
        56,
    ),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", TINY)
def test_openvino_runs_the_same_for_any_number_of_tiles(name):
    openvino = pytest.importorskip("openvino")
    build, options, side = TINY[name]
    module = build(**options).eval()
    with torch.no_grad():
        model = openvino.convert_model(module, example_input=torch.randn(2, 3, side, side))
    model.reshape([-1, 3, side, side])
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    pixels = torch.randn(3, 3, side, side)
    found = torch.from_numpy(compiled(pixels)[0])
    torch.testing.assert_close(found, module(pixels), atol=1e-4, rtol=1e-4)


def test_weights_file_in_its_published_form_makes_an_encoder(tmp_path):
    state = drawn(
        towers.ctranspath(dim=32, depths=(2, 1), heads=(2, 4))
        | towers.ctranspath_beside(dim=32, depths=(2, 1))
    )
    torch.save({"model": state}, tmp_path / "ctranspath.pth")
    options = TINY["ctranspath"][1]
    card = ENCODERS.get("ctranspath")
    small = replace(card.architecture, options=options)
    card = replace(card, dim=64, resize_px=56, crop_px=56, architecture=small)
    encoder = load_from_card(
        card, weights=tmp_path, run=RunConfig(runtime="torch", precision="fp32")
    )
    tiles = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    module = placed(ctranspath.build(**options), ctranspath.rename, state)
    wanted = module(torch.from_numpy(prepare(tiles, card))).detach()
    found = torch.from_numpy(encoder.encode(tiles))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_names_left_by_parallel_training_are_understood():
    state = drawn(towers.conch_v15(width=16, depth=1, dim=8, grid=2))
    parallel = {"state_dict": {f"module.{name}": value for name, value in state.items()}}
    assert conch.rename_v15(parallel).keys() == state.keys()
