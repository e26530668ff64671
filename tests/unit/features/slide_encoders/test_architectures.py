"""Slide encoders do what their authors published; references are plain loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from published import slides

from ruichat.errors import InputError
from ruichat.features.slide_encoders import longnet, mil, titan


def drawn(shapes, seed=0, scale=0.2):
    chance = torch.Generator().manual_seed(seed)
    return {key: torch.randn(shape, generator=chance) * scale for key, shape in shapes.items()}


def test_parameters_of_prov_gigapath_add_up_to_those_of_the_whole_model():
    """What its authors' class has, with the norm that its embedding passes over."""
    total = slides.longnet() | slides.longnet_beside()
    assert sum(math.prod(shape) for shape in total.values()) == 86_330_880


def norm(x, state, at, eps):
    return F.layer_norm(x, x.shape[-1:], state[at + ".weight"], state[at + ".bias"], eps)


def linear(x, state, at):
    return x @ state[at + ".weight"].T + state[at + ".bias"]


def dense_branch(query, key, value, segment, ratio):
    """One branch of dilated attention for one head, each token looked at in turn."""
    results, sums = [], []
    length, num_heads, width = query.shape
    segment = min(segment, length)
    padded = math.ceil(segment / ratio) * ratio
    for token in range(length):
        begin = token // segment * segment
        for head in range(num_heads):
            offset = head // math.ceil(num_heads / ratio)
            if (token - begin) % ratio != offset:
                results.append(torch.zeros(width))
                sums.append(torch.tensor(0.0))
                continue
            total, mixed = torch.tensor(0.0), torch.zeros(width)
            for other in range(begin + offset, begin + padded, ratio):
                inside = other < min(begin + segment, length)
                score = key[other, head] @ query[token, head] if inside else torch.tensor(0.0)
                weight = (score / math.sqrt(width)).exp()
                total = total + weight
                mixed = mixed + (weight * value[other, head] if inside else 0)
            results.append(mixed / total)
            sums.append(total)
    return (
        torch.stack(results).reshape(length, num_heads, width),
        torch.stack(sums).reshape(length, num_heads, 1),
    )


@settings(max_examples=15, deadline=None)
@given(
    length=st.integers(1, 23),
    segments=st.tuples(st.integers(2, 6), st.integers(4, 9), st.integers(7, 30)),
    seed=st.integers(0, 99),
)
def test_dilated_attention_equals_a_loop_over_tokens(length, segments, seed):
    ratios = [1, 2, 4]
    query, key, value = torch.randn(
        3, length, 6, 4, generator=torch.Generator().manual_seed(seed)
    ).unbind()
    branches = [
        dense_branch(query, key, value, segment, ratio)
        for segment, ratio in zip(segments, ratios, strict=True)
    ]
    total = sum(weight for _, weight in branches)
    wanted = sum(result * weight / total for result, weight in branches)
    found = longnet.dilated_attention(query, key, value, segments=list(segments), ratios=ratios)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


def test_dilated_attention_does_not_depend_on_how_it_is_blocked(monkeypatch):
    query, key, value = torch.randn(3, 50, 4, 8).unbind()
    options = {"segments": [16, 40], "ratios": [1, 2]}
    whole = longnet.dilated_attention(query, key, value, **options)
    monkeypatch.setattr(longnet, "_SCORE_ELEMENTS", {"cpu": 70})
    blocked = longnet.dilated_attention(query, key, value, **options)
    torch.testing.assert_close(blocked, whole, atol=1e-6, rtol=1e-5)


def test_one_segment_without_dilation_is_ordinary_attention():
    query, key, value = torch.randn(3, 17, 4, 8).unbind()
    found = longnet.dilated_attention(query, key, value, segments=[64], ratios=[1])
    parts = (part.transpose(0, 1) for part in (query, key, value))
    wanted = F.scaled_dot_product_attention(*parts).transpose(0, 1)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def tiny_longnet(**options):
    settings = {"tile_dim": 6, "dim": 16, "depth": 2, "num_heads": 4, "side": 9}
    settings |= {"segments": "4,8", "ratios": "1,2"} | options
    module = longnet.build(**settings).eval()
    state = drawn(slides.longnet(tile_dim=6, dim=16, depth=2) | slides.longnet_beside(dim=16))
    module.load_state_dict(longnet.rename(state), strict=True)
    return module, state


def test_longnet_equals_the_published_order_of_operations():
    module, state = tiny_longnet()
    cells = torch.tensor([[0, 0], [0, 3], [1, 1], [4, 2], [8, 8]])
    tiles = torch.randn(5, 6)
    x = (
        linear(tiles, state, "patch_embed.proj")
        + table_of_positions(9, 16)[cells @ torch.tensor([9, 1])]
    )
    x = torch.cat([state["cls_token"][0], x])
    for i in range(2):
        at = f"encoder.layers.{i}."
        normed = norm(x, state, at + "self_attn_layer_norm", 1e-5)
        parts = [
            linear(normed, state, f"{at}self_attn.{p}_proj").unflatten(1, (4, 4)) for p in "qkv"
        ]
        mixed = longnet.dilated_attention(*parts, segments=[4, 8], ratios=[1, 2]).flatten(1)
        mixed = norm(mixed, state, at + "self_attn.inner_attn_ln", 1e-5)
        x = x + linear(mixed, state, at + "self_attn.out_proj")
        hidden = F.gelu(
            linear(norm(x, state, at + "final_layer_norm", 1e-5), state, at + "ffn.fc1")
        )
        x = x + linear(norm(hidden, state, at + "ffn.ffn_layernorm", 1e-5), state, at + "ffn.fc2")
    wanted = norm(x[1:].mean(0), state, "norm", 1e-6)
    torch.testing.assert_close(module(tiles, cells), wanted, atol=1e-4, rtol=1e-4)


def table_of_positions(side, dim):
    """Masked autoencoders' table of a grid: index runs over rows, the column comes first."""
    rows = []
    for row in range(side):
        for column in range(side):
            values = []
            for place in (column, row):
                angles = [place / 10000 ** (i / (dim / 4)) for i in range(dim // 4)]
                values += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            rows.append(values)
    return torch.tensor(rows)


def test_longnet_takes_tiles_in_its_own_order_and_refuses_what_lies_outside_its_grid():
    module, _ = tiny_longnet()
    cells = torch.tensor([[0, 0], [3, 0], [1, 1], [4, 2], [8, 8], [8, 1], [2, 2]])
    tiles = torch.randn(7, 6)
    order = torch.tensor([5, 0, 3, 6, 1, 4, 2])
    torch.testing.assert_close(module(tiles[order], cells[order]), module(tiles, cells))
    with pytest.raises(InputError, match="9 tiles from the slide's corner"):
        module(tiles, cells + 1)


@pytest.mark.parametrize("num_heads", [1, 2, 8, 12, 20])
def test_slopes_are_those_of_press_et_al(num_heads):
    """For 12 heads: the eight of 2^-1 to 2^-8, then four of those that 16 heads would have."""
    found = titan.alibi_slopes(num_heads)
    below = 2 ** int(math.log2(num_heads))
    wanted = [2 ** (-8 * i / below) for i in range(1, below + 1)]
    wanted += [2 ** (-8 * i / (2 * below)) for i in range(1, 2 * below + 1, 2)]
    assert found == pytest.approx(wanted[:num_heads])


def naive_alibi(cells, num_heads):
    """Minus slope times distance, tile by tile; nothing for the class token."""
    slopes = titan.alibi_slopes(num_heads)
    bias = np.zeros((num_heads, len(cells) + 1, len(cells) + 1))
    for i, (x1, y1) in enumerate(cells.tolist()):
        for j, (x2, y2) in enumerate(cells.tolist()):
            away = math.hypot(x1 - x2, y1 - y2)
            for head, slope in enumerate(slopes):
                bias[head, i + 1, j + 1] = -slope * away
    return torch.from_numpy(bias).float()


def test_alibi_equals_a_loop_over_tiles_for_any_block_of_rows():
    cells = torch.randint(0, 90, (11, 2))
    attention = titan.AlibiAttention(12, 12)
    wanted = naive_alibi(cells, 12)
    for start, stop in ((0, 12), (0, 1), (1, 5), (7, 12)):
        found = attention.bias(cells.float(), start, stop)[0]
        torch.testing.assert_close(found, wanted[:, start:stop], atol=1e-5, rtol=1e-5)


def tiny_titan():
    module = titan.build(dim=24, depth=2, num_heads=3).eval()
    state = drawn(slides.titan(dim=24, depth=2) | slides.titan_beside(dim=24))
    module.load_state_dict(titan.rename(state), strict=True)
    return module, state


def test_titan_equals_the_published_order_of_operations(monkeypatch):
    monkeypatch.setattr(titan, "_BIAS_ELEMENTS", 70)
    module, state = tiny_titan()
    state = {k.removeprefix("vision_encoder."): v for k, v in state.items()}
    cells = torch.tensor([[0, 0], [2, 1], [5, 5], [1, 7], [0, 3]])
    tiles = torch.randn(5, 24)
    x = torch.cat([state["cls_token"][0], F.gelu(linear(tiles, state, "patch_embed.0"))])
    for i in range(2):
        at = f"blocks.modules_list.{i}."
        qkv = linear(norm(x, state, at + "norm1", 1e-6), state, at + "attn.qkv").chunk(3, -1)
        query, key, value = (part.unflatten(1, (3, 8)).transpose(0, 1) for part in qkv)
        scores = query @ key.mT / math.sqrt(8) + naive_alibi(cells, 3)
        mixed = (scores.softmax(-1) @ value).transpose(0, 1).flatten(1)
        x = x + linear(mixed, state, at + "attn.proj")
        hidden = F.gelu(linear(norm(x, state, at + "norm2", 1e-6), state, at + "mlp.fc1"))
        x = x + linear(hidden, state, at + "mlp.fc2")
    pool = {k.removeprefix("attn_pool_contrastive."): v for k, v in state.items()}
    tokens = norm(norm(x, state, "norm", 1e-6), pool, "ln_k", 1e-5)
    query = norm(pool["query"], pool, "ln_q", 1e-5)
    weights, biases = pool["attn.in_proj_weight"].chunk(3), pool["attn.in_proj_bias"].chunk(3)
    parts = [y @ w.T + b for y, w, b in zip((query, tokens, tokens), weights, biases, strict=True)]
    query, key, value = (part.unflatten(1, (8, 3)).transpose(0, 1) for part in parts)
    mixed = ((query @ key.mT / math.sqrt(3)).softmax(-1) @ value).transpose(0, 1).flatten(1)
    wanted = linear(mixed, pool, "attn.out_proj")[0]
    torch.testing.assert_close(module(tiles, cells), wanted, atol=1e-4, rtol=1e-4)


def test_titan_knows_distances_only_and_sums_tiles_of_one_cell():
    module, _ = tiny_titan()
    cells, tiles = torch.randint(0, 30, (9, 2)), torch.randn(9, 24)
    cells[1] = cells[0]
    order = torch.randperm(9)
    found = module(tiles, cells)
    torch.testing.assert_close(module(tiles[order], cells[order]), found, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(module(tiles, cells.flip(1) + 400), found, atol=1e-4, rtol=1e-3)
    merged = torch.cat([tiles[:1] + tiles[1:2], tiles[2:]])
    torch.testing.assert_close(module(merged, cells[1:]), found, atol=1e-5, rtol=1e-4)


def test_chief_averages_the_embeddings_themselves():
    state = drawn(
        slides.chief(dim=12, project=8, hidden=4) | slides.chief_beside(project=8, hidden=4),
        scale=1,
    )
    module = mil.build_chief(dim=12, project=8, hidden=4).eval()
    module.load_state_dict(mil.rename_chief(state), strict=True)
    tiles, cells = torch.randn(30, 12), torch.zeros(30, 2, dtype=torch.long)
    hidden = linear(tiles, state, "attention_net.0").relu()
    left = linear(hidden, state, "attention_net.3.attention_a.0").tanh()
    right = linear(hidden, state, "attention_net.3.attention_b.0").sigmoid()
    weight = linear(left * right, state, "attention_net.3.attention_c").softmax(0)
    torch.testing.assert_close(module(tiles, cells), (weight * tiles).sum(0))
    order = torch.randperm(30)
    torch.testing.assert_close(module(tiles[order], cells), module(tiles, cells))
