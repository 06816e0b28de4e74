"""Turns photos of any kind and size into the images that a trained model takes."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.ImageFile import ImageFile

from aftrans_jax.data.decoding.decode import MAX_PIXELS, decode_photo, read_photo
from aftrans_jax.data.decoding.depth import to_rgb
from aftrans_jax.data.decoding.formats import decodable_formats, open_photo
from aftrans_jax.data.decoding.orientation import orientation, turn
from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.threads import in_threads
from aftrans_jax.data.loading.transforms import test_transform
from aftrans_jax.paths import expand

# A path, a PIL image, or pixels: uint8 [height width 3], RGB.
PhotoLike = str | os.PathLike[str] | Image.Image | np.ndarray | jax.Array

NUM_THREADS = 8  # threads that decode ahead, as many as data.num_threads


class Prepared(NamedTuple):
    """An image as the model takes it, and the upright photo's height and width in pixels.

    `photo` is the photo in its own proportions, for pages that show it.
    """

    image: UInt8[np.ndarray, "size size 3"]
    height: int
    width: int
    photo: UInt8[np.ndarray, "rows cols 3"] | None = None


class _Undecoded(NamedTuple):
    """The file of a PIL image that was not decoded yet."""

    data: bytes
    name: str
    num_pixels: int


def why_unread(path: str, error: Exception) -> str:
    """Returns why a photo could not be read, with its path.

    The path is added to a MemoryError and to an error without a text, which is given by its type.
    """
    text = str(error)
    if isinstance(error, FileNotFoundError) and re.fullmatch(r"(['\"]).*\1", path):
        return f"{text}: expected a path without quotes, which count as part of it"
    if text and not isinstance(error, MemoryError):
        return text
    return f"{path!r}: {text or type(error).__name__}"


def is_one(photos: Any) -> bool:
    """Returns whether an argument is one photo, or anything else that cannot be several."""
    if isinstance(photos, np.ndarray | jax.Array):
        return photos.ndim != (1 if photos.dtype.kind in "OSU" else 4)  # paths, or pixels
    if isinstance(photos, str | bytes | os.PathLike | Image.Image | Mapping):
        return True
    is_file = hasattr(photos, "read")  # an open file iterates over its lines
    return is_file or not (hasattr(photos, "__iter__") or hasattr(photos, "__getitem__"))


def one_by_one(photos: Any) -> Iterator[PhotoLike]:
    """Returns an iterator over one photo or several.

    Raises:
      ValueError: a single path is a folder's, or a glob.
    """
    if not is_one(photos):
        return iter(photos)
    if isinstance(photos, str | os.PathLike):
        path = photos if os.path.lexists(photos) else expand(os.fspath(photos))
        is_glob = not os.path.lexists(path) and any(char in os.fspath(path) for char in "*?[")
        if is_glob or os.path.isdir(path):
            raise ValueError(
                f"{os.fspath(photos)!r} is no image file: give several as a list of paths, such as "
                "glob.glob('photos/*.jpg')"
            )
    return iter([photos])


def prepare(
    photo: PhotoLike | _Undecoded, sizes: Mapping[str, int], *, max_pixels: int = MAX_PIXELS
) -> Prepared:
    """Returns a photo upright, resized to a square and cropped as a run's test images are.

    Args:
      photo: a file or PIL image is turned upright by its EXIF. A PIL image that was opened and not
        decoded is refused where its file would be.
      sizes: `image_size` and `resize_size` in pixels, see `test_transform`.
      max_pixels: most pixels that a file may have.

    Raises:
      OSError, ValueError: the file cannot be read or is no complete image; or an array is not
        [height width 3].
      TypeError: it is no photo, or its pixels are not uint8.
    """
    if isinstance(photo, str | os.PathLike):
        size = sizes["resize_size"]
        path = photo if os.path.lexists(photo) else expand(os.fspath(photo))
        pixels, *_, height, width = read_photo(path, max_pixels=max_pixels, resize_size=size)
    else:
        pixels = _pixels(photo)
        height, width, _ = pixels.shape
    return Prepared(test_transform(Example(pixels, 0), **sizes).image, height, width)


def prepared(
    photos: Iterable[PhotoLike], load: Callable[[Any], Prepared], *, ahead: int
) -> Iterator[tuple[PhotoLike, Prepared | Exception]]:
    """Returns an iterator over each photo and its image as the model takes it, or the error.

    Threads work a fixed number of photos ahead, so that memory does not grow with the number of
    photos. Pixels in memory are copied first: the caller may change them as soon as the next photo
    is asked for, and PIL images must not be used in several threads.

    Args:
      photos: photos, which are taken one by one when they are needed.
      load: `prepare` for one photo; called in several threads.
      ahead: largest number of photos in memory.
    """

    def attempt(
        owned: tuple[PhotoLike, PhotoLike | _Undecoded | Exception],
    ) -> tuple[PhotoLike, Prepared | Exception]:
        photo, pixels = owned
        try:
            return photo, pixels if isinstance(pixels, Exception) else load(pixels)
        except (OSError, ValueError, MemoryError) as error:
            return photo, error

    each = ((photo, _owned(photo)) for photo in photos)
    return in_threads(attempt, each, num_threads=NUM_THREADS, ahead=ahead)


def _owned(photo: PhotoLike) -> PhotoLike | _Undecoded | Exception:
    """Returns a copy of pixels in memory, or the error; files as they are."""
    try:
        if isinstance(photo, Image.Image):
            return _undecoded(photo) or _upright(photo)
        return photo.copy() if isinstance(photo, np.ndarray) else photo
    except (OSError, ValueError, MemoryError) as error:
        return error


def _undecoded(image: Image.Image) -> _Undecoded | None:
    """Returns the file of a PIL image, None where it may differ from the image.

    Pillow shows a JPEG that was cut off half-way; `decode_photo` refuses it.
    """
    if not isinstance(image, ImageFile) or not image.tile or image.fp is None or image.tell():
        return None
    place = image.fp.tell()
    image.fp.seek(0)
    data = image.fp.read()
    image.fp.seek(place)
    if image.format not in decodable_formats() or _header(image) != _header(open_photo(data)):
        return None
    name = os.fsdecode(image.filename) or "an image of PIL's"
    try:
        image.load()  # as PIL does for any use of an image; PIL then closes the file
    except (OSError, ValueError) as error:
        raise type(error)(
            f"{name!r} cannot be decoded ({error}): expected a whole image"
        ) from error
    return _Undecoded(data, name, image.width * image.height)


def _header(image: Image.Image) -> tuple[Any, ...]:
    """Returns what shows whether an image was changed since it was opened, by `draft` or `info`."""
    return image.format, image.mode, image.size, image.info.get("exif")


def _pixels(photo: PhotoLike | _Undecoded) -> UInt8[np.ndarray, "height width 3"]:
    if isinstance(photo, Image.Image):
        photo = _undecoded(photo) or _upright(photo)
    if isinstance(photo, _Undecoded):
        data, name, num_pixels = photo
        return decode_photo(data, name, max_pixels=num_pixels).pixels
    if not isinstance(photo, np.ndarray | jax.Array):
        raise TypeError(
            f"a photo is given as {type(photo).__name__}: expected a path, an image of PIL's "
            "(Image.open reads open files, too), or an array uint8 [height width 3], as np.asarray "
            "makes it of a tensor"
        )
    if photo.dtype != np.uint8:
        raise TypeError(
            f"pixels are {photo.dtype}: expected uint8 from 0 to 255. {_to_uint8(photo)}"
        )
    if photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise ValueError(
            f"an array of pixels has the shape {photo.shape}: expected [height width 3], RGB, or "
            "[photos height width 3] for several of one size. PIL's Image.fromarray(x) takes grey "
            "and transparent ones"
        )
    return np.asarray(photo)


def _to_uint8(pixels: np.ndarray | jax.Array) -> str:
    """Returns advice for converting other pixel types to uint8, which depends on their values."""
    is_whole = jnp.issubdtype(pixels.dtype, np.integer)
    if not pixels.size or not (is_whole or jnp.issubdtype(pixels.dtype, np.floating)):
        return "Give numbers of that type"
    low = pixels.min()
    high = pixels.max()
    if not (low >= 0 and high <= 255):  # also true for NaN
        return f"These are from {low} to {high}: scale them"
    change = "x" if is_whole else "x.round()" if high > 1 else "(255 * x).round()"
    return f"These, from {low} to {high}, become that by {change}.astype('uint8')"


def _upright(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    if not all(image.size):
        raise ValueError(f"an image has {image.width} x {image.height} pixels: expected some")
    image.load()  # this turns TIFFs upright
    number = orientation(image.info.get("exif", b""), _bytes(image.info.get("xmp", b"")))
    return turn(to_rgb(image, lambda: image).pixels, 1 if image.format == "TIFF" else number)


def _bytes(packet: bytes | str) -> bytes:
    return packet.encode() if isinstance(packet, str) else packet
