"""Cards of vision transformers trained on histology.

Transforms, poolings and licences are those of the model cards named in `source`. Revisions are
commits that public code pins or that a public copy of the repository's page shows with the file;
where none was found the field is empty.
"""

from __future__ import annotations

from ruichat.features.card import Architecture, EncoderCard
from ruichat.features.encoders.architectures import SHAPES, timm_vit, transformers_vit

_CLS = "CLS token"
_CLS_MEAN = "CLS token, then mean of the patch tokens"
_MEAN_OPTIMUS = (0.707223, 0.578729, 0.703617)
_STD_OPTIMUS = (0.211883, 0.230117, 0.177517)
_MEAN_HIBOU = (0.7068, 0.5755, 0.722)
_STD_HIBOU = (0.195, 0.2316, 0.1816)
_HALF = (0.5, 0.5, 0.5)
_CC_NC_ND = "CC-BY-NC-ND-4.0"
_OWKIN = "Owkin non-commercial licence"
_SAFETENSORS_OR_BIN = ("model.safetensors", "pytorch_model.bin")
_HERE = "ruichat.features.encoders"


def _page(hub: str) -> str:
    return f"https://huggingface.co/{hub}"


RUIPATH_V1 = EncoderCard(
    name="ruipath-v1",
    title="RuiPath V1.0",
    dim=1024,
    tile_px=224,
    tile_mpp=0.5,
    resize_px=224,
    pooling=_CLS,
    license="not stated",
    files=("ruipath_visionfoundation_v1.0.bin",),
    num_parameters=303_350_784,
    source="https://www.modelscope.cn/datasets/Ruijin_Hospital/RuiPath_Open_Source_Intro",
    note="Its authors publish neither normalisation nor resolution: ImageNet's and 0.5 um/px "
    "are assumed.",
    architecture=Architecture(
        build=f"{_HERE}.vit:build",
        rename=f"{_HERE}.dino_names:rename_ruipath_v1",
        options={"body": "dinov2", **SHAPES["L"], "patch_px": 16},
    ),
)

RUIPATH_DINOV3 = EncoderCard(
    name="ruipath-dinov3",
    title="RuiPath, DINOv3 form",
    dim=1024,
    tile_px=224,
    tile_mpp=0.5,
    mean=(0.637, 0.464, 0.602),
    std=(0.21, 0.196, 0.184),
    resize_px=224,
    pooling=_CLS,
    license="not stated",
    files=("teacher_checkpoint.pth",),
    num_parameters=303_156_224,
    source="https://github.com/SHDMIC/RuiPath",
    note="The resolution isn't published: 0.5 um/px is assumed. Its training code carries the "
    "DINOv3 License.",
    architecture=Architecture(
        build=f"{_HERE}.vit:build",
        rename=f"{_HERE}.dino_names:rename_ruipath_dinov3",
        options={"body": "dinov3", **SHAPES["L"], "patch_px": 16, "registers": 4, "eps": 1e-5},
    ),
)

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
    source=_page("MahmoodLab/UNI"),
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
    source=_page("MahmoodLab/UNI2-h"),
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
    source=_page("paige-ai/Virchow"),
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
    source=_page("paige-ai/Virchow2"),
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
    source=_page("bioptimus/H-optimus-0"),
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
    source=_page("bioptimus/H-optimus-1"),
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
    source=_page("bioptimus/H0-mini"),
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
    source=_page("prov-gigapath/prov-gigapath"),
    note="Its authors ask for research use only.",
    architecture=timm_vit(SHAPES["g"], patch_px=16, mlp="swiglu"),
)

PHIKON = EncoderCard(
    name="phikon",
    title="Phikon",
    dim=768,
    tile_px=224,
    tile_mpp=0.5,
    resize_px=224,
    interpolation="bilinear",
    pooling=_CLS,
    license=_OWKIN,
    hub="owkin/phikon",
    files=_SAFETENSORS_OR_BIN,
    revision="057cc0295895c2df3dd7681a89680da6015cbefe",
    num_parameters=85_798_656,
    source=_page("owkin/phikon"),
    architecture=transformers_vit("vit", SHAPES["B"], patch_px=16, eps=1e-12),
)

PHIKON_V2 = EncoderCard(
    name="phikon-v2",
    title="Phikon-v2",
    dim=1024,
    tile_px=224,
    tile_mpp=0.5,
    resize_px=224,
    crop_px=224,
    pooling=_CLS,
    license=_OWKIN,
    hub="owkin/phikon-v2",
    files=("model.safetensors",),
    revision="2ae989a9c40cffaa27f0a6cb29cc94d1d6f9a5fd",
    num_parameters=303_351_808,
    source=_page("owkin/phikon-v2"),
    architecture=transformers_vit("dinov2", SHAPES["L"], patch_px=16),
)

MIDNIGHT_12K = EncoderCard(
    name="midnight-12k",
    title="Midnight-12k",
    dim=3072,
    tile_px=224,
    tile_mpp=0.5,
    mean=_HALF,
    std=_HALF,
    resize_px=224,
    crop_px=224,
    interpolation="bilinear",
    pooling=_CLS_MEAN,
    license="MIT",
    hub="kaiko-ai/midnight",
    files=("model.safetensors",),
    revision="adc6b15679c981cce6f9b018bbad09d16eeeda9f",
    num_parameters=1_134_771_200,
    source=_page("kaiko-ai/midnight"),
    note="Position embeddings of another grid are resampled; the count is for 16 x 16.",
    architecture=transformers_vit(
        "dinov2", SHAPES["g"], patch_px=14, mlp="swiglu", pooling="cls+mean", grid=16
    ),
)


def _kaiko(
    name: str, title: str, size: str, patch_px: int, num_parameters: int, revision: str
) -> EncoderCard:
    words = {"S": "small", "B": "base"}
    hub = f"1aurent/vit_{words[size]}_patch{patch_px}_224.kaiko_ai_towards_large_pathology_fms"
    width = SHAPES[size]["width"]
    assert isinstance(width, int)
    return EncoderCard(
        name=name,
        title=title,
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
        hub=hub,
        files=("model.safetensors", f"{name.removeprefix('kaiko-')}.pth"),
        revision=revision,
        num_parameters=num_parameters,
        source="https://github.com/kaiko-ai/towards_large_pathology_fms",
        note="Trained at 0.25 to 2 um/px.",
        architecture=timm_vit(SHAPES[size], patch_px=patch_px, layer_scale=False),
    )


KAIKO_VITL14 = EncoderCard(
    name="kaiko-vitl14",
    title="Kaiko ViT-L/14",
    dim=1024,
    tile_px=256,
    tile_mpp=0.5,
    mean=_HALF,
    std=_HALF,
    resize_px=224,
    crop_px=224,
    interpolation="bilinear",
    pooling=_CLS,
    license="Kaiko Non-Commercial Public License 1",
    hub="1aurent/vit_large_patch14_reg4_224.kaiko_ai_towards_large_pathology_fms",
    files=("model.safetensors", "vitl14.pth"),
    revision="d86df45eccdb957aa7869bab7d11f8e158dcbda2",
    num_parameters=304_370_688,
    source="https://github.com/kaiko-ai/towards_large_pathology_fms",
    note="Trained at 0.25 to 2 um/px; its position embeddings for 518 px are resampled to 224.",
    architecture=Architecture(
        build=f"{_HERE}.vit:build",
        rename=f"{_HERE}.dino_names:rename_teacher_or_timm",
        options={"body": "dinov2", **SHAPES["L"], "patch_px": 14, "registers": 4},
        rename_options={"body": "dinov2", "positions": "patches", "grid": 16},
    ),
)

KAIKO = (
    _kaiko(
        "kaiko-vits8",
        "Kaiko ViT-S/8",
        "S",
        8,
        21_670_272,
        "003775444da0119f90ca63e2b86e454fd06ba797",
    ),
    _kaiko(
        "kaiko-vits16",
        "Kaiko ViT-S/16",
        "S",
        16,
        21_665_664,
        "48560ea39969fe44b7b2ab057de01484243a7d43",
    ),
    _kaiko(
        "kaiko-vitb8",
        "Kaiko ViT-B/8",
        "B",
        8,
        85_807_872,
        "a4eb74de76274a5f3fe8260841a1b07a90930f43",
    ),
    _kaiko(
        "kaiko-vitb16",
        "Kaiko ViT-B/16",
        "B",
        16,
        85_798_656,
        "797c524a94c7fdae8ea33064d0ac6966ed8956bb",
    ),
    KAIKO_VITL14,
)

HIBOU_B = EncoderCard(
    name="hibou-b",
    title="Hibou-B",
    dim=768,
    tile_px=224,
    tile_mpp=0.5,
    mean=_MEAN_HIBOU,
    std=_STD_HIBOU,
    resize_px=224,
    crop_px=224,
    pooling=_CLS,
    license="Apache-2.0",
    hub="histai/hibou-b",
    files=("model.safetensors",),
    revision="7fdc8cce365ebfd9e7e60ee6ee9a8d4d59388f3c",
    num_parameters=85_741_056,
    source=_page("histai/hibou-b"),
    architecture=transformers_vit("dinov2", SHAPES["B"], patch_px=14, registers=4, mlp="swiglu"),
)

HIBOU_L = EncoderCard(
    name="hibou-l",
    title="Hibou-L",
    dim=1024,
    tile_px=224,
    tile_mpp=0.5,
    mean=_MEAN_HIBOU,
    std=_STD_HIBOU,
    resize_px=224,
    crop_px=224,
    pooling=_CLS,
    license="Apache-2.0",
    gated=True,
    hub="histai/hibou-L",
    files=("model.safetensors",),
    num_parameters=303_659_264,
    source=_page("histai/hibou-L"),
    architecture=transformers_vit("dinov2", SHAPES["L"], patch_px=14, registers=4, mlp="swiglu"),
)

GPFM = EncoderCard(
    name="gpfm",
    title="GPFM",
    dim=1024,
    tile_px=224,
    tile_mpp=0.5,
    resize_px=224,
    pooling=_CLS,
    license="MIT",
    hub="majiabo/GPFM",
    files=("GPFM.pth",),
    num_parameters=303_228_928,
    source="https://github.com/birkhoffkiki/GPFM",
    note="Its authors cut 512 px at level 0 and resize to 224. Its hub page once stated "
    "CC-BY-NC-4.0: check it.",
    architecture=Architecture(
        build=f"{_HERE}.vit:build",
        rename=f"{_HERE}.dino_names:rename_teacher",
        options={"body": "dinov2", **SHAPES["L"], "patch_px": 14},
        rename_options={"body": "dinov2"},
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
    pooling=_CLS,
    license="EXAONEPath AI Model License Agreement 1.0 - NC",
    gated=True,
    hub="LGAI-EXAONE/EXAONEPath",
    files=(*_SAFETENSORS_OR_BIN, "EXAONEPath.ckpt"),
    num_parameters=85_798_656,
    source="https://github.com/LG-AI-EXAONE/EXAONEPath",
    note="Published with Macenko stain normalisation to an image that comes with its code; "
    "that isn't applied here.",
    architecture=timm_vit(SHAPES["B"], patch_px=16, layer_scale=False),
)

PLIP = EncoderCard(
    name="plip",
    title="PLIP",
    dim=512,
    tile_px=224,
    tile_mpp=0.5,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    resize_px=224,
    crop_px=224,
    pooling="projected CLS token",
    license="not stated",
    hub="vinid/plip",
    files=("pytorch_model.bin", "model.safetensors"),
    revision="67ade53ddd32195868f422585f72698ef5d15094",
    num_parameters=87_849_216,
    source=_page("vinid/plip"),
    note="Trained on pictures of mixed resolution; 0.5 um/px is assumed.",
    architecture=Architecture(
        build=f"{_HERE}.clip:build",
        rename=f"{_HERE}.clip:rename",
        options={**SHAPES["B"], "patch_px": 32, "image_px": 224, "projection": 512},
    ),
)

PATHOLOGY: tuple[EncoderCard, ...] = (
    RUIPATH_V1,
    RUIPATH_DINOV3,
    UNI,
    UNI2_H,
    VIRCHOW,
    VIRCHOW2,
    H_OPTIMUS_0,
    H_OPTIMUS_1,
    H0_MINI,
    PROV_GIGAPATH,
    PHIKON,
    PHIKON_V2,
    MIDNIGHT_12K,
    *KAIKO,
    HIBOU_B,
    HIBOU_L,
    GPFM,
    EXAONEPATH,
    PLIP,
)
