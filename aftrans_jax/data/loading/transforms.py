"""What happens to an example before the model sees it: resizing, cropping, flipping.

Everything is uint8 on the host; the device casts and normalises.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.opencv import CV2
from aftrans_jax.data.loading.shrinking import shrink_rows

Augment = Callable[[Example, np.random.Generator], Example]


def train_transform(
    example: Example,
    rng: np.random.Generator,
    *,
    image_size: int,
    resize_size: int,
    augment: Augment | None = None,
) -> Example:
    """Returns a random crop of the resized image, mirrored half of the time, with its box.

    Args:
      example: an image of any size, left as it is.
      rng: gives the place of the crop, the flip and what `augment` draws.
      image_size: side of the result in pixels.
      resize_size: side in pixels of the square that the whole image becomes first; its aspect
        ratio is lost.
      augment: applied to the crop last; None for nothing.

    Raises:
      ValueError: the crop is larger than the resized image.

    Follows: TransFG `get_loader` (Resize, RandomCrop, RandomHorizontalFlip).
    """
    margin = _margin(image_size, resize_size)
    top, left = (int(offset) for offset in rng.integers(0, margin, size=2, endpoint=True))
    cropped = _crop(resize(example, resize_size), top, left, image_size)
    flipped = _mirror(cropped) if rng.random() < 0.5 else cropped
    return augment(flipped, rng) if augment else flipped


def test_transform(example: Example, *, image_size: int, resize_size: int) -> Example:
    """Returns the central crop of the resized image, with its box.

    Args:
      example: an image of any size, left as it is.
      image_size: side of the result in pixels.
      resize_size: side in pixels of the square that the whole image becomes first.

    Raises:
      ValueError: the crop is larger than the resized image.

    Follows: TransFG `get_loader` (Resize, CenterCrop).
    """
    offset = _margin(image_size, resize_size) // 2
    return _crop(resize(example, resize_size), offset, offset, image_size)


def _margin(image_size: int, resize_size: int) -> int:
    if not 1 <= image_size <= resize_size:
        raise ValueError(
            f"image_size {image_size} cannot be cropped from resize_size {resize_size}: expected "
            "1 <= image_size <= resize_size. Raise data.resize_ratio to 1 or more."
        )
    return resize_size - image_size


def _crop(example: Example, top: int, left: int, size: int) -> Example:
    image = example.image[top : top + size, left : left + size]
    box = np.clip(example.box - np.array([top, left, top, left], np.float32), 0, size)
    return Example(np.ascontiguousarray(image), example.label, box)


def resize(example: Example, size: int) -> Example:
    """Returns the example resized to a square of `size` pixels, with its box.

    An image of that size is returned as it is.

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
    else:  # by channel: numpy copies reversed rows of whole pixels nine times slower
        image = np.stack([example.image[:, ::-1, channel] for channel in range(3)], axis=-1)
    top, left, bottom, right = example.box
    box = np.array([top, width - right, bottom, width - left], np.float32)
    return Example(image, example.label, box)
