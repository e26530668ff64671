"""Cards of encoders with architectures of their own: CONCH, MUSK, CTransPath, PLIP."""

from __future__ import annotations

from ruichat.features.card import Architecture, EncoderCard, hub_page
from ruichat.features.encoders.architectures import SHAPES

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)

_CONCH = EncoderCard(
    name="conch",
    title="CONCH",
    dim=512,
    tile_px=512,
    tile_mpp=0.5,
    mean=_CLIP_MEAN,
    std=_CLIP_STD,
    resize_px=448,
    crop_px=448,
    interpolation="bicubic",
    pooling="one learned query over all tokens, before the projection onto texts",
    license="CC-BY-NC-ND-4.0",
    gated=True,
    hub="MahmoodLab/CONCH",
    files=("pytorch_model.bin",),
    revision="f9ca9f877171a28ade80228fb195ac5d79003357",
    num_parameters=87_567_104,
    source="https://github.com/mahmoodlab/CONCH, doi:10.1038/s41591-024-02856-4",
    note="tiles of 512 px as TRIDENT cuts them for it",
    architecture=Architecture(
        build="ruichat.features.encoders.conch:build",
        rename="ruichat.features.encoders.conch:rename",
    ),
)

_CONCH_V15 = EncoderCard(
    name="conch-v1.5",
    title="CONCH v1.5",
    dim=768,
    tile_px=512,
    tile_mpp=0.5,
    resize_px=448,
    crop_px=448,
    interpolation="bilinear",
    pooling="one learned query over all tokens",
    license="CC-BY-NC-ND-4.0",
    gated=True,
    hub="MahmoodLab/conchv1_5",
    files=("pytorch_model_vision.bin", "conch_v1_5_pytorch_model.bin"),
    revision="3e5766a5d1500d53c73c03005e24c30c1f27be13",
    num_parameters=306_109_184,
    source="https://huggingface.co/MahmoodLab/TITAN, arXiv:2411.19666",
    note="the tile encoder of TITAN",
    architecture=Architecture(
        build="ruichat.features.encoders.conch:build_v15",
        rename="ruichat.features.encoders.conch:rename_v15",
    ),
)


def _musk(*, name: str, two_scales: bool) -> EncoderCard:
    scales = "CLS token, then the mean of those of the four quarters at twice the size"
    return EncoderCard(
        name=name,
        title="MUSK, two scales" if two_scales else "MUSK",
        dim=2048 if two_scales else 1024,
        tile_px=384,
        tile_mpp=0.5,
        mean=_HALF,
        std=_HALF,
        resize_px=384,
        crop_px=384,
        interpolation="bicubic",
        pooling=scales if two_scales else "CLS token, before the head for retrieval",
        license="CC-BY-NC-ND-4.0",
        gated=True,
        hub="xiangjx/musk",
        files=("model.safetensors", "musk.pth"),
        num_parameters=303_938_560,
        source="https://github.com/lilab-stanford/MUSK, doi:10.1038/s41586-024-08378-w",
        note="what its authors advise for classifiers of tiles and slides; five times the work"
        if two_scales
        else "no public source pins its revision",
        architecture=Architecture(
            build="ruichat.features.encoders.musk:build",
            rename="ruichat.features.encoders.musk:rename",
            options={"two_scales": two_scales},
        ),
    )


_CTRANSPATH = EncoderCard(
    name="ctranspath",
    title="CTransPath",
    dim=768,
    tile_px=256,
    tile_mpp=1.0,
    resize_px=224,
    crop_px=224,
    interpolation="bilinear",
    pooling="mean of the last stage's tokens",
    license="GPL-3.0-only",
    files=("ctranspath.pth", "CHIEF_CTransPath.pth"),
    num_parameters=27_520_038,
    source="https://github.com/Xiyue-Wang/TransPath, doi:10.1016/j.media.2022.102559",
    note="released for non-commercial academic use; tiles as CHIEF takes them",
    architecture=Architecture(
        build="ruichat.features.encoders.ctranspath:build",
        rename="ruichat.features.encoders.ctranspath:rename",
    ),
)

_PLIP = EncoderCard(
    name="plip",
    title="PLIP",
    dim=512,
    tile_px=224,
    tile_mpp=0.5,
    mean=_CLIP_MEAN,
    std=_CLIP_STD,
    resize_px=224,
    crop_px=224,
    pooling="projected CLS token",
    license="not stated",
    hub="vinid/plip",
    files=("pytorch_model.bin", "model.safetensors"),
    revision="67ade53ddd32195868f422585f72698ef5d15094",
    num_parameters=87_849_216,
    source=hub_page("vinid/plip"),
    note="Trained on pictures of mixed resolution; 0.5 um/px is assumed.",
    architecture=Architecture(
        build="ruichat.features.encoders.clip:build",
        rename="ruichat.features.encoders.clip:rename",
        options={**SHAPES["B"], "patch_px": 32, "image_px": 224, "projection": 512},
    ),
)

TOWERS: tuple[EncoderCard, ...] = (
    _CONCH,
    _CONCH_V15,
    _musk(name="musk", two_scales=False),
    _musk(name="musk-ms", two_scales=True),
    _CTRANSPATH,
    _PLIP,
)
