"""One example, and what happens to it: decoding, resizing, cropping, flipping.

Everything is uint8 on the host; the device casts and normalises. OpenCV decodes JPEG and enlarges
where it is installed, PIL does everything else and everything where it is not. Measured on 543
photos, both decode to the same bytes and enlarge within one grey level of each other. OpenCV does
not shrink: its bilinear filter does not antialias (up to 144 grey levels off at 224 px).
"""

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from aftrans_jax.data.shrinking import shrink_rows


def _import_cv2() -> ModuleType | None:
    try:
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)  # the loader's threads have one image each
    return cv2


_CV2 = _import_cv2()


class Example(NamedTuple):
    """One labelled image.

    `image` is RGB, `label` counts from 0, `box` is (top, left, bottom, right), half-open, in pixels
    of this image, four times NaN where nothing is annotated.

    Choice: a box is always there, so that batches have one shape for every data set.
    """

    image: UInt8[np.ndarray, "height width 3"]
    label: int
    box: Float32[np.ndarray, "4"]


Augment = Callable[[Example, np.random.Generator], Example]


def decode_image(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the RGB pixels of an image file, upright according to its EXIF orientation.

    Args:
      path: an image in any format that PIL reads; of an animation, the first frame counts.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not a complete image; the message names it.

    Choice: one decoder for files and for the records of other sets, see `decode_bytes`.
    """
    return decode_bytes(Path(path).read_bytes(), os.fspath(path))


def decode_bytes(data: bytes, name: str) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the RGB pixels of the contents of an image file, see `decode_image`.

    Greyscale (8 and 16 bits), CMYK and palette images become RGB; an alpha channel is dropped.

    Args:
      data: the contents of the file.
      name: by which the error message calls it.

    Raises:
      ValueError: the data is not a complete image.

    Choice: a truncated file is an error, where OpenCV alone may return half an image.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            pixels = _decode_plain_jpeg(data, image)
            return _decode_with_pil(image) if pixels is None else pixels
    except MemoryError:
        raise
    except Exception as error:  # every format has its own: OSError, SyntaxError, RuntimeError...
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "no image format begins like this" if unknown else str(error)
        raise ValueError(
            f"cannot decode {name!r} ({len(data)} bytes): {reason}. Expected a complete image file "
            "(JPEG, PNG, ...); fetch it again, or take it off the list of images."
        ) from error


def _decode_plain_jpeg(
    data: bytes, image: Image.Image
) -> UInt8[np.ndarray, "height width 3"] | None:
    """Returns OpenCV's pixels, or None where OpenCV and PIL could disagree."""
    plain = image.format == "JPEG" and image.mode in ("RGB", "L")
    upright = image.getexif().get(0x0112, 1) in (0, 1)
    # OpenCV 4.10 and 4.11 fill a truncated image with the one before it (opencv issue 26488).
    complete = data.endswith(b"\xff\xd9")
    if _CV2 is None or not (plain and upright and complete):
        return None
    flags = _CV2.IMREAD_COLOR | _CV2.IMREAD_IGNORE_ORIENTATION
    pixels = _CV2.imdecode(np.frombuffer(data, np.uint8), flags)
    return None if pixels is None else _CV2.cvtColor(pixels, _CV2.COLOR_BGR2RGB)


def _decode_with_pil(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel, which `convert` would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "P":  # by way of RGBA, or PIL warns about transparent palette entries
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


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
      augment: what is done to the crop at last, None for nothing.

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
    """Returns the example as a square of `size` pixels, with its box; one of that size as it is.

    Follows: PIL `Image.resize`, bilinear.
    """
    height, width, _ = example.image.shape
    if height == width == size:
        return example
    scale = size / np.array([height, width, height, width], np.float32)
    if _CV2 is not None and max(height, width) <= 2 * size:
        image = _resize_with_cv2(example.image, size)
    else:
        square = Image.fromarray(example.image).resize((size, size), Image.Resampling.BILINEAR)
        image = np.asarray(square)
    return Example(image, example.label, example.box * scale)


def _resize_with_cv2(
    image: UInt8[np.ndarray, "height width 3"], size: int
) -> UInt8[np.ndarray, "size size 3"]:
    # Columns before rows, as PIL does, for the pixels are rounded in between.
    assert _CV2 is not None
    height, width, _ = image.shape
    if width > size:
        image = _CV2.transpose(shrink_rows(_CV2.transpose(image), size))
    if height > size:
        enlarged = _CV2.resize(image, (size, height), interpolation=_CV2.INTER_LINEAR)
        return shrink_rows(enlarged, size)
    return _CV2.resize(image, (size, size), interpolation=_CV2.INTER_LINEAR)


def _mirror(example: Example) -> Example:
    width = example.image.shape[1]
    if _CV2 is not None:
        image = _CV2.flip(example.image, 1)
    else:  # by channel: numpy copies reversed rows of whole pixels nine times slower
        image = np.stack([example.image[:, ::-1, channel] for channel in range(3)], axis=-1)
    top, left, bottom, right = example.box
    box = np.array([top, width - right, bottom, width - left], np.float32)
    return Example(image, example.label, box)
