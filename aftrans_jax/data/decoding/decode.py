"""Image files to upright RGB pixels: every pixel of the file, or an error that names it."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from aftrans_jax.data.decoding import jpeg, png, tiff
from aftrans_jax.data.decoding.depth import to_rgb
from aftrans_jax.data.decoding.formats import KindError, jpeg2000_bits, open_photo, unknown_content
from aftrans_jax.data.decoding.orientation import orientation, turn, turn_box
from aftrans_jax.files import with_filename

MAX_PIXELS = 100_000_000

_FETCH = "Expected a complete image file (JPEG, PNG, ...); fetch it again"
_CONVERT = "Convert it to grey or RGB of 8 or 16 bits a sample"


class Photo(NamedTuple):
    """A decoded image file.

    Attributes:
      pixels: RGB, upright; all of the file's, or a square that the full image was shrunk to.
      orientation: EXIF's number of the orientation that the file is stored in, from 1 to 8.
      guess: how the depth of its samples was guessed, "" where the file states it.
      height: height of the upright image in the file.
      width: width of the upright image in the file.
    """

    pixels: UInt8[np.ndarray, "rows columns 3"]
    orientation: int
    guess: str
    height: int
    width: int

    def place(self, box: Float32[np.ndarray, "4"]) -> Float32[np.ndarray, "4"]:
        """Returns a box (top, left, bottom, right), given in the file as stored, on the pixels."""
        upright = turn_box(box, self.orientation, self.height, self.width)
        rows, columns, _ = self.pixels.shape
        return upright * np.array([rows / self.height, columns / self.width] * 2, np.float32)


class _Contents(NamedTuple):
    stream: bytes
    probe: bytes = b""  # a stream with the same pixels if the file is complete
    exif: bytes = b""
    xmp: bytes = b""
    can_scale: bool = False  # whether reduced decoding is faster and detects missing data
    bits: int | None = None  # significant bits of a sample, from metadata that Pillow does not give


def decode_image(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the RGB pixels of an image file, upright; see `decode_photo`."""
    return read_photo(path, max_pixels=max_pixels).pixels


def read_photo(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, resize_size: int | None = None
) -> Photo:
    """Returns the photo in a file; see `decode_photo`.

    Raises:
      OSError: there is no such file, or the disk fails; the message names it.
      ValueError: the file is not a complete image of at most `max_pixels`, or a folder or a pipe;
        the message names it.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would wait for its writer
            raise ValueError(f"{os.fspath(path)!r} is no regular file: expected an image file")
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{os.fspath(path)}: there is no such file") from None
    except OSError as error:
        raise with_filename(error, Path(path)) from None
    return decode_photo(data, os.fspath(path), max_pixels=max_pixels, resize_size=resize_size)


def decode_photo(
    data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, resize_size: int | None = None
) -> Photo:
    """Returns the photo in a file's contents; of an animation, the first frame.

    Greyscale, CMYK and palette images become RGB, more than 8 bits become 8, and transparent
    pixels are shown on white.

    A JPEG of one scan without restart markers, whose sides are both four times `resize_size` or
    more, is decoded at a half, a quarter or an eighth of its scale, still twice that size or more,
    and shrunk to that square. For other files a reduced scale would hide missing data.
    Measured against `transforms.resize` of all pixels on 749 photos of 500 px, at 80 px: 0.4 grey
    levels apart in the mean, 18 at most, along edges.

    Args:
      data: contents of the file.
      name: name of the image, for the error message.
      max_pixels: most pixels that an image may have.
      resize_size: side in pixels of the square that the image is for; None for all pixels.

    Raises:
      ValueError: the data is not a complete image in one of `PHOTO_FORMATS`, or too large.
    """
    try:
        return _decode(data, name, max_pixels, resize_size)
    except (MemoryError, _TooLargeError):
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"cannot decode {name!r} ({len(data)} bytes): Pillow's own limit for TIFF, WebP and "
            f"GIF is {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels. Save it as PNG or JPEG, or set "
            "PIL.Image.MAX_IMAGE_PIXELS = None"
        ) from error
    except Exception as error:  # every format has its own: OSError, SyntaxError, RuntimeError...
        reason = unknown_content(data) if isinstance(error, UnidentifiedImageError) else error
        remedy = _CONVERT if isinstance(reason, KindError) else _FETCH
        text = str(reason) or type(reason).__name__
        raise ValueError(
            f"cannot decode {name!r} ({len(data)} bytes): {text}. {remedy}, or take it off the "
            "list of images."
        ) from error


class _TooLargeError(ValueError):
    pass


def _decode(data: bytes, name: str, max_pixels: int, resize_size: int | None) -> Photo:
    contents = _contents(data)
    with _opened(contents.stream) as image:
        if image.width * image.height > max_pixels:
            raise _TooLargeError(
                f"{name!r} has {image.width:,} x {image.height:,} pixels: expected at most "
                f"data.max_pixels={max_pixels:,}. Shrink it; where a run is configured, "
                "--config.data.max_pixels raises that limit."
            )
        if image.format == "PNG":
            png.check_rows(contents.stream)
        number, turned = _orientation(image, contents)
        if contents.can_scale and resize_size and min(image.size) >= 4 * resize_size:
            width, height = image.size if number < 5 else image.size[::-1]
            return Photo(turn(_shrunk(image, resize_size), number), number, "", height, width)
        pixels, guess = to_rgb(image, lambda: _opened(contents.stream), contents.bits)
        if contents.probe:
            with open_photo(contents.probe) as other:
                if not np.array_equal(pixels, to_rgb(other, lambda: other).pixels):
                    raise ValueError("its data ends before the image does")
    upright = pixels if turned else turn(pixels, number)
    return Photo(upright, number, guess, *upright.shape[:2])


def _opened(data: bytes) -> ImageFile:
    return tiff.as_stored(open_photo(data))


def _shrunk(image: ImageFile, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Returns an undecoded JPEG, decoded at a reduced scale and shrunk to a square."""
    # Where a side of the file is no multiple of the scale, the last pixel is partly the image's.
    _, area = image.draft(None, (2 * size, 2 * size)) or ("", None)
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return np.array(rgb.resize((size, size), Image.Resampling.BILINEAR, box=area))


def _contents(data: bytes) -> _Contents:
    if data.startswith(b"\xff\xd8\xff"):
        streams = jpeg.read_jpeg(data)
        return _Contents(*streams, can_scale=not streams.probe)
    if data.startswith(png.SIGNATURE):
        stream, exif, xmp, bits = png.read_png(data)
        return _Contents(stream, b"", exif, xmp, bits=bits)
    if tiff.is_tiff(data):
        return _Contents(tiff.read_tiff(data))
    return _Contents(data, bits=jpeg2000_bits(data))


def _orientation(image: ImageFile, contents: _Contents) -> tuple[int, bool]:
    """Returns the orientation that the file is stored in, and whether decoding turns the image."""
    if image.format == "TIFF":
        number = image.getexif().get(0x0112, 1)  # by which Pillow turns it: XMP's, without a tag
        return (number if number in range(1, 9) else 1), True
    if image.format == "HEIF":
        return image.info.get("original_orientation") or 1, True
    exif = contents.exif or image.info.get("exif", b"")
    return orientation(exif, contents.xmp or image.info.get("xmp", b"")), False
