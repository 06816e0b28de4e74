"""Photos with boxes, heat maps and crops drawn into their pixels; what pages need is in `photos`.

Uses only numpy and PIL, so that a report can be drawn again from saved arrays, without JAX.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

Pixels = UInt8[np.ndarray, "height width 3"]
Number = float | int | np.floating | np.integer
Box = tuple[Number, Number, Number, Number]  # top, left, bottom, right in pixels
Color = tuple[int, int, int]

PREDICTED = (51, 225, 196)
ANNOTATED = (255, 255, 255)
_RIM = (16, 18, 22)
MAGMA = ("#000004", "#231151", "#5f187f", "#982d80", "#d3436e", "#f8765c", "#feba80", "#fcfdbf")
STRIP_PX = 320  # smaller images are enlarged to about this


class Picture(NamedTuple):
    """The part of a photo that the model sees, in the photo's own proportions.

    Attributes:
      name: file name or id.
      image: pixels, at any size.
      box: region that the local branch read, in pixels of `image`; None for a model without one.
      relevance: one value >= 0 for each patch, whose grid covers the image.
      annotated_box: annotated box in pixels of `image`.
    """

    name: str
    image: Pixels
    box: Box | None = None
    relevance: Float[np.ndarray, "rows cols"] | None = None
    annotated_box: Box | None = None


def draw_box(image: Pixels, box: Box, color: Color, width: int) -> Pixels:
    """Returns a copy of the image with the outline of a box, `width` pixels wide.

    The outline is drawn inside a box that is large enough, so it shows even where the box touches
    the image's edge. Parts outside the image are cut; at least one pixel is drawn.

    Raises:
      ValueError: The box has a coordinate that is not finite.
    """
    top, left, bottom, right = _inside(box, image)
    edges = (left, top, right - 1, bottom - 1)
    drawn = Image.fromarray(image)
    ImageDraw.Draw(drawn).rectangle(edges, outline=color, width=width)
    return np.asarray(drawn)


def _inside(box: Box, image: Pixels) -> tuple[int, int, int, int]:
    """Returns the box in whole pixels, at least one, all within the image."""
    if not all(map(math.isfinite, box)):
        raise ValueError(f"box {box} is not finite: expected (top, left, bottom, right) in pixels")
    top, left = (min(max(round(box[i]), 0), image.shape[i] - 1) for i in (0, 1))
    bottom = min(max(round(box[2]), top + 1), image.shape[0])
    return top, left, bottom, min(max(round(box[3]), left + 1), image.shape[1])


def overlay_heat(image: Pixels, relevance: Float[np.ndarray, "rows cols"]) -> Pixels:
    """Returns the image, grey and dimmed, under the colours of its relevance, see `magma`."""
    color = magma(relevance, (image.shape[1], image.shape[0]))
    return (0.35 * image.mean(axis=-1, keepdims=True) + 0.65 * color).round().astype(np.uint8)


def magma(
    relevance: Float[np.ndarray, "rows cols"], size: tuple[int, int]
) -> Float[np.ndarray, "height width 3"]:
    """Returns a colour map of relevance with the given width and height in px, in [0, 255].

    The map is scaled from its own lowest to its own highest value and resized to the image. Cells
    that are not finite count as 0; a constant map is lowest everywhere. Magma's lightness increases
    evenly, so brighter always means more relevant.
    """
    values = np.where(np.isfinite(relevance), relevance, 0).astype(np.float64)
    heat = Image.fromarray(((values - values.min()) / (np.ptp(values) or 1)).astype(np.float32))
    heat = np.asarray(heat.resize(size, Image.Resampling.BILINEAR))
    anchors = np.array([tuple(bytes.fromhex(color[1:])) for color in MAGMA]).T
    return np.stack([np.interp(heat, np.linspace(0, 1, 8), row) for row in anchors], axis=-1)


def strip(picture: Picture) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the image with its boxes, its heat map and its crop, the latter two where known.

    They are side by side, as high as the image, or enlarged by an integer factor where that is
    small; aspect ratios stay.

    Raises:
      ValueError: The image is not uint8 [height width 3], or a box is not finite.
    """
    image = picture.image
    box = picture.box
    relevance = picture.relevance
    check_pixels(picture)
    enlarged, scale = _enlarged(image)
    annotated = _outlined(enlarged, picture.annotated_box, scale, ANNOTATED)
    panels = [_outlined(annotated, box, scale, PREDICTED)]
    if relevance is not None:
        panels.append(_outlined(overlay_heat(enlarged, relevance), box, scale, PREDICTED))
    if box is not None:
        top, left, bottom, right = _inside(box, image)
        crop = Image.fromarray(image[top:bottom, left:right])
        size = max(1, round(len(enlarged) * crop.width / crop.height)), len(enlarged)
        panels.append(np.asarray(crop.resize(size, Image.Resampling.BILINEAR)))
    return np.concatenate(panels, axis=1)


def check_pixels(picture: Picture) -> None:
    """Raises ValueError where the image of a picture is not uint8 [height width 3]."""
    image = picture.image
    if image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.size:
        raise ValueError(
            f"{picture.name!r} is {image.dtype} {image.shape}: pass uint8 [height width 3]"
        )


def _enlarged(image: Pixels) -> tuple[UInt8[np.ndarray, "rows cols 3"], int]:
    """Returns an image enlarged by an integer factor to about `STRIP_PX`, and the factor."""
    scale = max(1, round(STRIP_PX / max(image.shape)))
    return image.repeat(scale, 0).repeat(scale, 1), scale


def _outlined(image: Pixels, box: Box | None, scale: int, color: Color) -> Pixels:
    """Returns an enlarged image with a box of the original, if any, in colour on a dark rim."""
    if box is None:
        return image
    top, left, bottom, right = (scale * float(edge) for edge in box)
    width = max(2, max(image.shape) // 100)
    image = draw_box(image, (top - 1, left - 1, bottom + 1, right + 1), _RIM, width + 2)
    return draw_box(image, (top, left, bottom, right), color, width)
