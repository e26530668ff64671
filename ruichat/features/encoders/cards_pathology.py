"""Cards of vision transformers trained on histology, published in forms other than timm's.

These are training checkpoints and transformers models; sources are as in `cards_timm`.
"""

from __future__ import annotations

from ruichat.features.card import Architecture, EncoderCard, hub_page
from ruichat.features.encoders.architectures import SHAPES, transformers_vit

_CLS = "CLS token"
_CLS_MEAN = "CLS token, then mean of the patch tokens"
_MEAN_HIBOU = (0.7068, 0.5755, 0.722)
_STD_HIBOU = (0.195, 0.2316, 0.1816)
_HALF = (0.5, 0.5, 0.5)
_OWKIN = "Owkin non-commercial licence"
_SAFETENSORS_OR_BIN = ("model.safetensors", "pytorch_model.bin")
_HERE = "ruichat.features.encoders"

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
    source=hub_page("owkin/phikon"),
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
    source=hub_page("owkin/phikon-v2"),
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
    source=hub_page("kaiko-ai/midnight"),
    note="Position embeddings of another grid are resampled; the count is for 16 x 16.",
    architecture=transformers_vit(
        "dinov2", SHAPES["g"], patch_px=14, mlp="swiglu", pooling="cls+mean", grid=16
    ),
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
    source=hub_page("histai/hibou-b"),
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
    source=hub_page("histai/hibou-L"),
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

PATHOLOGY: tuple[EncoderCard, ...] = (
    RUIPATH_V1,
    RUIPATH_DINOV3,
    PHIKON,
    PHIKON_V2,
    MIDNIGHT_12K,
    HIBOU_B,
    HIBOU_L,
    GPFM,
)
