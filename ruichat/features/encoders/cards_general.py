"""Cards of DINOv2 and DINOv3, trained on photographs: what the histology encoders start from."""

from __future__ import annotations

from ruichat.features.card import EncoderCard, Plain, hub_page
from ruichat.features.encoders.architectures import SHAPES, transformers_vit

_H_PLUS: dict[str, Plain] = {"width": 1280, "depth": 32, "heads": 20}


def _dinov2(size: str, shape: dict[str, Plain], num_parameters: int, revision: str) -> EncoderCard:
    hub = f"facebook/dinov2-{size}"
    return EncoderCard(
        name=f"dinov2-{size}",
        title=f"DINOv2 {size}",
        dim=int(shape["width"]),
        tile_px=256,
        tile_mpp=0.5,
        resize_px=256,
        crop_px=224,
        pooling="CLS token",
        license="Apache-2.0",
        hub=hub,
        files=("model.safetensors", "pytorch_model.bin"),
        revision=revision,
        num_parameters=num_parameters,
        source=hub_page(hub),
        note="Trained on photographs; its position embeddings for 518 px are resampled to 224.",
        architecture=transformers_vit(
            "dinov2",
            shape,
            patch_px=14,
            mlp="swiglu" if size == "giant" else "gelu",
            grid=16,
        ),
    )


def _dinov3(
    size: str, shape: dict[str, Plain], num_parameters: int, revision: str, mlp: str = "gelu"
) -> EncoderCard:
    hub = f"facebook/dinov3-{size}-pretrain-lvd1689m"
    return EncoderCard(
        name=f"dinov3-{size}",
        title=f"DINOv3 {size}",
        dim=int(shape["width"]),
        tile_px=224,
        tile_mpp=0.5,
        resize_px=224,
        interpolation="bilinear",
        pooling="CLS token",
        license="DINOv3 License",
        gated=True,
        hub=hub,
        files=("model.safetensors",),
        revision=revision,
        num_parameters=num_parameters,
        source=hub_page(hub),
        note="Trained on photographs.",
        architecture=transformers_vit(
            "dinov3", shape, patch_px=16, registers=4, mlp=mlp, eps=1e-5, key_bias=False
        ),
    )


GENERAL: tuple[EncoderCard, ...] = (
    _dinov2("small", SHAPES["S"], 22_056_576, "ed25f3a31f01632728cabb09d1542f84ab7b0056"),
    _dinov2("base", SHAPES["B"], 86_580_480, "f9e44c814b77203eaa57a6bdbbd535f21ede1415"),
    _dinov2("large", SHAPES["L"], 304_368_640, "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c"),
    _dinov2("giant", SHAPES["g"], 1_136_480_768, "611a9d42f2335e0f921f1e313ad3c1b7178d206d"),
    _dinov3("vits16", SHAPES["S"], 21_596_544, "114c1379950215c8b35dfcd4e90a5c251dde0d32"),
    _dinov3(
        "vits16plus", SHAPES["S"], 28_692_864, "c93d816fc9e567563bc068f01475bec89cc634a6", "swiglu"
    ),
    _dinov3("vitb16", SHAPES["B"], 85_660_416, "5931719e67bbdb9737e363e781fb0c67687896bc"),
    _dinov3("vitl16", SHAPES["L"], 303_129_600, "ea8dc2863c51be0a264bab82070e3e8836b02d51"),
    _dinov3(
        "vith16plus", _H_PLUS, 840_592_640, "c807c9eeea853df70aec4069e6f56b28ddc82acc", "swiglu"
    ),
)
