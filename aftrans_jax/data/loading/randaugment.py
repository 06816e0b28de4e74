"""RandAugment: two of fourteen operations, all equally likely and equally strong."""

from functools import partial
from types import MappingProxyType

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageEnhance

from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.autoaugment import (
    FILL_COLOR,
    OPERATIONS,
    Operation,
    apply_at,
    enhance,
    map_corners,
)

NUM_OPERATIONS = 2
MAGNITUDE = 0.9  # fraction of each operation's range: 9 of 10

_Box = Float32[np.ndarray, "4"]
_LARGEST_SHIFT = 150 / 331  # fraction of the side; AutoAugment's 150 px of 331


def _move(image: Image.Image, level: float, matrix: np.ndarray) -> Image.Image:
    """Reads each pixel (x, y) from (x, y) + level x matrix (x, y, 1), grey beyond the edges."""
    to_source = tuple((np.eye(2, 3) + level * matrix).ravel().tolist())
    affine = Image.Transform.AFFINE
    bicubic = Image.Resampling.BICUBIC
    return image.transform(image.size, affine, to_source, bicubic, fillcolor=FILL_COLOR)


def _shear_y(image: Image.Image, slope: float) -> Image.Image:
    """Moves every column up by `slope` times its distance from the left edge."""
    return _move(image, slope, np.array([[0, 0, 0], [1, 0, 0]]))


def _shear_box(box: _Box, slope: float, image: Image.Image) -> _Box:
    return map_corners(box, np.array([[1, 0], [-slope, 1]]), (0.0, 0.0), image)


def _shift(image: Image.Image, share: float, axis: int) -> Image.Image:
    """Moves the image to the left, or with axis 1 up, by a fraction of its side."""
    matrix = np.zeros((2, 3))
    matrix[axis, 2] = image.size[axis]
    return _move(image, share, matrix)


def _shift_box(box: _Box, share: float, image: Image.Image, axis: int) -> _Box:
    width, height = image.size
    shift = (share * height, 0.0) if axis else (0.0, share * width)
    edges = box - np.array([*shift, *shift], np.float32)
    return np.clip(edges, 0, np.array([height, width, height, width], np.float32))


def _shifting(axis: int) -> Operation:
    apply = partial(_shift, axis=axis)
    move = partial(_shift_box, axis=axis)
    return Operation(apply, last=_LARGEST_SHIFT, signed=True, move=move)


# AutoAugment's operations, except inverting, and those of RandAugment's paper that TransFG lacks.
RAND_OPERATIONS = MappingProxyType(
    {
        "identity": Operation(lambda image, _: image),
        "autocontrast": OPERATIONS["autocontrast"],
        "equalize": OPERATIONS["equalize"],
        "rotate": OPERATIONS["rotate"]._replace(signed=True),
        "solarize": OPERATIONS["solarize"],
        "color": OPERATIONS["color"],
        "posterize": OPERATIONS["posterize"],
        "contrast": OPERATIONS["contrast"],
        "brightness": Operation(partial(enhance, ImageEnhance.Brightness), last=0.9, signed=True),
        "sharpness": OPERATIONS["sharpness"],
        "shear_x": OPERATIONS["shear_x"],
        "shear_y": Operation(_shear_y, last=0.3, signed=True, move=_shear_box),
        "translate_x": _shifting(axis=0),
        "translate_y": _shifting(axis=1),
    }
)
_NAMES = tuple(RAND_OPERATIONS)


def rand_augment(example: Example, rng: np.random.Generator) -> Example:
    """Returns the example after two operations, each drawn uniformly, at nine tenths of its range.

    A box becomes the smallest one around its moved corners, clipped to the image.

    Args:
      example: example with an image of any size, which is not changed.
      rng: random generator for the operations and their signs.

    The fourteen operations and how they are drawn are those of Cubuk et al., "RandAugment", 2020,
    with N = 2 and M = 9 of 10: both are always applied. timm leaves each of them out with
    probability 0.5, and has inverting and adding before solarizing in the place of the identity.

    Follows: timm's "rand-m9-inc1" in one thing: every operation is stronger at a higher magnitude.
    """
    image = Image.fromarray(example.image)
    box = example.box
    for number in rng.integers(len(_NAMES), size=NUM_OPERATIONS):
        operation = RAND_OPERATIONS[_NAMES[number]]
        level = operation.first + MAGNITUDE * (operation.last - operation.first)
        image, box = apply_at(operation, level, image, box, rng)
    return Example(np.asarray(image), example.label, box)
