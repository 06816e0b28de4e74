"""Our loader beside tf.data and PIL: images a second from JPEG to training crop, in one run.

    python -m benchmarks.loader --out=benchmarks/results/NAME.json [--photos=FOLDER]

The readers take turns, so that another job on the machine slows all. `cpu_ms` is the processor
time of an image over all threads, which such a job changes less than images per second. Without
--photos, photos are drawn: noise with the spectrum of photos, 500 x 375 px, JPEG of quality 90
without chroma subsampling: 82 kB on average, where the median photo of CUB has 81 kB.

At last a training step is fed by the loader, see `benchmarks.overlap`.
"""

import argparse
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
from tqdm import tqdm

from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.cache import ResizedCache
from aftrans_jax.data.loading.decode import decode_image
from aftrans_jax.data.loading.transforms import resize, train_transform
from aftrans_jax.data.sets.photos import PhotoSource, PhotoTable
from aftrans_jax.training.reporting import write_json
from benchmarks.overlap import overlap
from benchmarks.readers import (
    BATCH,
    IMAGE_SIZE,
    Reader,
    Repeated,
    our_batches,
    pil_batches,
    tf_batches,
    write_photos,
)
from benchmarks.record import circumstances

RESIZE_SIZES = (448, 600)  # 600 as in TransFG
NUM_WARM_UP, NUM_BATCHES, NUM_TURNS = 3, 12, 5
NUM_EXAMPLES = 6144  # as many as CUB has for training: grain shuffles short lists slowly


def time_batches(make: Reader, resize_size: int, num_threads: int) -> dict[str, float]:
    """Returns images a second and processor time in ms an image, once the reader is running."""
    batches = make(resize_size, num_threads)
    for _ in islice(batches, NUM_WARM_UP):
        pass
    began, began_cpu = time.perf_counter(), time.process_time()
    for _ in islice(batches, NUM_BATCHES):
        pass
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    num_images = NUM_BATCHES * BATCH
    return {"images_per_s": num_images / seconds, "cpu_ms": 1000 * cpu / num_images}


def compare(photos: PhotoSource, num_cores: int) -> list[dict[str, Any]]:
    """Returns the median figures of every reader, size and number of threads."""
    paths = [photos.table.root / name for name in photos.names]
    caches = {size: ResizedCache(photos, size) for size in RESIZE_SIZES}
    for cache in caches.values():
        for index in tqdm(range(len(cache)), "filling the cache", leave=False):
            cache[index]
    source = Repeated(photos, NUM_EXAMPLES)
    here: dict[str, Reader] = {
        "ours": partial(our_batches, source),
        "ours, RAM cache": lambda size, threads: our_batches(
            Repeated(caches[size], NUM_EXAMPLES), size, threads
        ),
        "PIL": partial(pil_batches, paths),
    }
    elsewhere: dict[str, Reader] = {
        "tf.data": partial(tf_batches, paths, True),
        "tf.data, no antialias": partial(tf_batches, paths, False),
    }
    settings = [(size, n) for size in RESIZE_SIZES for n in dict.fromkeys([num_cores, 1])]
    figures: dict[Any, list[dict[str, float]]] = defaultdict(list)
    total = NUM_TURNS * len(settings) * len(here | elsewhere)
    # TensorFlow's threads stay in a process of their own, which sleeps while the others are timed.
    with ProcessPoolExecutor(1, get_context("spawn")) as other, tqdm(total=total) as bar:
        for _ in range(NUM_TURNS):
            for setting in settings:
                for name, make in (here | elsewhere).items():
                    bar.set_description(f"{name}, {setting[0]} px, {setting[1]} threads")
                    call = (make, *setting)
                    away = name in elsewhere
                    figure = (
                        other.submit(time_batches, *call).result() if away else time_batches(*call)
                    )
                    figures[name, *setting].append(figure)
                    bar.update()
    return [
        {"reader": name, "resize_size": size, "num_threads": threads}
        | {key: round(median(turn[key] for turn in turns), 3) for key in turns[0]}
        | {"images_per_s_of_turns": [round(turn["images_per_s"], 1) for turn in turns]}
        for (name, size, threads), turns in figures.items()
    ]


def stage_ms(photos: PhotoSource) -> dict[str, float]:
    """Returns the processor time of each stage in ms an image, on one thread."""
    paths = [photos.table.root / name for name in photos.names[:48]]
    images = [photos[index] for index in range(len(paths))]
    squares = {size: [resize(image, size) for image in images] for size in RESIZE_SIZES}
    rng, bilinear = np.random.default_rng(0), Image.Resampling.BILINEAR

    def pil_resize(example: Example, size: int) -> Any:
        return np.asarray(Image.fromarray(example.image).resize((size, size), bilinear))

    def augment(example: Example) -> Example:
        size = len(example.image)
        return train_transform(example, rng, image_size=IMAGE_SIZE, resize_size=size)

    stages: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
        "decode": (decode_image, paths),
        "decode, PIL": (lambda path: np.asarray(Image.open(path).convert("RGB")), paths),
    }
    for size in RESIZE_SIZES:
        stages[f"resize to {size}"] = (partial(resize, size=size), images)
        stages[f"resize to {size}, PIL"] = (partial(pil_resize, size=size), images)
        stages[f"crop and flip from {size}"] = (augment, squares[size])
    times = defaultdict(list)
    for _ in range(NUM_TURNS):
        for name, (call, items) in stages.items():
            began = time.thread_time()
            for item in items:
                call(item)
            times[name].append(1000 * (time.thread_time() - began) / len(items))
    return {name: round(median(values), 3) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--photos", type=Path, help="folder of JPEG files to read instead")
    args = parser.parse_args()
    num_cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.photos or Path(temporary)
        if args.photos is None:
            write_photos(folder)
        names = tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg")))
        photos = PhotoSource(PhotoTable(folder, names, (0,) * len(names), 1))
        kilobytes = median((folder / name).stat().st_size / 1000 for name in names)
        readers = compare(photos, num_cores)
        _print_readers(readers)
        with ThreadPoolExecutor(1) as pool:  # as in the loader: malloc serves each thread apart
            stages = pool.submit(stage_ms, photos).result()
        for name, milliseconds in stages.items():
            print(f"{name:26}{milliseconds:8.2f} ms of one core")
        ours = next(row for row in readers if row["reader"] == "ours")
        steps = overlap(Repeated(photos, NUM_EXAMPLES), num_cores, BATCH / ours["images_per_s"])
    for row in steps:
        print(
            f"{row['step']:12} of {row['resident_ms']:7.1f} ms, fed {row['loaded_ms']:7.1f} ms: "
            f"ratio {row['ratio']:.2f}, limited by the {row['limit']}"
        )
    settings = {
        "photos": "drawn" if args.photos is None else args.photos.name,
        "num_photos": len(names),
        "median_kB": round(kilobytes, 1),
        "image_size": IMAGE_SIZE,
        "batch": BATCH,
        "num_batches": NUM_BATCHES,
        "num_turns": NUM_TURNS,
    }
    results = {"readers": readers, "stage_cpu_ms": stages, "overlap": steps}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, {"settings": settings, "results": results, **circumstances()})


def _print_readers(readers: list[dict[str, Any]]) -> None:
    print(f"{'':24}resize  threads  images/s  per core  cpu ms/image")
    for row in readers:
        rate, threads = row["images_per_s"], row["num_threads"]
        print(
            f"{row['reader']:24}{row['resize_size']:6}{threads:9}{rate:10.0f}{rate / threads:10.0f}"
            f"{row['cpu_ms']:14.2f}"
        )


if __name__ == "__main__":
    main()
