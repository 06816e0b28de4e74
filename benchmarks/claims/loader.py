"""Our loader beside tf.data and PIL: images a second from JPEG to training crop, in one run.

The readers take turns, so that another job on the machine slows all. Processor time is that of an
image over all threads, which such a job changes less than images per second. Without --photos,
photos are drawn: noise with the spectrum of photos, 500 x 375 px, JPEG of quality 90 without chroma
subsampling: 82 kB on average, where the median photo of CUB has 81 kB.
"""

import importlib.util
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from aftrans_jax.data.decoding.decode import decode_image
from aftrans_jax.data.loading.cache import ResizedCache
from aftrans_jax.data.loading.transforms import resize, train_transform
from aftrans_jax.data.sets.photos import PhotoSource, PhotoTable
from benchmarks.claims.overlap import overlap
from benchmarks.claims.readers import (
    BATCH,
    IMAGE_SIZE,
    Reader,
    Repeated,
    our_batches,
    pil_batches,
    tf_batches,
    write_photos,
)
from benchmarks.harness.figures import Figure, Result, ratio, spread
from benchmarks.settings import Settings

RESIZE_SIZES = (448, 600)  # 600 as in TransFG
NUM_WARM_UP = 3
NUM_BATCHES = 12
NUM_EXAMPLES = 6144  # as many as CUB has for training: grain shuffles short lists slowly


def time_batches(make: Reader, resize_size: int, num_threads: int) -> tuple[float, float]:
    """Returns images a second and processor time in ms an image, once the reader is running."""
    batches = make(resize_size, num_threads)
    for _ in islice(batches, NUM_WARM_UP):
        pass
    began = time.perf_counter()
    began_cpu = time.process_time()
    for _ in islice(batches, NUM_BATCHES):
        pass
    seconds = time.perf_counter() - began
    cpu = time.process_time() - began_cpu
    return NUM_BATCHES * BATCH / seconds, 1000 * cpu / (NUM_BATCHES * BATCH)


def compare(photos: PhotoSource, num_cores: int, settings: Settings) -> dict[str, Figure]:
    """Returns speed and processor time of every reader, size and number of threads."""
    paths = [photos.table.root / name for name in photos.names]
    cached = {}
    for size in RESIZE_SIZES:
        cache = ResizedCache(photos, size)
        for index in range(len(cache)):
            cache[index]  # fills it
        cached[size] = Repeated(cache, NUM_EXAMPLES)
    readers: dict[str, Reader] = {
        "ours": partial(our_batches, Repeated(photos, NUM_EXAMPLES)),
        "ours, RAM cache": lambda size, threads: our_batches(cached[size], size, threads),
        "PIL": partial(pil_batches, paths),
    }
    if importlib.util.find_spec("tensorflow"):
        readers["tf.data"] = partial(tf_batches, paths, True)
        readers["tf.data, no antialias"] = partial(tf_batches, paths, False)
    speed = defaultdict(list)
    cpu = defaultdict(list)
    # TensorFlow's threads stay in a process of their own, which sleeps while the others are timed.
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        for _ in range(settings.num_calls):
            settings.pause()
            for size in RESIZE_SIZES:
                for threads in dict.fromkeys([num_cores, 1]):
                    for name, make in readers.items():
                        call = (make, size, threads)
                        key = (name, size, threads)
                        away = name.startswith("tf.data")
                        timed = other.submit(time_batches, *call).result if away else None
                        found = timed() if timed else time_batches(*call)
                        speed[key].append(found[0])
                        cpu[key].append(found[1])
    figures = {}
    for (name, size, threads), values in speed.items():
        title = f"{name}, {size} px, {threads} thread{'s' * (threads > 1)}"
        figures[title] = spread(values, "images/s")
        figures[f"{title}, processor"] = spread(cpu[name, size, threads], "ms an image")
    return figures


def stage_ms(photos: PhotoSource, num_turns: int) -> dict[str, Figure]:
    """Returns the processor time of each stage of an image, on one thread."""
    paths = [photos.table.root / name for name in photos.names[:48]]
    images = [photos[index] for index in range(len(paths))]
    rng = np.random.default_rng(0)
    bilinear = Image.Resampling.BILINEAR
    stages: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
        "decode": (decode_image, paths),
        "decode, PIL": (lambda path: np.asarray(Image.open(path).convert("RGB")), paths),
    }
    for size in RESIZE_SIZES:
        drawn = [Image.fromarray(example.image) for example in images]
        crop = partial(train_transform, rng=rng, image_size=IMAGE_SIZE, resize_size=size)
        small = partial(Image.Image.resize, size=(size, size), resample=bilinear)
        stages[f"resize to {size}"] = (partial(resize, size=size), images)
        stages[f"resize to {size}, PIL"] = (small, drawn)
        stages[f"crop and flip from {size}"] = (crop, [resize(image, size) for image in images])
    times = defaultdict(list)
    for _ in range(num_turns):
        for name, (call, items) in stages.items():
            began = time.thread_time()
            for item in items:
                call(item)
            times[name].append(1000 * (time.thread_time() - began) / len(items))
    return {name: spread(values, "ms of a core") for name, values in times.items()}


def measure(settings: Settings) -> Result:
    """Returns the figures of readers, of stages, and of steps that are fed by the loader."""
    num_cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as temporary:
        folder = settings.photos or Path(temporary)
        if settings.photos is None:
            write_photos(folder)
        names = tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg")))
        photos = PhotoSource(PhotoTable(folder, names, (0,) * len(names)))
        details = {
            "photos": "drawn" if settings.photos is None else folder.name,
            "num_photos": len(names),
            "median_kB": round(median((folder / x).stat().st_size for x in names) / 1000, 1),
            "batch": BATCH,
        }
        figures = compare(photos, num_cores, settings)
        for size in RESIZE_SIZES:
            ours = f"ours, {size} px, 1 thread"
            theirs = f"tf.data, {size} px, 1 thread"
            if theirs in figures:
                title = f"ours / tf.data, {size} px, 1 thread"
                figures[title] = ratio(figures[ours], figures[theirs])
        with ThreadPoolExecutor(1) as pool:  # as in the loader: malloc has an arena for each thread
            figures |= pool.submit(stage_ms, photos, settings.num_calls).result()
        speed = figures[f"ours, 448 px, {num_cores} thread{'s' * (num_cores > 1)}"].median
        source = Repeated(photos, NUM_EXAMPLES)
        figures |= overlap(source, num_cores, BATCH / speed, settings.num_calls)
    return Result(figures, details)
