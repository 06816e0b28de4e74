"""Image files to upright RGB pixels: every pixel that the file had, or an error that names it."""

import os
import warnings
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from aftrans_jax.data.loading import jpeg, png
from aftrans_jax.data.loading.depth import to_rgb
from aftrans_jax.data.loading.formats import decodable_formats, unknown_content
from aftrans_jax.data.loading.orientation import orientation, turn

MAX_PIXELS = 100_000_000

# Pillow's own limit would refuse what `max_pixels` allows; that one is checked here instead.
Image.MAX_IMAGE_PIXELS = None
# Else they appear on the terminal without the name of a file. As errors they get one below.
warnings.filterwarnings("error", category=UserWarning, module=r"PIL\.")


class Photo(NamedTuple):
    """A decoded image file.

    Attributes:
      pixels: RGB, upright.
      orientation: EXIF's number of the one that the file is stored in, from 1 to 8.
      guess: how the depth of its samples was guessed, "" where the file tells it.
    """

    pixels: UInt8[np.ndarray, "height width 3"]
    orientation: int
    guess: str


class _Contents(NamedTuple):
    stream: bytes
    probe: bytes = b""  # a stream with the same pixels where the file is whole
    exif: bytes = b""
    xmp: bytes = b""


def decode_image(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the RGB pixels of an image file, upright; see `decode_photo`."""
    return read_photo(path, max_pixels=max_pixels).pixels


def read_photo(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Returns the photo in a file; see `decode_photo`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not a complete image of at most `max_pixels`; the message names it.
    """
    return decode_photo(Path(path).read_bytes(), os.fspath(path), max_pixels=max_pixels)


def decode_photo(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Returns the photo in a file that is in memory; of an animation, the first frame.

    Greyscale, CMYK and palette images become RGB, more than 8 bits become 8, and what is
    transparent is shown on white.

    Args:
      data: the contents of the file.
      name: of the image, for the error message.
      max_pixels: an image of more is not decoded.

    Raises:
      ValueError: the data is not a complete image in one of `PHOTO_FORMATS`, or too large.
    """
    try:
        return _decode(data, name, max_pixels)
    except (MemoryError, _TooLargeError):
        raise
    except Exception as error:  # every format has its own: OSError, SyntaxError, RuntimeError...
        unknown = isinstance(error, UnidentifiedImageError)
        reason = unknown_content(data) if unknown else str(error) or type(error).__name__
        raise ValueError(
            f"cannot decode {name!r} ({len(data)} bytes): {reason}. Expected a complete image file "
            "(JPEG, PNG, ...); fetch it again, or take it off the list of images."
        ) from error


class _TooLargeError(ValueError):
    pass


def _decode(data: bytes, name: str, max_pixels: int) -> Photo:
    contents = _contents(data)
    with _open(contents.stream) as image:
        if image.width * image.height > max_pixels:
            raise _TooLargeError(
                f"{name!r} has {image.width:,} x {image.height:,} pixels: expected at most "
                f"data.max_pixels={max_pixels:,}. Shrink it, or raise that limit."
            )
        number, turned = _orientation(image, contents)
        pixels, guess = to_rgb(image, lambda: _open(contents.stream))
        if contents.probe:
            with _open(contents.probe) as other:
                if not np.array_equal(pixels, to_rgb(other, lambda: other).pixels):
                    raise ValueError("its data ends before the image does")
    return Photo(pixels if turned else turn(pixels, number), number, guess)


def _contents(data: bytes) -> _Contents:
    if data.startswith(b"\xff\xd8\xff"):
        return _Contents(*jpeg.read_jpeg(data))
    if data.startswith(png.SIGNATURE):
        stream, exif, xmp = png.read_png(data)
        return _Contents(stream, b"", exif, xmp)
    return _Contents(data)


def _open(stream: bytes) -> ImageFile:
    return Image.open(BytesIO(stream), formats=decodable_formats())


def _orientation(image: ImageFile, contents: _Contents) -> tuple[int, bool]:
    """Returns the orientation that the file is stored in, and whether decoding turns the image."""
    if image.format == "TIFF":
        number = dict(getattr(image, "tag_v2", {})).get(0x0112, 1)
        return (number if number in range(1, 9) else 1), True
    if image.format == "HEIF":
        return image.info.get("original_orientation") or 1, True
    exif = contents.exif or image.info.get("exif", b"")
    return orientation(exif, contents.xmp or image.info.get("xmp", b"")), False
