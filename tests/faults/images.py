"""Random damage to image files of every format: `python tests/faults/images.py --count=1000`.

Right is a `ValueError` that names the file, or the pixels of the sound file. Other pixels are right
for formats without checksums alone, and not where the file was cut off: nothing in it tells then.
"""

import functools
import io
import os
import signal
import tempfile

import numpy as np
from driver import main
from PIL import Image, features

from aftrans_jax.data.decoding.decode import decode_photo

_ENCODINGS = {
    "jpeg": ("JPEG", {}),
    "jpeg progressive": ("JPEG", {"progressive": True}),
    "jpeg restarts": ("JPEG", {"restart_marker_rows": 1}),
    "jpeg progressive restarts": ("JPEG", {"progressive": True, "restart_marker_rows": 1}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "webp lossless": ("WEBP", {"lossless": True}),
    "tiff": ("TIFF", {}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff jpeg": ("TIFF", {"compression": "jpeg"}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {}),
    "jpeg 2000": ("JPEG2000", {}),
    "ppm": ("PPM", {}),
} | ({"avif": ("AVIF", {})} if features.check("avif") else {})
_DAMAGES = ("flip", "cut", "cut and end", "zero", "insert", "remove")
KINDS = tuple(_ENCODINGS)
_CHECKED = {"png"}
_LIMIT_S = 30
_NAME = "bird 7.img"


@functools.cache
def _sound(kind: str) -> tuple[bytes, np.ndarray]:
    rng = np.random.default_rng(0)
    slope = np.add.outer(np.arange(60), np.arange(90))[..., None] * np.array([1, 1.3, 0.7])
    image = Image.fromarray((slope + rng.integers(0, 40, (60, 90, 3))).clip(0, 255).astype("u1"))
    name, options = _ENCODINGS[kind]
    stream = io.BytesIO()
    (image.quantize(64) if name == "GIF" else image).save(stream, name, **options)
    return stream.getvalue(), decode_photo(stream.getvalue(), kind).pixels


def _damaged(data: bytes, damage: str, rng: np.random.Generator) -> bytes:
    place, some = int(rng.integers(len(data) - 8)), bytearray(data)
    if damage == "flip":
        some[place] ^= 1 << int(rng.integers(8))
    elif damage == "cut":
        del some[place:]
    elif damage == "cut and end":  # as some programs repair a JPEG
        some = some[:place].rstrip(b"\xff") + b"\xff\xd9"
    elif damage == "zero":
        some[place : place + 64] = bytes(len(some[place : place + 64]))
    elif damage == "insert":
        some[place:place] = rng.bytes(8)
    else:
        del some[place : place + 8]
    return bytes(some)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"not decoded within {_LIMIT_S} s")


def run_one(kind: str, seed: int) -> str | None:
    """Returns what is wrong with the outcome of one damage, None where nothing is."""
    rng = np.random.default_rng((seed, 10))
    sound, pixels = _sound(kind)
    damage = _DAMAGES[int(rng.integers(len(_DAMAGES)))]
    data = _damaged(sound, damage, rng)
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(_LIMIT_S)
    with tempfile.TemporaryFile() as printed:
        terminal = os.dup(2)
        os.dup2(printed.fileno(), 2)  # what libraries of C print, too
        try:
            found = decode_photo(data, _NAME).pixels
            is_same = found.shape == pixels.shape and np.array_equal(found, pixels)
            must = (
                kind in _CHECKED or damage == "cut" or (damage[:3] == "cut" and kind[:4] == "jpeg")
            )
            outcome = f"{damage}: other pixels in silence" if must and not is_same else None
        except ValueError as error:
            outcome = None if _NAME in str(error) else f"{damage}: no name in {error}"
        finally:
            signal.alarm(0)
            os.dup2(terminal, 2)
            os.close(terminal)
        printed.seek(0)
        said = printed.read()
    # libtiff prints why an error that follows is raised, and cannot be kept from it.
    return outcome or (f"{damage}: printed {said!r}" if said and kind[:4] != "tiff" else None)


if __name__ == "__main__":
    main("images", KINDS, run_one)
