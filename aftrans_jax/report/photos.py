"""Photos in a page: each is stored once; boxes, maps and crops are drawn over it.

A crop is a view of the same photo, so that nothing is stored twice and aspect ratios stay.
"""

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from aftrans_jax.report.pictures import Box, Picture, Pixels, check_pixels, magma

SIDES_PX = (640, 512, 448, 384, 320, 256, 192)  # longest side, the first at which all fit
_ROOM = 1_900_000  # bytes of all photos and heat maps of a page, which base64 makes a third larger
_CRISP_PX = 128  # images smaller than this are enlarged without smoothing
_HEAT = 4  # px of a heat map's side for each patch


class Rectangle(NamedTuple):
    """A box on a photo, in the photo's px."""

    x: float
    y: float
    width: float
    height: float


class EncodedImage(NamedTuple):
    """An image file in memory; `kind` is "png" or "jpeg"."""

    kind: str
    data: bytes


class EncodedPhoto(NamedTuple):
    """A photo as it is stored in a page.

    Attributes:
      file: image file of the photo.
      width: width in px.
      height: height in px.
      is_crisp: whether it is small, and so to be enlarged without smoothing.
      heat: image file of its relevance in colours, None without.
    """

    file: EncodedImage
    width: int
    height: int
    is_crisp: bool
    heat: EncodedImage | None


def encoded_photos(pictures: Sequence[Picture]) -> list[EncodedPhoto]:
    """Returns photos with their relevance as they are stored in a page.

    Together they take at most about 2 MB, if the smallest size allows.

    Raises:
      ValueError: an image is not uint8 [height width 3].
    """
    photos = []
    least = 0.0  # lower bound of the bytes per px of the side, squared
    for side in SIDES_PX:
        if least * side**2 > _ROOM and side > SIDES_PX[-1]:
            continue  # files shrink no faster than their area
        photos = [encoded_photo(picture, side) for picture in pictures]
        size = sum(len(file.data) for x in photos for file in (x.file, x.heat) if file)
        if size <= _ROOM:
            break
        least = size / side**2
    return photos


def encoded_photo(picture: Picture, side: int = SIDES_PX[0]) -> EncodedPhoto:
    """Returns a photo with its relevance as it is stored in a page, without its boxes.

    Args:
      picture: the photo.
      side: longest side in px; a larger photo is shrunk to it.

    Raises:
      ValueError: the image is not uint8 [height width 3].
    """
    check_pixels(picture)
    photo = Image.fromarray(picture.image)
    photo.thumbnail((side, side), Image.Resampling.LANCZOS)
    is_crisp = max(photo.size) < _CRISP_PX
    file = _encoded(photo, "png" if is_crisp else "jpeg")
    heat = None if picture.relevance is None else _heat(picture.relevance)
    return EncodedPhoto(file, photo.width, photo.height, is_crisp, heat)


def rectangle(box: Box, image: Pixels, photo: EncodedPhoto) -> Rectangle | None:
    """Returns a box of an image on its photo in the page, None where the box is not finite.

    Parts outside the photo are cut; at least a tenth of a px remains.
    """
    if not all(map(math.isfinite, box)):
        return None
    down = photo.height / image.shape[0]
    across = photo.width / image.shape[1]
    top, bottom = (min(max(float(edge) * down, 0.0), photo.height - 0.1) for edge in box[::2])
    left, right = (min(max(float(edge) * across, 0.0), photo.width - 0.1) for edge in box[1::2])
    wide = max(right - left, 0.1)
    high = max(bottom - top, 0.1)
    return Rectangle(*(round(edge, 1) for edge in (left, top, wide, high)))


def _heat(relevance: Float[np.ndarray, "rows cols"]) -> EncodedImage:
    """Returns a map in Magma's colours, larger than its patches so that browsers smooth it."""
    rows, cols = relevance.shape
    colors = magma(relevance, (_HEAT * cols, _HEAT * rows)).round().astype(np.uint8)
    return _encoded(Image.fromarray(colors), "jpeg")


def _encoded(image: Image.Image, kind: str) -> EncodedImage:
    image.save(buffer := io.BytesIO(), kind, quality=82, optimize=True)
    return EncodedImage(kind, buffer.getvalue())
