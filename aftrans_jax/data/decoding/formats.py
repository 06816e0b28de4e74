"""The formats of photos: what is decoded, and by Pillow's own tables which suffixes count."""

import re
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from io import BytesIO
from types import MappingProxyType, ModuleType

from PIL import Image, UnidentifiedImageError, features
from PIL.ImageFile import ImageFile

# By Pillow's names. Others are not photos, or run programs of their own, as EPS does.
PHOTO_FORMATS = (
    "JPEG",
    "MPO",
    "PNG",
    "WEBP",
    "AVIF",
    "TIFF",
    "BMP",
    "GIF",
    "JPEG2000",
    "PPM",
    "HEIF",
)
HEIC_SUFFIXES = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
# What lies in the place of a photo, by how it begins.
_NO_PHOTOS: Mapping[bytes, str] = MappingProxyType(
    {
        rb"\Z": "it is empty",
        rb"version https://git-lfs": "it is a pointer of Git LFS: run git lfs pull where it lies",
        rb"\s*<(!doctype )?html": "it is a web page",
    }
)


class KindError(ValueError):
    """An image file may be whole, and of a kind that is not read; the message says which."""


def _register_heic() -> ModuleType | None:
    try:
        import pillow_heif
    except ImportError:
        return None
    pillow_heif.register_heif_opener()
    return pillow_heif


HEIC = _register_heic()  # None where the package is not installed
HEIC_REMEDY = "HEIC photos need a package: `pip install pillow-heif`"


@cache
def decodable_formats() -> tuple[str, ...]:
    """Returns those of `PHOTO_FORMATS` that this Pillow can decode."""
    Image.init()
    return tuple(name for name in PHOTO_FORMATS if name in Image.OPEN and _is_built_in(name))


def _is_built_in(name: str) -> bool:
    """Whether Pillow has the library of a format: without it, it warns when it opens a file."""
    is_own = Image.OPEN[name][0].__module__.startswith("PIL.")  # not a plugin's, such as AVIF's
    return not is_own or name not in ("WEBP", "AVIF") or bool(features.check(name.lower()))


@cache
def photo_suffixes() -> frozenset[str]:
    """Returns the suffixes of photos in lower case, such as ".jpg" and ".jfif"."""
    decodable = {*decodable_formats(), "MPO"}  # an MPO begins with a JPEG
    table = Image.registered_extensions()
    return frozenset(suffix for suffix, name in table.items() if name in decodable)


def open_photo(data: bytes) -> ImageFile:
    """Returns a file in one of `PHOTO_FORMATS`, not decoded yet, of any size.

    `Image.open` would refuse some that `data.max_pixels` allows, by a limit of the whole process,
    which is the user's.

    Raises:
      UnidentifiedImageError: Pillow reads no such file.
      DecompressionBombError: Pillow checks that limit while it opens the format itself.
    """
    for name in _begun(data):
        factory, _ = Image.OPEN[name]
        try:
            return factory(BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # as `Image.open` passes over
            continue
    raise UnidentifiedImageError("Pillow reads it in no format of photos")


def lift_pillow_limit() -> None:
    """Lets Pillow read images of any size, for a process that is a command's own.

    `data.max_pixels` is checked before anything is decoded.
    """
    Image.MAX_IMAGE_PIXELS = None


def _begun(data: bytes) -> Iterator[str]:
    """Yields the formats that a file's first bytes may be of."""
    first = data[:16].ljust(16, b"\0")
    for name in decodable_formats():
        _, accepts = Image.OPEN[name]
        answer = accepts is None or accepts(first)
        if answer and not isinstance(answer, str):  # a text says why Pillow cannot read it
            yield name


def unknown_content(data: bytes) -> Exception:
    """Returns the error of a file that Pillow reads in none of the decodable formats.

    A `KindError` where the file may be whole.
    """
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS and HEIC is None:
        return ValueError(HEIC_REMEDY)
    is_avif = data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis")
    if is_avif and "AVIF" not in decodable_formats():
        return ValueError("AVIF needs Pillow 11.3 or newer")
    for name in _begun(data):
        if name == "TIFF":  # its list of tags was found to be whole
            return KindError("it is a TIFF whose kind of samples Pillow does not read")
        return ValueError(f"it begins as {name} does, and its header is damaged or cut off")
    reasons = (text for form, text in _NO_PHOTOS.items() if re.match(form, data, re.IGNORECASE))
    return ValueError(next(reasons, f"its first bytes are of none of {', '.join(PHOTO_FORMATS)}"))


def jpeg2000_bits(data: bytes) -> int | None:
    """Returns the bits of a sample that a JPEG 2000 file declares, None for other files."""
    if not data.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")):
        return None
    start = data.find(b"\xff\x4f\xff\x51")  # of the codestream: markers SOC and SIZ
    declared = data[start + 42 : start + 43] if start >= 0 else b""  # Ssiz of the first component
    return (declared[0] & 0x7F) + 1 if declared else None
