"""Colour images of 16 bits a sample with all bits, of which Pillow only keeps the highest 8."""

import sys
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image
from PIL.ImageFile import ImageFile

_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def raw_mode(image: Image.Image) -> str:
    """Returns how the samples of an image are stored, by Pillow's names, such as "RGB;16B".

    "" for an image that is decoded already.
    """
    tiles = image.tile if isinstance(image, ImageFile) else []
    args = tiles[0].args if tiles else ""
    return str(args[0] if isinstance(args, tuple) else args)


def highest_bits(
    image: Image.Image, reopen: Callable[[], Image.Image]
) -> UInt8[np.ndarray, "height width channels"]:
    """Returns the highest 8 bits of each sample, colours as they are stored.

    Args:
      image: image of 16 bits a sample, not decoded yet; this decodes it, except where colours are
        multiplied by alpha, which Pillow divides out.
      reopen: opens the same image again.
    """
    raw = raw_mode(image)
    return _decoded_as(reopen(), f"RGBA{raw[4:]}") if raw[:4] == "RGBa" else np.asarray(image)


def lowest_bits(
    raw: str, reopen: Callable[[], Image.Image]
) -> UInt8[np.ndarray, "height width channels"]:
    """Returns the lowest 8 bits of each sample, see `highest_bits`.

    Pillow keeps the higher byte of each sample; read in the other byte order, it keeps the lower.

    Args:
      raw: `raw_mode` of the image.
      reopen: opens the image again.
    """
    if raw == "LA;16B":  # a pixel has as many bytes as one of RGBA
        return _decoded_as(reopen(), "RGBA")[..., [1, 1, 1, 3]]
    return _decoded_as(reopen(), raw[:-1].replace("a", "A") + _OTHER_ORDER[raw[-1]])


def joined(
    high: UInt8[np.ndarray, "*shape"], low: UInt8[np.ndarray, "*shape"]
) -> UInt16[np.ndarray, "*shape"]:
    """Returns samples of 16 bits."""
    return high.astype(np.uint16) << 8 | low


def _decoded_as(image: Image.Image, raw: str) -> UInt8[np.ndarray, "height width channels"]:
    if not isinstance(image, ImageFile):
        raise ValueError(f"an image of mode {image.mode} was not opened from a file")
    image.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
        for tile in image.tile
    ]
    return np.asarray(image)
