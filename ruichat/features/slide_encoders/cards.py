"""Slide encoders that can be chosen by name; reading their cards loads no torch."""

from __future__ import annotations

from ruichat.features.card import Architecture
from ruichat.features.slide_encoders.card import SlideEncoderCard
from ruichat.registry import Registry

SLIDE_ENCODERS: Registry[SlideEncoderCard] = Registry("slide encoder", "ruichat.slide_encoders")

_MEAN = SlideEncoderCard(
    name="mean",
    title="Mean",
    pooling="mean of all tiles",
    license="Apache-2.0",
    source="no weights",
    loader="ruichat.features.slide_encoders.mil:load_mean",
)

_ABMIL = SlideEncoderCard(
    name="abmil",
    title="Gated attention",
    pooling="mean weighted by gated attention",
    license="of the weights given",
    files=("abmil.safetensors",),
    source="Ilse et al. 2018, arXiv:1802.04712",
    note="has no published weights: train some and give them; they name their tile encoder",
    loader="ruichat.features.slide_encoders.mil:load_abmil",
)

_CHIEF = SlideEncoderCard(
    name="chief",
    title="CHIEF",
    dim=768,
    tile_encoder="ctranspath",
    tile_dim=768,
    tile_px=256,
    tile_mpp=1.0,
    pooling="mean of the embeddings as they came, weighted by gated attention",
    license="AGPL-3.0-only",
    files=("CHIEF_pretraining.pth",),
    num_parameters=656_641,
    source="https://github.com/hms-dbmi/CHIEF, doi:10.1038/s41586-024-07894-z",
    note="for CTransPath's weights in CHIEF's release, CHIEF_CTransPath.pth; the anatomic site "
    "acts behind this embedding",
    architecture=Architecture(
        build="ruichat.features.slide_encoders.mil:build_chief",
        rename="ruichat.features.slide_encoders.mil:rename_chief",
    ),
)

_TITAN = SlideEncoderCard(
    name="titan",
    title="TITAN",
    dim=768,
    tile_encoder="conch-v1.5",
    tile_dim=768,
    tile_px=512,
    tile_mpp=0.5,
    positions="from the first tile",
    pooling="one learned query over all tiles, before the projection onto texts",
    license="CC-BY-NC-ND-4.0",
    gated=True,
    hub="MahmoodLab/TITAN",
    files=("model.safetensors",),
    revision="dac6773d9961cfc75503440676ff157a2c6e8d2e",
    num_parameters=45_486_336,
    source="https://huggingface.co/MahmoodLab/TITAN, arXiv:2411.19666",
    architecture=Architecture(
        build="ruichat.features.slide_encoders.titan:build",
        rename="ruichat.features.slide_encoders.titan:rename",
    ),
)

_PROV_GIGAPATH = SlideEncoderCard(
    name="prov-gigapath-slide",
    title="Prov-GigaPath, slide encoder",
    dim=768,
    tile_encoder="prov-gigapath",
    tile_dim=1536,
    tile_px=256,
    tile_mpp=0.5,
    positions="from the slide's corner",
    pooling="mean over tiles after the last layer, then a norm",
    license="Apache-2.0",
    gated=True,
    hub="prov-gigapath/prov-gigapath",
    files=("slide_encoder.pth",),
    revision="eba85dd46097c3eedfcc2a3a9a930baecb6bcc19",
    num_parameters=86_329_344,
    source="https://github.com/prov-gigapath/prov-gigapath, doi:10.1038/s41586-024-07441-w",
    note="tiles are taken column by column: the order tells in dilated attention. TRIDENT takes "
    "the layer before the last",
    architecture=Architecture(
        build="ruichat.features.slide_encoders.longnet:build",
        rename="ruichat.features.slide_encoders.longnet:rename",
    ),
)

for _card in (_MEAN, _ABMIL, _CHIEF, _TITAN, _PROV_GIGAPATH):
    SLIDE_ENCODERS.add(_card)
