"""Decoded images of any mode to 8-bit RGB: bit depths and transparency."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Num, UInt8, UInt16
from PIL import Image

from aftrans_jax.data.decoding.formats import KindError
from aftrans_jax.data.decoding.sixteen_bits import highest_bits, joined, lowest_bits, raw_mode

_DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits of a sample that cameras and scanners write
# Tags of TIFF, and a value of each of the last three.
_BITS_PER_SAMPLE = 258
_MAX_SAMPLE_VALUE = 281
_SAMPLE_FORMAT = 339
_MEANING = 262
_PLANES = 284
_UNSIGNED = 1
_WHITE_IS_ZERO = 0
_SEPARATE = 2
_LARGEST_DARK = (1 << 14) - 1  # 16 bits whose samples are all smaller may be fewer bits
_LARGEST_UNIT = 16  # fractions up to here are from 0 to 1: as 8 bits they would all be black
_OVERSHOOT = 1.25  # of fractions beyond white, as sharpening and resizing leave them


class Rgb(NamedTuple):
    """Pixels as RGB; `guess` says how their depth was guessed, "" where the file tells it."""

    pixels: UInt8[np.ndarray, "height width 3"]
    guess: str = ""


def to_rgb(
    image: Image.Image, reopen: Callable[[], Image.Image], stated_bits: int | None = None
) -> Rgb:
    """Returns an opened image as 8-bit RGB, on white where it is transparent.

    More than 8 bits a sample are reduced to the highest 8. Where the file does not say how many of
    its bits are used, as a TIFF, PNG or JPEG 2000 of 12 bits in 16, the largest sample tells.

    Args:
      image: as a rule not yet decoded; of one that is, the bits that it kept are used.
      reopen: opens the same image again.
      stated_bits: bits of a sample by metadata that Pillow does not give: PNG's sBIT, JPEG 2000's
        SIZ.

    Raises:
      ValueError: samples are infinite or NaN; or Pillow reads only bits that are not used.
    """
    if image.mode[0] in "IF":
        values = _grey_samples(image)  # decodes, before the file's tags are asked
        grey, guess = _to_uint8(values, _known_bits(image, stated_bits, float(values.max())))
        if _tag(image, _MEANING) == _WHITE_IS_ZERO:  # which Pillow turns up to 8 bits
            grey = 255 - grey
        key = image.info.get("transparency")
        if isinstance(key, int):
            grey = np.where(values == key, np.uint8(255), grey)
        return Rgb(np.repeat(grey[..., None], 3, axis=2), guess)
    key = image.info.get("transparency")
    if raw_mode(image) in ("L;2", "L;4") and isinstance(key, int):
        # Pillow scales the samples to 8 bits, and not the one that is transparent.
        image.info["transparency"] = key * 255 // (2 ** int(raw_mode(image)[2]) - 1)
    rgb = _from_16_bits(image, reopen, stated_bits) if ";16" in raw_mode(image) else None
    if image.format == "JPEG2000" and stated_bits and stated_bits > 14:
        _check_brightness(image, stated_bits)
    return rgb or Rgb(np.array(_on_white(image)))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBa", "La"):  # colours are multiplied by alpha
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, over)
    return image if image.mode == "RGB" else image.convert("RGB")


def _tag(image: Image.Image, tag: int) -> object:
    """Returns the first value of a tag of a TIFF, None where it has none."""
    tags: Mapping[int, object] = getattr(image, "tag_v2", {})
    value = tags.get(tag)
    return value[0] if isinstance(value, tuple) and value else value


def _known_bits(image: Image.Image, stated_bits: int | None, largest: int | float) -> int | None:
    """Returns how many bits of a sample are used, None where the file does not say."""
    if image.format == "PPM":
        return 16 if image.mode == "I" else None  # Pillow scales to 16
    if image.format == "JPEG2000":
        return 16 if stated_bits and stated_bits <= 14 else None  # to which Pillow scales these
    if image.format != "TIFF":
        # By PNG's standard encoders scale to 16 bits, whatever sBIT is; not all of them do.
        return stated_bits and (max(stated_bits, 8) if largest < 2**stated_bits else 16)
    white = _tag(image, _MAX_SAMPLE_VALUE)
    bits = _tag(image, _BITS_PER_SAMPLE)
    if isinstance(white, int) and white > 0:
        return max(white.bit_length(), 8)
    return bits if isinstance(bits, int) and bits not in (16, 32, 64) else None


def _grey_samples(image: Image.Image) -> Num[np.ndarray, "height width"]:
    values = np.asarray(image)
    signed = image.format != "TIFF" or _tag(image, _SAMPLE_FORMAT) not in (None, _UNSIGNED)
    return values if signed or image.mode != "I" else values.view(np.uint32)


def _to_uint8(
    values: Num[np.ndarray, "*shape"], bits: int | None
) -> tuple[UInt8[np.ndarray, "*shape"], str]:
    """Returns samples as 8 bits, and how their range was guessed."""
    low = values.min()
    high = values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise KindError("its samples are not finite numbers")
    samples = f"samples from {low:g} to {high:g} read as"
    if low < 0:
        span = max(float(high) - float(low), 1e-30)
        scaled = (values.astype(np.float64) - float(low)) * (255 / span)
        return np.rint(scaled).astype(np.uint8), f"{samples} black to white"
    if values.dtype.kind == "f" and high <= _LARGEST_UNIT:
        unit = np.rint(np.minimum(values, 1) * 255)
        return unit.astype(np.uint8), f"{samples} 0 to 1"
    if values.dtype.str[1:] == "u2" and high > _LARGEST_DARK:
        bits = bits or 16
    depth = bits or _fewest_bits(float(high) / (_OVERSHOOT if values.dtype.kind == "f" else 1))
    reduced = np.minimum(values.astype(np.float64) / 2 ** (depth - 8), 255)
    return reduced.astype(np.uint8), "" if bits else f"{samples} {depth} bits"


def _fewest_bits(largest: int | float) -> int:
    needed = max(int(largest).bit_length(), 8)
    return next((depth for depth in _DEPTHS if depth >= needed), needed)


def _from_16_bits(
    image: Image.Image, reopen: Callable[[], Image.Image], stated_bits: int | None
) -> Rgb | None:
    """Returns a colour image that needs more than the highest 8 bits; None for any other.

    It uses the lower ones alone, or one of its colours, given as 16 bits, is transparent.
    """
    raw = raw_mode(image)
    key = image.info.get("transparency")
    high = highest_bits(image, reopen)
    num_colours = 4 if image.mode == "CMYK" else 3
    largest = int(high[..., :num_colours].max())
    bits = _known_bits(image, stated_bits, largest << 8 | 255)
    if key is None and (bits == 16 or (bits is None and largest > _LARGEST_DARK >> 8)):
        return None
    if _tag(image, _PLANES) == _SEPARATE:
        raise KindError("its planes use the lower of 16 bits alone, of which Pillow keeps none")
    values = joined(high, lowest_bits(raw, reopen))
    colours = values[..., :num_colours]
    reduced, guess = _to_uint8(colours, bits)
    if image.mode == "CMYK":
        ink = Image.frombytes("CMYK", image.size, reduced.tobytes())
        return Rgb(np.array(ink.convert("RGB")), guess)
    if key is not None:
        return Rgb(np.where((colours == key).all(axis=2, keepdims=True), 255, reduced), guess)
    if image.mode != "RGBA":
        return Rgb(reduced, guess)
    depth = bits or _fewest_bits(int(colours.max()))
    alpha = _opacity(values[..., 3:], depth)
    if raw.startswith("RGBa"):
        return Rgb(np.minimum(reduced + (255.0 - alpha), 255).astype(np.uint8), guess)
    return Rgb(np.array(_on_white(Image.fromarray(np.dstack([reduced, alpha])))), guess)


def _opacity(
    alpha: UInt16[np.ndarray, "height width 1"], depth: int
) -> UInt8[np.ndarray, "height width 1"]:
    """Returns alpha as 8 bits; of as many bits as the colours, where these hold it."""
    return _to_uint8(alpha, depth if int(alpha.max()) < 2**depth else 16)[0]


def _check_brightness(image: Image.Image, stated_bits: int) -> None:
    """Raises an error where the bits that Pillow keeps of a JPEG 2000 may not be those in use."""
    if image.mode not in ("RGB", "RGBA", "LA", "CMYK"):
        return
    colours = np.asarray(image)[..., : len(image.getbands()) - image.mode.endswith("A")]
    if colours.max() <= _LARGEST_DARK >> 8:
        raise KindError(
            f"its samples are stored as {stated_bits} bits and use the lower ones alone, of which "
            "Pillow keeps none or few"
        )
