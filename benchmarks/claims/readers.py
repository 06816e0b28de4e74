"""Readers for the loader's benchmark: photos, drawn or real, by our loader, PIL and tf.data."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from aftrans_jax.data.examples import Example, Source
from aftrans_jax.data.loading.loader import train_batches

HEIGHT = 375
WIDTH = 500
NUM_PHOTOS = 256
IMAGE_SIZE = 448
BATCH = 16

Rows = Iterator[Any]
Reader = Callable[[int, int], Rows]  # (resize_size, num_threads) to endless batches


class Repeated:
    """A source whose examples repeat."""

    def __init__(self, source: Source, length: int) -> None:
        self.source = source
        self.length = length
        self.names = [source.names[index % len(source)] for index in range(length)]
        self.labels = [source.labels[index % len(source)] for index in range(length)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        return self.source[index % len(self.source)]


def draw_photo(rng: np.random.Generator) -> UInt8[np.ndarray, "375 500 3"]:
    """Returns noise that takes a JPEG encoder as many bytes as a photo of a bird."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH))
    amplitude = np.maximum(frequency, 1 / WIDTH) ** -1.4
    spectrum = amplitude[..., None] * np.exp(2j * np.pi * rng.random((*amplitude.shape, 3)))
    planes = np.fft.irfft2(spectrum, (HEIGHT, WIDTH), axes=(0, 1))
    colours = np.array([[1, 1, 1], [0.3, 0, -0.3], [0.1, -0.2, 0.1]])  # mostly brightness
    return np.clip(128 + 50 * planes / planes.std(axis=(0, 1)) @ colours, 0, 255).astype(np.uint8)


def write_photos(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(NUM_PHOTOS):
        Image.fromarray(draw_photo(rng)).save(folder / f"{index}.jpg", quality=90, subsampling=0)


def our_batches(source: Source, resize_size: int, num_threads: int) -> Rows:
    """Returns batches of this project's loader."""
    return train_batches(
        source,
        batch_size=BATCH,
        seed=0,
        start_step=0,
        image_size=IMAGE_SIZE,
        resize_size=resize_size,
        process_index=0,
        process_count=1,
        num_threads=num_threads,
    )


def pil_batches(paths: list[Path], resize_size: int, num_threads: int) -> Rows:
    """Yields batches of a loader without OpenCV or grain, decoded two batches ahead."""
    rng = np.random.default_rng(0)

    def load(path: Path, top: int, left: int, flip: int) -> UInt8[np.ndarray, "448 448 3"]:
        with Image.open(path) as file:
            image = file.convert("RGB")
        image = image.resize((resize_size, resize_size), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + IMAGE_SIZE, top + IMAGE_SIZE))
        return np.asarray(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image)

    with ThreadPoolExecutor(num_threads) as pool:
        ahead: deque[Any] = deque()
        while True:
            while len(ahead) < 3 * BATCH:
                path = paths[rng.integers(len(paths))]
                top, left = rng.integers(0, resize_size - IMAGE_SIZE, 2, endpoint=True).tolist()
                ahead.append(pool.submit(load, path, top, left, int(rng.integers(2))))
            yield np.stack([ahead.popleft().result() for _ in range(BATCH)])


def tf_batches(paths: list[Path], antialias: bool, resize_size: int, num_threads: int) -> Rows:
    """Returns batches of tf.data, whose bilinear filter antialiases only if asked to."""
    import tensorflow as tf

    def load(path: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")
        image = tf.image.resize(image, [resize_size, resize_size], antialias=antialias)
        image = tf.image.random_crop(image, [IMAGE_SIZE, IMAGE_SIZE, 3])
        return tf.cast(tf.round(tf.image.random_flip_left_right(image)), tf.uint8)

    options = tf.data.Options()
    options.threading.private_threadpool_size = num_threads
    options.threading.max_intra_op_parallelism = 1
    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    rows = files.shuffle(len(paths), seed=0).repeat().map(load, num_parallel_calls=num_threads)
    return rows.batch(BATCH).prefetch(2).with_options(options).as_numpy_iterator()
