"""A 12-megapixel JPEG to 448 px: decoded fully and at a reduced scale, in turns on one thread.

The photo is a smaller one, drawn or the median one of --photos, enlarged: quality 92, 4:2:0. With
the grain of a sensor it is as large as a phone's file, and most of the time is Huffman decoding,
which a reduced scale does not shorten. With restart markers it is decoded fully, and twice, to find
damage between them; a progressive one fully too: a reduced scale would hide missing data.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from aftrans_jax.data.decoding.decode import decode_photo
from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.transforms import resize
from benchmarks.claims.readers import draw_photo
from benchmarks.harness.figures import Figure, Result, ratio, spread
from benchmarks.settings import Settings

WIDTH = 4000
HEIGHT = 3000
SIZE = 448
GRAIN = 4.0
KINDS: dict[str, dict[str, Any]] = {
    "grain": {},
    "grain, restart markers": {"restart_marker_rows": 1},
    "grain, progressive": {"progressive": True},
}


def encode(image: Image.Image, **options: Any) -> bytes:
    """Returns an image as a phone's JPEG."""
    stream = BytesIO()
    image.save(stream, "JPEG", quality=92, subsampling=2, **options)
    return stream.getvalue()


def enlarged(image: Image.Image) -> Image.Image:
    """Returns an image at 12 megapixels."""
    return image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def with_grain(image: Image.Image) -> Image.Image:
    """Returns an image with normal noise in each channel."""
    pixels = np.asarray(image, np.float32)
    grain = np.random.default_rng(0).normal(0, GRAIN, pixels.shape)
    return Image.fromarray((pixels + grain).round().clip(0, 255).astype(np.uint8))


def square(data: bytes, resize_size: int | None) -> np.ndarray:
    """Returns a JPEG as the square that a training example is cropped from."""
    pixels = decode_photo(data, "photo", resize_size=resize_size).pixels
    return resize(Example(pixels, 0), SIZE).image


def measure(settings: Settings) -> Result:
    """Returns processor time of both ways for each kind of JPEG, and how far they are apart."""
    if settings.photos is None:
        photo = Image.fromarray(draw_photo(np.random.default_rng(0)))
        name = "drawn"
    else:
        paths = sorted(settings.photos.rglob("*.jpg"), key=lambda path: path.stat().st_size)
        path = paths[len(paths) // 2]
        photo = Image.open(path)
        name = path.name
    large = enlarged(photo)
    grainy = with_grain(large)
    files = {"smooth": encode(large)}
    files |= {kind: encode(grainy, **options) for kind, options in KINDS.items()}
    # A separate thread, as in the loader: malloc has an arena for each thread.
    with ThreadPoolExecutor(1) as pool:
        times = pool.submit(_times, files, settings).result()
    figures: dict[str, Figure] = {}
    for kind, data in files.items():
        whole, reduced = (
            spread(times[kind, way], "ms of a core") for way in ("whole", "as loaded")
        )
        figures[f"{kind}, whole"] = whole
        figures[f"{kind}, as loaded"] = reduced
        figures[f"{kind}, whole / as loaded"] = ratio(whole, reduced)
        difference = np.abs(square(data, SIZE) - square(data, None).astype(int))
        figures[f"{kind}, greatest difference"] = Figure(int(difference.max()), "grey levels")
        figures[f"{kind}, mean difference"] = Figure(float(difference.mean()), "grey levels")
    details = {"photo": name, "kB": {kind: len(data) // 1000 for kind, data in files.items()}}
    return Result(figures, details)


def _times(
    files: dict[str, bytes], settings: Settings
) -> defaultdict[tuple[str, str], list[float]]:
    times = defaultdict(list)
    ways: dict[str, Callable[[bytes], np.ndarray]] = {
        "whole": partial(square, resize_size=None),
        "as loaded": partial(square, resize_size=SIZE),
    }
    for turn in range(settings.num_warm_up + settings.num_calls):
        settings.pause()
        for kind, data in files.items():
            for way, call in ways.items():
                began = time.thread_time()
                call(data)
                if turn >= settings.num_warm_up:
                    times[kind, way].append(1000 * (time.thread_time() - began))
    return times
