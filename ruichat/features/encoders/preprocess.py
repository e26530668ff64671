"""Published transforms of tiles: resize, crop, scale, normalise; Pillow and NumPy only.

torchvision's transforms hand resizing of images to Pillow, so the pixels here are theirs.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.features.card import EncoderCard, Interpolation


def prepare(
    tiles: UInt8[NDArray[np.uint8], "n h w 3"], card: EncoderCard
) -> Float32[NDArray[np.float32], "n 3 r c"]:
    """Tiles as the encoder's network takes them.

    Raises:
        InputError: the tiles don't have a size that the card's transform takes.
    """
    return normalise(fit(tiles, card), card.mean, card.std)


def fit(
    tiles: UInt8[NDArray[np.uint8], "n h w 3"], card: EncoderCard
) -> UInt8[NDArray[np.uint8], "n r c 3"]:
    """Tiles resized and cropped as the card says, still in bytes.

    Raises:
        InputError: that doesn't give the size that the network takes.
    """
    height, width = tiles.shape[1:3]
    if card.resize_px is not None:
        tiles = resize_shorter(tiles, card.resize_px, card.interpolation)
    if card.crop_px is not None:
        tiles = crop_centre(tiles, card.crop_px)
    if tiles.shape[1:3] != (card.input_px, card.input_px):
        raise InputError(
            f"tiles of {width} x {height} px don't become the {card.input_px} x {card.input_px} px "
            f"that encoder {card.name!r} takes",
            hint=f"Cut square tiles of {card.tile_px} px",
        )
    return tiles


def resize_shorter(
    tiles: UInt8[NDArray[np.uint8], "n h w 3"], side: int, interpolation: Interpolation
) -> UInt8[NDArray[np.uint8], "n r c 3"]:
    """Tiles whose shorter side is `side` pixels; the longer one follows, rounded down.

    Source:
        torchvision.transforms.Resize of an integer size, on Pillow images.
    """
    height, width = tiles.shape[1:3]
    if min(height, width) == side:
        return tiles
    if height <= width:
        size = (int(side * width / height), side)
    else:
        size = (side, int(side * height / width))
    from PIL import Image

    method = getattr(Image.Resampling, interpolation.upper())
    resized = np.empty((len(tiles), size[1], size[0], 3), np.uint8)
    for i, tile in enumerate(tiles):
        resized[i] = np.asarray(Image.fromarray(tile).resize(size, method))
    return resized


def crop_centre(
    tiles: UInt8[NDArray[np.uint8], "n h w 3"], side: int
) -> UInt8[NDArray[np.uint8], "n c c 3"]:
    """The middle `side` x `side` pixels of each tile.

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
    tiles: UInt8[NDArray[np.uint8], "n h w 3"],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Float32[NDArray[np.float32], "n 3 h w"]:
    """Bytes scaled to 0 to 1, minus mean, over std, channels first."""
    pixels = np.ascontiguousarray(tiles.transpose(0, 3, 1, 2)).astype(np.float32)
    pixels /= np.float32(255)
    pixels -= np.array(mean, np.float32)[None, :, None, None]
    pixels /= np.array(std, np.float32)[None, :, None, None]
    return pixels
