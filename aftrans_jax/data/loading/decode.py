"""Image files to upright RGB pixels."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from aftrans_jax.data.loading.opencv import CV2


def decode_image(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the RGB pixels of an image file, upright according to its EXIF orientation.

    Args:
      path: an image in any format that PIL reads; of an animation, the first frame is taken.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not a complete image; the message names it.
    """
    return decode_bytes(Path(path).read_bytes(), os.fspath(path))


def decode_bytes(data: bytes, name: str) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the RGB pixels of an image file that is in memory, upright as by `decode_image`.

    Greyscale (8 and 16 bits), CMYK and palette images become RGB; an alpha channel is dropped.

    Args:
      data: the contents of the file.
      name: of the image, for the error message.

    Raises:
      ValueError: the data is not a complete image; OpenCV alone may return half of one.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            pixels = _decode_plain_jpeg(data, image)
            return _decode_with_pil(image) if pixels is None else pixels
    except MemoryError:
        raise
    except Exception as error:  # every format has its own: OSError, SyntaxError, RuntimeError...
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "its first bytes are of no known image format" if unknown else str(error)
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
    if CV2 is None or not (plain and upright and complete):
        return None
    flags = CV2.IMREAD_COLOR | CV2.IMREAD_IGNORE_ORIENTATION
    pixels = CV2.imdecode(np.frombuffer(data, np.uint8), flags)
    return None if pixels is None else CV2.cvtColor(pixels, CV2.COLOR_BGR2RGB)


def _decode_with_pil(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel, which `convert` would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "P":  # by way of RGBA: else PIL warns about transparent palette entries
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))
