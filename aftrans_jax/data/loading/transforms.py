"""Transforms of an example before the model sees it: resizing, cropping, flipping.

Everything is uint8 on the host; the device casts and normalises.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.opencv import CV2
from aftrans_jax.data.loading.shrinking import shrink_rows

Augment = Callable[[Example, np.random.Generator], Example]
# Resized image, random generator, side of the result in pixels -> a crop.
Crop = Callable[[Example, np.random.Generator, int], Example]

_SMALLEST_AREA = 0.08  # fraction of the image
_WIDEST = 4 / 3  # width over height, and height over width
_ATTEMPTS = 10


def random_crop(example: Example, rng: np.random.Generator, image_size: int) -> Example:
    """Returns a crop of that size from a random place in a square image, with its box.

    Raises:
      ValueError: the crop is larger than the image.

    Follows: torchvision `RandomCrop`.
    """
    margin = _margin(image_size, len(example.image))
    top, left = (int(offset) for offset in rng.integers(0, margin, size=2, endpoint=True))
    return _crop(example, top, left, image_size, image_size)


def random_resized_crop(example: Example, rng: np.random.Generator, image_size: int) -> Example:
    """Returns a crop of random area, aspect ratio and place, resized to a square, with its box.

    The area is uniform from 8 to 100 % of the image; the ratio of width to height log-uniform from
    3/4 to 4/3. Where ten draws do not fit into the image, the crop is the full image.

    Follows: torchvision `RandomResizedCrop`.
    """
    height, width, _ = example.image.shape
    for _ in range(_ATTEMPTS):
        area = height * width * rng.uniform(_SMALLEST_AREA, 1)
        aspect = math.exp(rng.uniform(-math.log(_WIDEST), math.log(_WIDEST)))
        rows = round(math.sqrt(area / aspect))
        cols = round(math.sqrt(area * aspect))
        if 0 < rows <= height and 0 < cols <= width:
            top = int(rng.integers(0, height - rows, endpoint=True))
            left = int(rng.integers(0, width - cols, endpoint=True))
            return resize(_crop(example, top, left, rows, cols), image_size)
    return resize(example, image_size)


CROPS: Mapping[str, Crop] = MappingProxyType(
    {"random": random_crop, "resized": random_resized_crop}
)


def train_transform(
    example: Example,
    rng: np.random.Generator,
    *,
    image_size: int,
    resize_size: int,
    crop: Crop = random_crop,
    augment: Augment | None = None,
) -> Example:
    """Returns a random crop of the resized image, mirrored half of the time, with its box.

    Args:
      example: example with an image of any size, which is not changed.
      rng: random generator for the place of the crop, the flip and `augment`.
      image_size: side of the result in pixels.
      resize_size: side in pixels of the square that the full image is resized to first; its aspect
        ratio is lost.
      crop: function that crops the resized image, one of `CROPS`.
      augment: function applied to the crop last; None for nothing.

    Raises:
      ValueError: the crop is larger than the resized image.

    Follows: TransFG `get_loader` (Resize, RandomCrop, RandomHorizontalFlip).
    """
    cropped = crop(resize(example, resize_size), rng, image_size)
    flipped = _mirror(cropped) if rng.random() < 0.5 else cropped
    return augment(flipped, rng) if augment else flipped


def test_transform(example: Example, *, image_size: int, resize_size: int) -> Example:
    """Returns the central crop of the resized image, with its box.

    Args:
      example: example with an image of any size, which is not changed.
      image_size: side of the result in pixels.
      resize_size: side in pixels of the square that the full image is resized to first.

    Raises:
      ValueError: the crop is larger than the resized image.

    Follows: TransFG `get_loader` (Resize, CenterCrop).
    """
    offset = _margin(image_size, resize_size) // 2
    return _crop(resize(example, resize_size), offset, offset, image_size, image_size)


def seen_part(
    pixels: UInt8[np.ndarray, "height width 3"], sizes: Mapping[str, int], longest: int
) -> UInt8[np.ndarray, "rows cols 3"]:
    """Returns the middle of a photo, which the model is given, at its own aspect ratio.

    Args:
      pixels: pixels of the photo.
      sizes: `image_size` and `resize_size` in pixels, see `test_transform`.
      longest: longest side in px; larger parts are shrunk to it.
    """
    share = sizes["image_size"] / sizes["resize_size"]
    height, width, _ = pixels.shape
    box = tuple(
        side * (1 + sign * share) / 2 for sign, side in itertools.product((-1, 1), (width, height))
    )
    scale = min(1, longest / (share * max(height, width)))
    size = [max(1, round(scale * share * side)) for side in (width, height)]
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, box=box))


def _margin(image_size: int, resize_size: int) -> int:
    if not 1 <= image_size <= resize_size:
        raise ValueError(
            f"image_size {image_size} cannot be cropped from resize_size {resize_size}: expected "
            "1 <= image_size <= resize_size. Raise data.resize_ratio to 1 or more."
        )
    return resize_size - image_size


def _crop(example: Example, top: int, left: int, height: int, width: int) -> Example:
    image = example.image[top : top + height, left : left + width]
    box = example.box - np.array([top, left, top, left], np.float32)
    box = np.clip(box, 0, np.array([height, width, height, width], np.float32))
    return Example(np.ascontiguousarray(image), example.label, box)


def resize(example: Example, size: int) -> Example:
    """Returns the example resized to a square of `size` pixels, with its box.

    An image of that size is returned unchanged.

    Follows: PIL `Image.resize`, bilinear; where OpenCV enlarges, within one grey level.
    """
    height, width, _ = example.image.shape
    if height == width == size:
        return example
    scale = size / np.array([height, width, height, width], np.float32)
    if CV2 is not None and max(height, width) <= 2 * size:
        image = _resize_with_cv2(example.image, size)
    else:
        square = Image.fromarray(example.image).resize((size, size), Image.Resampling.BILINEAR)
        image = np.asarray(square)
    return Example(image, example.label, example.box * scale)


def _resize_with_cv2(
    image: UInt8[np.ndarray, "height width 3"], size: int
) -> UInt8[np.ndarray, "size size 3"]:
    # Columns before rows, as in PIL: pixels are rounded in between, so the order matters.
    assert CV2 is not None
    height, width, _ = image.shape
    if width > size:
        image = CV2.transpose(shrink_rows(CV2.transpose(image), size))
    if height > size:
        enlarged = CV2.resize(image, (size, height), interpolation=CV2.INTER_LINEAR)
        return shrink_rows(enlarged, size)
    return CV2.resize(image, (size, size), interpolation=CV2.INTER_LINEAR)


def _mirror(example: Example) -> Example:
    width = example.image.shape[1]
    if CV2 is not None:
        image = CV2.flip(example.image, 1)
    else:  # by channel: numpy takes nine times as long to copy reversed rows of RGB pixels
        image = np.stack([example.image[:, ::-1, channel] for channel in range(3)], axis=-1)
    top, left, bottom, right = example.box
    box = np.array([top, width - right, bottom, width - left], np.float32)
    return Example(image, example.label, box)
