"""AutoAugment's ImageNet policy, as TransFG applies it to Stanford Cars and iNaturalist 2017.

TransFG copies DeepVoltaire's implementation. Where torchvision's defaults differ, this follows
TransFG: rotations are always counter-clockwise, not in both directions; borders are filled with
grey, not black; the thresholds of solarize start from 256, not 255; shearing interpolates
bicubically, not by nearest neighbour.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from PIL import Image, ImageEnhance, ImageOps

from aftrans_jax.data.examples import Example

_Box = Float32[np.ndarray, "4"]
_Enhancer = type[
    ImageEnhance.Color | ImageEnhance.Contrast | ImageEnhance.Sharpness | ImageEnhance.Brightness
]

FILL_COLOR = (128, 128, 128)

# Rows of two (operation, probability, magnitude from 0 to 9): Cubuk et al. 2018, ImageNet.
# The last five rows repeat earlier ones; TransFG has all but the very last.
POLICY: tuple[tuple[tuple[str, float, int], ...], ...] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 5)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 4), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 7)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 2)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 8), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 2)),
    (("equalize", 0.0, 7), ("equalize", 0.8, 8)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 8)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 9)),
    (("color", 0.4, 0), ("equalize", 0.6, 3)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 5)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
)


def auto_augment(example: Example, rng: np.random.Generator) -> Example:
    """Returns the example after the operations of one row of `POLICY`, drawn uniformly.

    A box becomes the smallest one around its moved corners, clipped to the image.

    Args:
      example: example with an image of any size, which is not changed.
      rng: random generator for the row, which of its operations are applied, and their signs.

    Follows: TransFG `AutoAugImageNetPolicy`, with all 25 rows of AutoAugment's paper, not 24.
    """
    image = Image.fromarray(example.image)
    box = example.box
    for name, probability, magnitude in POLICY[rng.integers(len(POLICY))]:
        if rng.random() < probability:
            operation = OPERATIONS[name]
            level = float(np.linspace(operation.first, operation.last, 10)[magnitude])
            image, box = apply_at(operation, level, image, box, rng)
    return Example(np.asarray(image), example.label, box)


def _shear_x(image: Image.Image, slope: float) -> Image.Image:
    """Moves every row to the left by `slope` times its distance from the top edge."""
    to_source = (1, slope, 0, 0, 1, 0)
    affine = Image.Transform.AFFINE
    bicubic = Image.Resampling.BICUBIC
    return image.transform(image.size, affine, to_source, bicubic, fillcolor=FILL_COLOR)


def _shear_box(box: _Box, slope: float, image: Image.Image) -> _Box:
    return map_corners(box, np.array([[1, -slope], [0, 1]]), (0.0, 0.0), image)


def _rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Rotates the image counter-clockwise about its centre."""
    return image.rotate(degrees, fillcolor=FILL_COLOR)


def _rotate_box(box: _Box, degrees: float, image: Image.Image) -> _Box:
    cos = math.cos(math.radians(degrees))
    sin = math.sin(math.radians(degrees))
    centre = (image.height / 2, image.width / 2)
    return map_corners(box, np.array([[cos, sin], [-sin, cos]]), centre, image)


def map_corners(
    box: _Box, matrix: Float[np.ndarray, "2 2"], origin: tuple[float, float], image: Image.Image
) -> _Box:
    """Returns the box around corners transformed by `matrix` in (row, column) around `origin`."""
    top, left, bottom, right = box
    corners = np.array([(top, left), (top, right), (bottom, left), (bottom, right)], np.float64)
    corners = np.clip((corners - origin) @ matrix + origin, 0, (image.height, image.width))
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32)


def enhance(enhancer: _Enhancer, image: Image.Image, change: float) -> Image.Image:
    """Returns the image moved away from the enhancer's plain one, or closer if `change` < 0."""
    return enhancer(image).enhance(1 + change)


def _posterize(image: Image.Image, bits: float) -> Image.Image:
    return ImageOps.posterize(image, round(bits))


def _solarize(image: Image.Image, threshold: float) -> Image.Image:
    """Inverts values that are at or above the threshold."""
    return ImageOps.solarize(image, math.ceil(threshold))


class Operation(NamedTuple):
    """An operation of `POLICY`.

    `apply` and `move` change an image and a box by a level, which goes from `first` at magnitude 0
    to `last` at magnitude 9; where it is `signed`, half of the levels drawn are negated.

    Follows: TransFG `SubPolicy`.
    """

    apply: Callable[[Image.Image, float], Image.Image]
    first: float = 0.0
    last: float = 0.0
    signed: bool = False
    move: Callable[[_Box, float, Image.Image], _Box] = lambda box, _level, _image: box


def apply_at(
    operation: Operation,
    level: float,
    image: Image.Image,
    box: _Box,
    rng: np.random.Generator,
) -> tuple[Image.Image, _Box]:
    """Returns image and box after an operation at a level, whose sign is drawn if it has one."""
    level *= -1 if operation.signed and rng.random() < 0.5 else 1
    image = operation.apply(image, level)
    return image, operation.move(box, level, image)


OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        "shear_x": Operation(_shear_x, last=0.3, signed=True, move=_shear_box),
        "rotate": Operation(_rotate, last=30.0, move=_rotate_box),
        "color": Operation(partial(enhance, ImageEnhance.Color), last=0.9, signed=True),
        "contrast": Operation(partial(enhance, ImageEnhance.Contrast), last=0.9, signed=True),
        "sharpness": Operation(partial(enhance, ImageEnhance.Sharpness), last=0.9, signed=True),
        "posterize": Operation(_posterize, first=8.0, last=4.0),
        "solarize": Operation(_solarize, first=256.0),
        "autocontrast": Operation(lambda image, _: ImageOps.autocontrast(image)),
        "equalize": Operation(lambda image, _: ImageOps.equalize(image)),
        "invert": Operation(lambda image, _: ImageOps.invert(image)),
    }
)
