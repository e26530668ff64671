"""Cards of vision transformers trained on histology and published as models of timm.

Transforms, poolings and licences are those of the model cards named in `source`. Revisions are
commits that public code pins or that a public copy of the repository's page shows with the file;
where none was found the field is empty.
"""

from __future__ import annotations

from ruichat.features.card import Architecture, EncoderCard, hub_page
from ruichat.features.encoders.architectures import SHAPES, timm_vit

_CLS = "CLS token"
_CLS_MEAN = "CLS token, then mean of the patch tokens"
_MEAN_OPTIMUS = (0.707223, 0.578729, 0.703617)
_STD_OPTIMUS = (0.211883, 0.230117, 0.177517)
_HALF = (0.5, 0.5, 0.5)
_CC_NC_ND = "CC-BY-NC-ND-4.0"
_SAFETENSORS_OR_BIN = ("model.safetensors", "pytorch_model.bin")
_HERE = "ruichat.features.encoders"

UNI = EncoderCard(
    name="uni",
    title="UNI",
    dim=1024,
    tile_px=256,
    tile_mpp=0.5,
    resize_px=224,
    interpolation="bilinear",
    pooling=_CLS,
    license=_CC_NC_ND,
    gated=True,
    hub="MahmoodLab/UNI",
    files=("pytorch_model.bin",),
    revision="b55a5ec6cade1a39edfe6534189a9b8ca7a022f0",
    num_parameters=303_350_784,
    source=hub_page("MahmoodLab/UNI"),
    architecture=timm_vit(SHAPES["L"], patch_px=16),
)

UNI2_H = EncoderCard(
    name="uni2-h",
    title="UNI2-h",
    dim=1536,
    tile_px=256,
    tile_mpp=0.5,
    resize_px=224,
    interpolation="bilinear",
    pooling=_CLS,
    license=_CC_NC_ND,
    gated=True,
    hub="MahmoodLab/UNI2-h",
    files=("pytorch_model.bin",),
    revision="d517a8dd47902dd7c308b3c36f63bce47e7b9a43",
    num_parameters=681_394_176,
    source=hub_page("MahmoodLab/UNI2-h"),
    architecture=timm_vit(
        {"width": 1536, "depth": 24, "heads": 24},
        patch_px=14,
        registers=8,
        mlp="swiglu",
        positions="patches",
    ),
)

VIRCHOW = EncoderCard(
    name="virchow",
    title="Virchow",
    dim=2560,
    tile_px=224,
    tile_mpp=0.5,
    resize_px=224,
    crop_px=224,
    pooling=_CLS_MEAN,
    license="Apache-2.0",
    gated=True,
    hub="paige-ai/Virchow",
    files=_SAFETENSORS_OR_BIN,
    revision="19eebc84ae33e79f1b2d866e6ff90ae50e522f9a",
    num_parameters=631_229_184,
    source=hub_page("paige-ai/Virchow"),
    architecture=timm_vit(SHAPES["H"], patch_px=14, mlp="swiglu", pooling="cls+mean"),
)

VIRCHOW2 = EncoderCard(
    name="virchow2",
    title="Virchow2",
    dim=2560,
    tile_px=224,
    tile_mpp=0.5,
    resize_px=224,
    crop_px=224,
    pooling=f"{_CLS_MEAN} without registers",
    license=_CC_NC_ND,
    gated=True,
    hub="paige-ai/Virchow2",
    files=_SAFETENSORS_OR_BIN,
    revision="3158645804b69e3f3bc4439d4116edddf0840a72",
    num_parameters=631_239_424,
    source=hub_page("paige-ai/Virchow2"),
    architecture=timm_vit(SHAPES["H"], patch_px=14, registers=4, mlp="swiglu", pooling="cls+mean"),
)

H_OPTIMUS_0 = EncoderCard(
    name="h-optimus-0",
    title="H-optimus-0",
    dim=1536,
    tile_px=224,
    tile_mpp=0.5,
    mean=_MEAN_OPTIMUS,
    std=_STD_OPTIMUS,
    pooling=_CLS,
    license="Apache-2.0",
    gated=True,
    hub="bioptimus/H-optimus-0",
    files=_SAFETENSORS_OR_BIN,
    revision="b145cc1e6c6b30d3251aa8b1f844e6974188a743",
    num_parameters=1_134_774_272,
    source=hub_page("bioptimus/H-optimus-0"),
    architecture=timm_vit(SHAPES["g"], patch_px=14, registers=4, mlp="swiglu", positions="patches"),
)

H_OPTIMUS_1 = EncoderCard(
    name="h-optimus-1",
    title="H-optimus-1",
    dim=1536,
    tile_px=224,
    tile_mpp=0.5,
    mean=_MEAN_OPTIMUS,
    std=_STD_OPTIMUS,
    pooling=_CLS,
    license=_CC_NC_ND,
    gated=True,
    hub="bioptimus/H-optimus-1",
    files=_SAFETENSORS_OR_BIN,
    revision="3592cb220dec7a150c5d7813fb56e68bd57473b9",
    num_parameters=1_134_774_272,
    source=hub_page("bioptimus/H-optimus-1"),
    architecture=timm_vit(SHAPES["g"], patch_px=14, registers=4, mlp="swiglu", positions="patches"),
)

H0_MINI = EncoderCard(
    name="h0-mini",
    title="H0-mini",
    dim=1536,
    tile_px=224,
    tile_mpp=0.5,
    mean=_MEAN_OPTIMUS,
    std=_STD_OPTIMUS,
    resize_px=224,
    crop_px=224,
    pooling=f"{_CLS_MEAN} without registers",
    license=_CC_NC_ND,
    gated=True,
    hub="bioptimus/H0-mini",
    files=_SAFETENSORS_OR_BIN,
    revision="5b5cc0505d19ae558270045eb0df8c34df4d9609",
    num_parameters=85_739_520,
    source=hub_page("bioptimus/H0-mini"),
    note="The CLS token alone, the first 768 numbers, is used too.",
    architecture=timm_vit(
        SHAPES["B"],
        patch_px=14,
        registers=4,
        mlp="swiglu",
        positions="patches",
        pooling="cls+mean",
    ),
)

PROV_GIGAPATH = EncoderCard(
    name="prov-gigapath",
    title="Prov-GigaPath tile encoder",
    dim=1536,
    tile_px=256,
    tile_mpp=0.5,
    resize_px=256,
    crop_px=224,
    pooling=_CLS,
    license="Apache-2.0",
    gated=True,
    hub="prov-gigapath/prov-gigapath",
    files=("pytorch_model.bin",),
    revision="64f9e26c15019f2d4f6d9113c6822f88bb16b01b",
    num_parameters=1_134_953_984,
    source=hub_page("prov-gigapath/prov-gigapath"),
    note="Its authors ask for research use only.",
    architecture=timm_vit(SHAPES["g"], patch_px=16, mlp="swiglu"),
)


def _kaiko(
    size: str,
    patch_px: int,
    num_parameters: int,
    revision: str,
    *,
    suffix: str = "",
    resampled: str = "",
    architecture: Architecture | None = None,
) -> EncoderCard:
    words = {"S": "small", "B": "base", "L": "large"}
    letter = size.lower()
    maker = "224.kaiko_ai_towards_large_pathology_fms"
    width = SHAPES[size]["width"]
    assert isinstance(width, int)
    return EncoderCard(
        name=f"kaiko-vit{letter}{patch_px}",
        title=f"Kaiko ViT-{size}/{patch_px}",
        dim=width,
        tile_px=256,
        tile_mpp=0.5,
        mean=_HALF,
        std=_HALF,
        resize_px=224,
        crop_px=224,
        interpolation="bilinear",
        pooling=_CLS,
        license="Kaiko Non-Commercial Public License 1",
        hub=f"1aurent/vit_{words[size]}_patch{patch_px}{suffix}_{maker}",
        files=("model.safetensors", f"vit{letter}{patch_px}.pth"),
        revision=revision,
        num_parameters=num_parameters,
        source="https://github.com/kaiko-ai/towards_large_pathology_fms",
        note=f"Trained at 0.25 to 2 um/px{resampled}.",
        architecture=architecture or timm_vit(SHAPES[size], patch_px=patch_px, layer_scale=False),
    )


KAIKO = (
    _kaiko("S", 8, 21_670_272, "003775444da0119f90ca63e2b86e454fd06ba797"),
    _kaiko("S", 16, 21_665_664, "48560ea39969fe44b7b2ab057de01484243a7d43"),
    _kaiko("B", 8, 85_807_872, "a4eb74de76274a5f3fe8260841a1b07a90930f43"),
    _kaiko("B", 16, 85_798_656, "797c524a94c7fdae8ea33064d0ac6966ed8956bb"),
    _kaiko(
        "L",
        14,
        304_370_688,
        "d86df45eccdb957aa7869bab7d11f8e158dcbda2",
        suffix="_reg4",
        resampled="; its position embeddings for 518 px are resampled to 224",
        architecture=Architecture(
            build=f"{_HERE}.vit:build",
            rename=f"{_HERE}.dino_names:rename_teacher_or_timm",
            options={"body": "dinov2", **SHAPES["L"], "patch_px": 14, "registers": 4},
            rename_options={"body": "dinov2", "positions": "patches", "grid": 16},
        ),
    ),
)

EXAONEPATH = EncoderCard(
    name="exaonepath",
    title="EXAONEPath 1.0",
    dim=768,
    tile_px=256,
    tile_mpp=0.5,
    resize_px=256,
    crop_px=224,
    stain_target="macenko_target/target_TCGA-55-A48X_coords_[19440  9824]_[4096 4096].png",
    pooling=_CLS,
    license="EXAONEPath AI Model License Agreement 1.0 - NC",
    gated=True,
    hub="LGAI-EXAONE/EXAONEPath",
    files=(*_SAFETENSORS_OR_BIN, "EXAONEPath.ckpt"),
    revision="383a1247a2c543d2a04787eb9a71292f74c9ce9f",
    num_parameters=85_798_656,
    source="https://github.com/LG-AI-EXAONE/EXAONEPath",
    note="Tiles are given the stains of an image that is published with the weights.",
    architecture=timm_vit(SHAPES["B"], patch_px=16, layer_scale=False),
)

TIMM: tuple[EncoderCard, ...] = (
    UNI,
    UNI2_H,
    VIRCHOW,
    VIRCHOW2,
    H_OPTIMUS_0,
    H_OPTIMUS_1,
    H0_MINI,
    PROV_GIGAPATH,
    *KAIKO,
    EXAONEPATH,
)
