"""Decoded images of any mode to 8-bit RGB: bit depths and transparency."""

import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image
from PIL.ImageFile import ImageFile

_DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits of a sample that cameras and scanners write
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE = 258, 281  # tags of TIFF
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


class Rgb(NamedTuple):
    """Pixels as RGB; `guess` says how their depth was guessed, "" where the file tells it."""

    pixels: UInt8[np.ndarray, "height width 3"]
    guess: str = ""


def to_rgb(image: Image.Image, reopen: Callable[[], Image.Image]) -> Rgb:
    """Returns an opened image as 8-bit RGB, on white where it is transparent.

    More than 8 bits a sample are reduced to the highest 8. Where the file does not say how many of
    its bits are used, as a TIFF of 12 bits in 16, the largest sample tells.

    Args:
      image: as a rule not yet decoded; of one that is, the bits that it kept are used.
      reopen: opens the same image again.

    Raises:
      ValueError: samples are infinite or NaN.
    """
    if image.mode[0] in "IF":
        values = np.asarray(image)  # decodes, before the file's tags are asked
        grey, guess = _to_uint8(values, _known_bits(image))
        return Rgb(np.repeat(grey[..., None], 3, axis=2), guess)
    wide = image.format == "TIFF" and isinstance(image, ImageFile) and ";16" in _raw_mode(image)
    dark = _dark_tiff(image, reopen) if wide else None
    return dark or Rgb(np.array(_on_white(image)))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBa", "La"):  # colours are multiplied by alpha
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, over)
    return image if image.mode == "RGB" else image.convert("RGB")


def _known_bits(image: Image.Image) -> int | None:
    """Returns how many bits of a sample are used, None where the file does not say."""
    if image.format != "TIFF":
        return 16 if image.mode[0] == "I" else None  # PNG, PPM, JPEG 2000: Pillow scales to 16
    tags: Mapping[int, object] = getattr(image, "tag_v2", {})
    largest, bits = (
        value[0] if isinstance(value := tags.get(tag), tuple) and value else value
        for tag in (_MAX_SAMPLE_VALUE, _BITS_PER_SAMPLE)
    )
    if isinstance(largest, int) and largest > 0:
        return max(largest.bit_length(), 8)
    return bits if isinstance(bits, int) and bits not in (16, 32, 64) else None


def _to_uint8(
    values: Num[np.ndarray, "*shape"], bits: int | None
) -> tuple[UInt8[np.ndarray, "*shape"], str]:
    """Returns samples as 8 bits, and how their range was guessed."""
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("its samples are not finite numbers")
    said = f"samples from {low:g} to {high:g} read as"
    if low < 0:
        span = max(float(high) - float(low), 1e-30)
        scaled = (values.astype(np.float64) - float(low)) * (255 / span)
        return np.rint(scaled).astype(np.uint8), f"{said} black to white"
    if values.dtype.kind == "f" and high <= 1:
        return np.rint(values * 255).astype(np.uint8), f"{said} 0 to 1"
    needed = max(int(high).bit_length(), 8)
    depth = bits or next((depth for depth in _DEPTHS if depth >= needed), needed)
    reduced = np.minimum(values.astype(np.float64) / 2 ** (depth - 8), 255)
    return reduced.astype(np.uint8), "" if bits else f"{said} {depth} bits"


def _raw_mode(image: ImageFile) -> str:
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _dark_tiff(image: Image.Image, reopen: Callable[[], Image.Image]) -> Rgb | None:
    """Returns a colour TIFF that uses the lower of its 16 bits, None where it uses the highest.

    Pillow keeps the higher byte of each sample. Read in the other byte order, it keeps the lower.
    """
    bits, other = _known_bits(image), reopen()
    if not isinstance(other, ImageFile) or other.mode not in ("RGB", "RGBX") or bits == 16:
        return None
    tile = other.tile[0]
    raw = _raw_mode(other)
    swapped = raw[:-1] + _OTHER_ORDER.get(raw[-1], raw[-1])
    tiles = []
    for tile in other.tile:
        args = (swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped
        tiles.append(tile._replace(args=args))
    other.tile = tiles
    higher = np.asarray(image.convert("RGB"))
    if bits is None and higher.max() >= 1 << 6:  # 15 bits or 16
        return None
    values = higher.astype(np.uint16) << 8 | np.asarray(other.convert("RGB"))
    return Rgb(*_to_uint8(values, bits))
