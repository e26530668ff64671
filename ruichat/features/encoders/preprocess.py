"""Published transforms of tiles: stains, resize, crop, scale, normalise.

torchvision's transforms hand resizing of images to Pillow, so the pixels here are theirs; where
stains are normalised before, authors resize tensors, which torch does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.features.card import EncoderCard, Interpolation

if TYPE_CHECKING:
    from ruichat.features.encoders.macenko import Stains

Pixels = NDArray[np.uint8] | NDArray[np.float32]
"""Red, green and blue in 0 to 255: bytes, or not rounded where stains were normalised."""


def prepare(
    tiles: UInt8[NDArray[np.uint8], "n h w 3"], card: EncoderCard, stains: Stains | None = None
) -> Float32[NDArray[np.float32], "n 3 r c"]:
    """Tiles as the encoder's network takes them.

    Raises:
        InputError: the tiles don't have a size that the card's transform takes.
    """
    return normalise(fit(tiles, card, stains), card.mean, card.std)


def fit(
    tiles: UInt8[NDArray[np.uint8], "n h w 3"], card: EncoderCard, stains: Stains | None = None
) -> Pixels:
    """Tiles [n,r,c,3] with the stains, and resized and cropped, as the card says.

    Args:
        tiles: as they are on the slide.
        card: of the encoder.
        stains: of the image that the card names, where it names one.

    Returns:
        In bytes, but float32 where there are stains.

    Raises:
        InputError: that doesn't give the size that the network takes.
    """
    assert bool(card.stain_target) == (stains is not None), f"{card.name}: stains and card differ"
    height, width = tiles.shape[1:3]
    fitted: Pixels = tiles
    if stains is not None:
        from ruichat.features.encoders.macenko import normalise_stains

        fitted = normalise_stains(tiles, stains)
    if card.resize_px is not None:
        fitted = resize_shorter(fitted, card.resize_px, card.interpolation)
    if card.crop_px is not None:
        fitted = crop_centre(fitted, card.crop_px)
    if fitted.shape[1:3] != (card.input_px, card.input_px):
        raise InputError(
            f"tiles of {width} x {height} px don't become the {card.input_px} x {card.input_px} px "
            f"that encoder {card.name!r} takes",
            hint=f"Cut square tiles of {card.tile_px} px",
        )
    return fitted


def resize_shorter(tiles: Pixels, side: int, interpolation: Interpolation) -> Pixels:
    """Tiles [n,h,w,3] whose shorter side is `side` pixels; the longer one follows, rounded down.

    Source:
        torchvision.transforms.Resize of an integer size, on Pillow images; of tensors where tiles
        aren't bytes.
    """
    height, width = tiles.shape[1:3]
    if min(height, width) == side:
        return tiles
    if height <= width:
        size = (int(side * width / height), side)
    else:
        size = (side, int(side * height / width))
    if tiles.dtype != np.uint8:
        return _resize_floats(tiles, size, interpolation)
    from PIL import Image

    method = getattr(Image.Resampling, interpolation.upper())
    resized = np.empty((len(tiles), size[1], size[0], 3), np.uint8)
    for i, tile in enumerate(tiles):
        resized[i] = np.asarray(Image.fromarray(tile).resize(size, method))
    return resized


def _resize_floats(tiles: Pixels, size: tuple[int, int], interpolation: Interpolation) -> Pixels:
    import torch

    channels_first = torch.from_numpy(tiles).permute(0, 3, 1, 2)
    resized: Any = torch.nn.functional.interpolate(
        channels_first, size[::-1], mode=interpolation, antialias=True
    )
    return resized.permute(0, 2, 3, 1).numpy()


def crop_centre(tiles: Pixels, side: int) -> Pixels:
    """The middle `side` x `side` pixels of each tile [n,h,w,3].

    Source:
        torchvision.transforms.CenterCrop, which rounds half to even.

    Raises:
        InputError: the tiles are smaller.
    """
    height, width = tiles.shape[1:3]
    if min(height, width) < side:
        raise InputError(
            f"tiles of {width} x {height} px are smaller than the {side} px that the encoder crops",
            hint="Cut tiles of the size that its card states",
        )
    top, left = round((height - side) / 2), round((width - side) / 2)
    return tiles[:, top : top + side, left : left + side]


def normalise(
    tiles: Pixels, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Float32[NDArray[np.float32], "n 3 h w"]:
    """Pixels [n,h,w,3] scaled to 0 to 1, minus mean, over std, channels first."""
    pixels = np.ascontiguousarray(tiles.transpose(0, 3, 1, 2)).astype(np.float32)
    pixels /= np.float32(255)
    pixels -= np.array(mean, np.float32)[None, :, None, None]
    pixels /= np.array(std, np.float32)[None, :, None, None]
    return pixels
