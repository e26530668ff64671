"""Layouts of CONCH, CONCH v1.5, MUSK and CTransPath, and what their files hold beside."""

from __future__ import annotations

from collections.abc import Callable

from published.vits import Layout, linear, norm, timm_vit


def under(prefix: str, layout: Layout) -> Layout:
    return {prefix + name: shape for name, shape in layout.items()}


def query_pool(dim: int, context: int, queries: int = 1) -> Layout:
    """open_clip's attentional pooler: torch's MultiheadAttention between two norms."""
    layout = {"query": (queries, dim), "attn.in_proj_bias": (3 * dim,)}
    layout |= linear("attn.out_proj", dim, dim) | norm("ln_q", dim) | norm("ln_k", context)
    if dim == context:
        return layout | {"attn.in_proj_weight": (3 * dim, dim)}
    wide = {"attn.k_proj_weight": (dim, context), "attn.v_proj_weight": (dim, context)}
    return layout | wide | {"attn.q_proj_weight": (dim, dim)}


def conch(*, width: int = 768, depth: int = 12, dim: int = 512, grid: int = 28) -> Layout:
    trunk = timm_vit(
        width=width, depth=depth, patch=16, positions=1 + grid * grid, layer_scale=False
    )
    layout = under("visual.trunk.", trunk)
    layout |= under("visual.attn_pool_contrast.", query_pool(dim, width))
    return layout | norm("visual.ln_contrast", dim)


def conch_beside(*, width: int = 768, dim: int = 512) -> Layout:
    layout = under("visual.attn_pool_caption.", query_pool(width, width, 256))
    layout |= norm("visual.ln_caption", width) | {"visual.proj_contrast": (dim, dim)}
    layout |= {"text.cls_emb": (768,), "text.token_embedding.weight": (32007, 768)}
    return layout | {"logit_scale": ()}


def conch_v15(*, width: int = 1024, depth: int = 24, dim: int = 768, grid: int = 14) -> Layout:
    layout = under("trunk.", timm_vit(width=width, depth=depth, patch=16, positions=1 + grid**2))
    at = "attn_pool_contrast."
    layout |= {
        at + "query": (1, dim),
        at + "to_q.weight": (dim, dim),
        at + "to_kv.weight": (2 * dim, width),
        at + "to_out.weight": (dim, dim),
    }
    return layout | norm(at + "ln_q", dim) | norm(at + "ln_k", width) | norm("ln_contrast", dim)


def beit3(way: str, *, dim: int, depth: int, positions: int) -> Layout:
    """One of the two ways through BEiT-3's encoder: A for images, B for text."""
    at = "beit3.encoder."
    layout: Layout = {f"{at}embed_positions.{way}.weight": (positions, dim)}
    for i in range(depth):
        layer = f"{at}layers.{i}."
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            layout |= linear(f"{layer}self_attn.{part}.{way}", dim, dim)
        layout |= norm(f"{layer}self_attn.inner_attn_ln.{way}", dim)
        layout |= norm(f"{layer}self_attn_layer_norm.{way}", dim)
        layout |= linear(f"{layer}ffn.{way}.fc1", 4 * dim, dim)
        layout |= linear(f"{layer}ffn.{way}.fc2", dim, 4 * dim)
        layout |= norm(f"{layer}ffn.{way}.ffn_layernorm", 4 * dim)
        layout |= norm(f"{layer}final_layer_norm.{way}", dim)
    return layout | norm(f"{at}layer_norm.{way}", dim)


def musk(*, dim: int = 1024, depth: int = 24, grid: int = 24) -> Layout:
    layout: Layout = {
        "beit3.vision_embed.cls_token": (1, 1, dim),
        "beit3.vision_embed.proj.weight": (dim, 3, 16, 16),
        "beit3.vision_embed.proj.bias": (dim,),
    }
    return layout | beit3("A", dim=dim, depth=depth, positions=grid * grid + 3)


def musk_beside(*, dim: int = 1024, depth: int = 24, words: int = 64010) -> Layout:
    layout: Layout = {
        "beit3.text_embed.weight": (words, dim),
        "beit3.vision_embed.mask_token": (1, 1, dim),
        "language_head.weight": (dim, dim),
        "vision_head.weight": (dim, dim),
        "logit_scale": (),
    }
    return layout | beit3("B", dim=dim, depth=depth, positions=1024)


def ctranspath(
    *,
    dim: int = 96,
    depths: tuple[int, ...] = (2, 2, 6, 2),
    heads: tuple[int, ...] = (3, 6, 12, 24),
) -> Layout:
    """timm's Swin of that time behind three convolutions."""
    layout: Layout = {
        "patch_embed.proj.0.weight": (dim // 8, 3, 3, 3),
        "patch_embed.proj.3.weight": (dim // 4, dim // 8, 3, 3),
        "patch_embed.proj.6.weight": (dim, dim // 4, 1, 1),
        "patch_embed.proj.6.bias": (dim,),
    }
    layout |= norm("patch_embed.proj.1", dim // 8) | norm("patch_embed.proj.4", dim // 4)
    layout |= norm("patch_embed.norm", dim) | norm("norm", dim * 2 ** (len(depths) - 1))
    for i, depth in enumerate(depths):
        width = dim * 2**i
        for j in range(depth):
            at = f"layers.{i}.blocks.{j}."
            layout |= norm(at + "norm1", width) | norm(at + "norm2", width)
            layout[at + "attn.relative_position_bias_table"] = (13**2, heads[i])
            layout |= linear(at + "attn.qkv", 3 * width, width)
            layout |= linear(at + "attn.proj", width, width)
            layout |= linear(at + "mlp.fc1", 4 * width, width)
            layout |= linear(at + "mlp.fc2", width, 4 * width)
        if i < len(depths) - 1:
            layout[f"layers.{i}.downsample.reduction.weight"] = (2 * width, 4 * width)
            layout |= norm(f"layers.{i}.downsample.norm", 4 * width)
    return layout


def ctranspath_beside(*, dim: int = 96, depths: tuple[int, ...] = (2, 2, 6, 2)) -> Layout:
    layout: Layout = {}
    for at, width in ((1, dim // 8), (4, dim // 4)):
        for name in ("running_mean", "running_var"):
            layout[f"patch_embed.proj.{at}.{name}"] = (width,)
        layout[f"patch_embed.proj.{at}.num_batches_tracked"] = ()
    for i, depth in enumerate(depths):
        for j in range(depth):
            at = f"layers.{i}.blocks.{j}."
            layout[at + "attn.relative_position_index"] = (49, 49)
            if j % 2 and i < len(depths) - 1:
                layout[at + "attn_mask"] = ((8 // 2**i) ** 2, 49, 49)
    return layout


LAYOUTS: dict[str, Callable[[], Layout]] = {
    "conch": conch,
    "conch-v1.5": conch_v15,
    "musk": musk,
    "musk-ms": musk,
    "ctranspath": ctranspath,
}

BESIDE: dict[str, Callable[[], Layout]] = {
    "conch": conch_beside,
    "musk": musk_beside,
    "musk-ms": musk_beside,
    "ctranspath": ctranspath_beside,
}
