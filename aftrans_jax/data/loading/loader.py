"""Batches on the host: examples and augmentation depend only on the seed and the step.

Training reads an endless stream of augmented examples. Element i of it depends on (seed, i) alone;
step k with batches of size b takes elements k*b .. k*b + b - 1, and of those process p of n reads
every n-th from the p-th on. So a run resumes at any step with nothing stored, and the global batch
is the same set of augmented examples whatever the number of processes.
"""

from collections.abc import Iterator
from functools import partial
from typing import TypedDict

import grain
import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from aftrans_jax.data.examples import Example, Source
from aftrans_jax.data.loading.sampling import Sampling, shuffled
from aftrans_jax.data.loading.skipped import Skipped
from aftrans_jax.data.loading.transforms import (
    Augment,
    Crop,
    random_crop,
    test_transform,
    train_transform,
)

_NUM_THREADS = 8

_Row = dict[str, np.ndarray | np.generic]  # a Batch without its first axis


class Batch(TypedDict):
    """One process's rows of a batch.

    `index` is the position in the source. Rows with a False `mask` pad the last batch of an
    evaluation, or stand for skipped images: image and label are 0, the box is NaN, the index is -1.
    Every key is always there, so that a step is compiled once.
    """

    image: UInt8[np.ndarray, "batch size size 3"]
    label: Int32[np.ndarray, "batch"]
    box: Float32[np.ndarray, "batch 4"]
    mask: Bool[np.ndarray, "batch"]
    index: Int32[np.ndarray, "batch"]


def train_batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    start_step: int,
    image_size: int,
    resize_size: int,
    process_index: int,
    process_count: int,
    num_threads: int = _NUM_THREADS,
    crop: Crop = random_crop,
    augment: Augment | None = None,
    sampling: Sampling = shuffled,
    skipped: Skipped | None = None,
) -> Iterator[Batch]:
    """Returns an endless iterator over this process's rows of the batches from `start_step` on.

    Every epoch yields the examples that `sampling` chooses in a new order; a batch may span two.

    Args:
      source: examples to train on; read from several threads.
      batch_size: rows of the global batch, over all processes.
      seed: seed of order and augmentation, at least 0.
      start_step: number of batches to leave out; their images are not decoded.
      image_size: side of the images in pixels.
      resize_size: side in pixels to which the images are resized before they are cropped.
      process_index: number of this process, in [0, process_count).
      process_count: number of processes that share the batch.
      num_threads: threads that decode ahead; 0 decodes when a batch is asked for.
      crop: function that crops each resized image.
      augment: function applied to each crop last; None for nothing.
      sampling: whether an epoch holds each example once, see `sampling.SAMPLINGS`.
      skipped: records images that cannot be read, whose rows are masked; None raises an error.

    Raises:
      ValueError: the processes cannot share the batch evenly. While iterating: an image cannot be
        decoded; the message names the file.

    Follows: grain `MapDataset`, whose order and randomness are functions of seed and index.
    """
    num_rows = _rows_per_process(batch_size, process_count)
    sizes = {"image_size": image_size, "resize_size": resize_size}
    transform = partial(train_transform, crop=crop, augment=augment, **sizes)
    masked = _masked_row(image_size)

    def load(index: int, rng: np.random.Generator) -> _Row:
        example = _read(source, index, skipped)
        return masked if example is None else _row(transform(example, rng), index)

    order = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
    elements = sampling(order, lambda: source.labels, seed).random_map(load)
    own = elements[process_index::process_count]
    return _batches(own[start_step * num_rows :], num_rows, num_threads)


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    image_size: int,
    resize_size: int,
    process_index: int,
    process_count: int,
    num_threads: int = _NUM_THREADS,
    skipped: Skipped | None = None,
) -> Iterator[Batch]:
    """Returns an iterator that yields each example once over all processes, in the source's order.

    All processes get the same number of batches of the same shape: the last batch is padded with
    masked rows, so that no example is dropped or counted twice.

    Args:
      source: examples to evaluate; read from several threads.
      batch_size: rows of the global batch, over all processes.
      image_size: side of the images in pixels.
      resize_size: side in pixels to which the images are resized before they are cropped.
      process_index: number of this process, in [0, process_count).
      process_count: number of processes that share the batch.
      num_threads: threads that decode ahead; 0 decodes when a batch is asked for.
      skipped: records images that cannot be read, whose rows are masked; None raises an error.

    Raises:
      ValueError: the processes cannot share the batch evenly. While iterating: an image cannot be
        decoded; the message names the file.
    """
    num_rows = _rows_per_process(batch_size, process_count)
    sizes = {"image_size": image_size, "resize_size": resize_size}
    masked = _masked_row(image_size)

    def load(index: int) -> _Row:
        example = _read(source, index, skipped) if index < len(source) else None
        return masked if example is None else _row(test_transform(example, **sizes), index)

    num_batches = -(-len(source) // batch_size)
    elements = grain.MapDataset.range(num_batches * batch_size).map(load)
    return _batches(elements[process_index::process_count], num_rows, num_threads)


def _rows_per_process(batch_size: int, process_count: int) -> int:
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"batch size {batch_size} on {process_count} processes: expected a positive multiple "
            f"of {process_count}. Change train.batch_size."
        )
    return batch_size // process_count


def _read(source: Source, index: int, skipped: Skipped | None) -> Example | None:
    try:
        if skipped is not None:
            skipped.saw(index)
        return source[index]
    except (ValueError, OSError) as error:
        if skipped is None and isinstance(error, PermissionError):
            raise PermissionError(
                f"the photo {error.filename or source.names[index]!r} cannot be opened: expected "
                "the permission to read it. Change its permissions, or train without it by "
                "--config.data.on_error=skip"
            ) from error
        if skipped is None:
            raise
        skipped.note(index, error)
        return None


def _masked_row(image_size: int) -> _Row:
    image = np.zeros((image_size, image_size, 3), np.uint8)
    return _row(Example(image, 0), -1)


def _row(example: Example, index: int) -> _Row:
    return {
        "image": example.image,
        "label": np.int32(example.label),
        "box": example.box,
        "mask": np.bool_(index >= 0),
        "index": np.int32(index),
    }


def _batches(rows: grain.MapDataset, num_rows: int, num_threads: int) -> Iterator[Batch]:
    # Decodes two batches ahead, not grain's 500 elements (at 448 px, 300 MB).
    ahead = max(2 * num_rows, num_threads) if num_threads else 0
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=ahead)
    return iter(rows.to_iter_dataset(options).batch(num_rows))
