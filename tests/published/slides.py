"""Layouts of slide encoders, and what their files hold beside."""

from __future__ import annotations

from collections.abc import Callable

from published.towers import query_pool, under
from published.vits import Layout, linear, norm


def titan(*, dim: int = 768, depth: int = 6) -> Layout:
    layout: Layout = {"cls_token": (1, 1, dim)} | linear("patch_embed.0", dim, dim)
    for i in range(depth):
        block = f"blocks.modules_list.{i}."
        layout |= norm(block + "norm1", dim) | linear(block + "attn.qkv", 3 * dim, dim)
        layout |= linear(block + "attn.proj", dim, dim) | norm(block + "norm2", dim)
        layout |= linear(block + "mlp.fc1", 4 * dim, dim) | linear(block + "mlp.fc2", dim, 4 * dim)
    layout |= norm("norm", dim) | under("attn_pool_contrastive.", query_pool(dim, dim))
    return under("vision_encoder.", layout)


def titan_beside(*, dim: int = 768) -> Layout:
    layout = under("vision_encoder.attn_pool.", query_pool(dim, dim, 128))
    layout |= {"vision_encoder.proj": (dim, dim), "logit_scale": ()}
    return layout | {"text_encoder.positional_embedding": (128, 768)}


def longnet(*, tile_dim: int = 1536, dim: int = 768, depth: int = 12) -> Layout:
    layout: Layout = {"cls_token": (1, 1, dim)} | linear("patch_embed.proj", dim, tile_dim)
    for i in range(depth):
        at = f"encoder.layers.{i}."
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            layout |= linear(f"{at}self_attn.{part}", dim, dim)
        layout |= norm(at + "self_attn.inner_attn_ln", dim) | norm(at + "self_attn_layer_norm", dim)
        layout |= linear(at + "ffn.fc1", 4 * dim, dim) | linear(at + "ffn.fc2", dim, 4 * dim)
        layout |= norm(at + "ffn.ffn_layernorm", 4 * dim) | norm(at + "final_layer_norm", dim)
    return layout | norm("norm", dim)


def longnet_beside(*, dim: int = 768) -> Layout:
    return norm("encoder.layer_norm", dim)


def chief(*, dim: int = 768, project: int = 512, hidden: int = 256) -> Layout:
    layout = linear("attention_net.0", project, dim)
    layout |= linear("attention_net.3.attention_a.0", hidden, project)
    layout |= linear("attention_net.3.attention_b.0", hidden, project)
    return layout | linear("attention_net.3.attention_c", 1, hidden)


def chief_beside(*, project: int = 512, hidden: int = 256) -> Layout:
    layout = linear("classifiers", 2, project) | linear("text_to_vision.0", project, 768)
    layout |= linear("instance_classifiers.0", 2, project)
    layout |= linear("instance_classifiers.1", 2, project)
    layout |= linear("att_head.fc1", hidden, project) | linear("att_head.fc2", 1, hidden)
    return layout | {"organ_embedding": (19, 768)}


LAYOUTS: dict[str, Callable[[], Layout]] = {
    "titan": titan,
    "prov-gigapath-slide": longnet,
    "chief": chief,
}

BESIDE: dict[str, Callable[[], Layout]] = {
    "titan": titan_beside,
    "prov-gigapath-slide": longnet_beside,
    "chief": chief_beside,
}
