"""Transforms of tiles against the published ones, written out by hand and by other code."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from ruichat.errors import InputError
from ruichat.features.encoder import ENCODERS
from ruichat.features.encoders.preprocess import crop_centre, prepare, resize_shorter

IMAGENET = "imagenet"
OPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
NORMS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "hibou": ((0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816)),
    "ruipath": ((0.637, 0.464, 0.602), (0.21, 0.196, 0.184)),
    "optimus": OPTIMUS,
    "clip": CLIP,
}

PUBLISHED = {
    "ruipath-v1": "resize 224 bicubic, imagenet",
    "ruipath-dinov3": "resize 224 bicubic, ruipath",
    "uni": "resize 224 bilinear, imagenet",
    "uni2-h": "resize 224 bilinear, imagenet",
    "virchow": "resize 224 bicubic, crop 224, imagenet",
    "virchow2": "resize 224 bicubic, crop 224, imagenet",
    "h-optimus-0": "optimus",
    "h-optimus-1": "optimus",
    "h0-mini": "resize 224 bicubic, crop 224, optimus",
    "prov-gigapath": "resize 256 bicubic, crop 224, imagenet",
    "phikon": "resize 224 bilinear, imagenet",
    "phikon-v2": "resize 224 bicubic, crop 224, imagenet",
    "midnight-12k": "resize 224 bilinear, crop 224, half",
    "kaiko-vits8": "resize 224 bilinear, crop 224, half",
    "kaiko-vits16": "resize 224 bilinear, crop 224, half",
    "kaiko-vitb8": "resize 224 bilinear, crop 224, half",
    "kaiko-vitb16": "resize 224 bilinear, crop 224, half",
    "kaiko-vitl14": "resize 224 bilinear, crop 224, half",
    "hibou-b": "resize 224 bicubic, crop 224, hibou",
    "hibou-l": "resize 224 bicubic, crop 224, hibou",
    "gpfm": "resize 224 bicubic, imagenet",
    "plip": "resize 224 bicubic, crop 224, clip",
    "conch": "resize 448 bicubic, crop 448, clip",
    "conch-v1.5": "resize 448 bilinear, crop 448, imagenet",
    "musk": "resize 384 bicubic, crop 384, half",
    "musk-ms": "resize 384 bicubic, crop 384, half",
    "ctranspath": "resize 224 bilinear, crop 224, imagenet",
    "dinov2-small": "resize 256 bicubic, crop 224, imagenet",
    "dinov2-base": "resize 256 bicubic, crop 224, imagenet",
    "dinov2-large": "resize 256 bicubic, crop 224, imagenet",
    "dinov2-giant": "resize 256 bicubic, crop 224, imagenet",
    "dinov3-vits16": "resize 224 bilinear, imagenet",
    "dinov3-vits16plus": "resize 224 bilinear, imagenet",
    "dinov3-vitb16": "resize 224 bilinear, imagenet",
    "dinov3-vitl16": "resize 224 bilinear, imagenet",
    "dinov3-vith16plus": "resize 224 bilinear, imagenet",
}
"""As model cards and authors' code write them, in order; then scaled to 0 to 1."""


def tile(height: int, width: int) -> np.ndarray:
    """Smooth and sharp content, so that every filter leaves its mark."""
    rng = np.random.default_rng(height * 1000 + width)
    small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + rng.integers(-60, 60, smooth.shape), 0, 255).astype(np.uint8)


def by_hand(image: Image.Image, steps: str) -> np.ndarray:
    """One tile through a transform in words, step by step in Pillow, in float64."""
    for step in steps.split(", "):
        words = step.split()
        if words[0] == "resize":
            scale = int(words[1]) / min(image.size)
            size = [int(words[1]) if s == min(image.size) else int(s * scale) for s in image.size]
            image = image.resize((size[0], size[1]), Image.Resampling[words[2].upper()])
        elif words[0] == "crop":
            side = int(words[1])
            left, top = round((image.width - side) / 2), round((image.height - side) / 2)
            image = image.crop((left, top, left + side, top + side))
        else:
            mean, std = NORMS[step]
            values = (np.asarray(image) / 255.0 - mean) / std
            return values.transpose(2, 0, 1)
    raise AssertionError(f"{steps} doesn't end in a normalisation")


def test_every_card_is_compared() -> None:
    cards = [ENCODERS.get(name) for name in ENCODERS]
    built = {card.name for card in cards if card.architecture is not None}
    stained = {card.name for card in cards if card.stain_target}
    assert built - stained == set(PUBLISHED)
    assert stained == {"exaonepath"}, "compared in test_macenko.py"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_cards_transform_is_the_published_one(name: str) -> None:
    card, steps = ENCODERS.get(name), PUBLISHED[name]
    sides = [card.tile_px] if "resize" not in steps else [card.tile_px, 300]
    for side in sides:
        tiles = np.stack([tile(side, side), tile(side, side)[::-1]])
        wanted = np.stack([by_hand(Image.fromarray(t), steps) for t in tiles])
        np.testing.assert_allclose(prepare(tiles, card), wanted, atol=2e-6)


@pytest.mark.parametrize(("height", "width"), [(300, 420), (421, 300), (257, 256), (224, 301)])
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_oblong_tiles_keep_their_shape(height: int, width: int, method: str) -> None:
    image = tile(height, width)
    wanted = by_hand(Image.fromarray(image), f"resize 256 {method}, crop 224, half")
    given = crop_centre(resize_shorter(image[None], 256, method), 224)  # type: ignore[arg-type]
    np.testing.assert_array_equal(given[0].transpose(2, 0, 1), np.round((wanted + 1) * 127.5))


@pytest.mark.parametrize(
    ("name", "processor", "settings"),
    [
        ("dinov2-base", "bit.image_processing_pil_bit:BitImageProcessorPil", (256, 224, 3)),
        ("plip", "clip.image_processing_pil_clip:CLIPImageProcessorPil", (224, 224, 3)),
        ("phikon", "vit.image_processing_pil_vit:ViTImageProcessorPil", (224, None, 2)),
    ],
)
def test_transformers_processors_agree(
    name: str, processor: str, settings: tuple[int, int | None, int]
) -> None:
    card, (resize, crop, resample) = ENCODERS.get(name), settings
    module, _, attribute = processor.partition(":")
    found = pytest.importorskip(f"transformers.models.{module}")
    size = {"height": resize, "width": resize} if crop is None else {"shortest_edge": resize}
    process = getattr(found, attribute)(
        size=size,
        crop_size=crop,
        do_center_crop=crop is not None,
        resample=resample,
        image_mean=card.mean,
        image_std=card.std,
    )
    image = tile(300, 300)
    wanted = process(images=Image.fromarray(image), return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(prepare(image[None], card), wanted, atol=2e-6)


def test_torchvisions_transforms_agree() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    card, image = ENCODERS.get("prov-gigapath"), tile(300, 300)
    published = transforms.Compose(
        [
            transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(card.mean, card.std),
        ]
    )
    wanted = published(Image.fromarray(image)).numpy()
    np.testing.assert_allclose(prepare(image[None], card)[0], wanted, atol=2e-6)


def test_tiles_that_dont_fit_are_refused() -> None:
    with pytest.raises(InputError, match="200 x 200 px don't become the 224 x 224 px") as caught:
        prepare(np.zeros((1, 200, 200, 3), np.uint8), ENCODERS.get("h-optimus-0"))
    assert re.search("square tiles of 224 px", caught.value.hint)
    with pytest.raises(InputError, match="300 x 224"):
        prepare(np.zeros((1, 224, 300, 3), np.uint8), ENCODERS.get("uni"))
    with pytest.raises(InputError, match="smaller than the 224 px"):
        crop_centre(np.zeros((1, 100, 300, 3), np.uint8), 224)


def test_no_tiles_stay_no_tiles() -> None:
    card = ENCODERS.get("prov-gigapath")
    assert prepare(np.zeros((0, 256, 256, 3), np.uint8), card).shape == (0, 3, 224, 224)
