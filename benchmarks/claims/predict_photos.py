"""`predict` on 1,000 photos beside its reader alone, and its memory after that and more of them.

The photos are drawn and have 3 megapixels. The model is a tiny one with random weights that sees
them at 64 px, so that it is not the limit.
"""

import tempfile
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from aftrans_jax.config import base_config
from aftrans_jax.inference.classifier import Classifier
from aftrans_jax.inference.preprocessing import prepare, prepared
from aftrans_jax.inference.trained_model import Trained
from aftrans_jax.library import create
from benchmarks.claims.readers import draw_photo
from benchmarks.harness.figures import Figure, Result, ratio, spread
from benchmarks.harness.memory import forget_peak, status_bytes
from benchmarks.settings import Settings

WIDTH = 2000
HEIGHT = 1500
SIZE = 64
NUM_FILES = 50
PASSES = 20
MAX_PIXELS = WIDTH * HEIGHT


def tiny_classifier() -> Classifier:
    """Returns an untrained plain ViT of ten classes."""
    config = base_config()
    config.model.name = "vit"
    config.data.image_size = config.data.source_size = config.data.local_size = SIZE
    created = create("mini8", num_classes=10, config=config)
    sizes = {"image_size": SIZE, "resize_size": SIZE}
    names = tuple(f"class {number}" for number in range(10))
    trained = Trained(
        "vit", created.module, created.params, names, sizes, "global", {}, MAX_PIXELS, {}
    )
    return Classifier(trained)


def write_large_photos(folder: Path) -> list[str]:
    """Returns the paths of new JPEGs of 3 megapixels."""
    rng = np.random.default_rng(0)
    paths = [str(folder / f"{number}.jpg") for number in range(NUM_FILES)]
    for path in paths:
        Image.fromarray(draw_photo(rng)).resize((WIDTH, HEIGHT)).save(path, quality=92)
    return paths


def timed(results: Iterator[tuple[object, object]], number: int) -> float:
    """Returns the photos a second of `number` results.

    Raises:
      ValueError: a photo could not be read.
    """
    began = time.perf_counter()
    for _, found in islice(results, number):
        if isinstance(found, Exception):
            raise ValueError("a drawn photo cannot be read") from found
    return number / (time.perf_counter() - began)


def measure(settings: Settings) -> Result:
    """Returns the photos a second of both, and the memory that more photos take."""
    classifier = tiny_classifier()
    load = partial(prepare, sizes={"image_size": SIZE, "resize_size": SIZE}, max_pixels=MAX_PIXELS)
    with tempfile.TemporaryDirectory() as folder:
        photos = write_large_photos(Path(folder)) * PASSES
        deque(classifier.stream(photos[:NUM_FILES]), maxlen=0)  # compiles
        memory = {}
        start = forget_peak()
        for passes in range(1, 5):
            deque(classifier.stream(photos), maxlen=0)
            memory[passes * len(photos)] = status_bytes("VmHWM") - start
        speeds: dict[str, list[float]] = {"reader": [], "predict": []}
        for _ in range(settings.num_calls):
            settings.pause()
            both = {
                "reader": prepared(photos, load, ahead=2 * classifier.batch_size),
                "predict": classifier.stream(photos),
            }
            for name, results in both.items():
                speeds[name].append(timed(results, len(photos)))
    figures = {name: spread(values, "images/s") for name, values in speeds.items()}
    figures["predict / reader"] = ratio(figures["predict"], figures["reader"])
    figures |= {f"memory, {number} photos": Figure(x, "bytes") for number, x in memory.items()}
    _, before, _, after = memory.values()
    figures["memory, 4 passes / 2"] = Figure(round(after / before, 3), "ratio")
    return Result(figures, {"photos": len(photos), "image_size": SIZE})
