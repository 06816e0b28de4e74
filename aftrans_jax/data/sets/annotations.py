"""What every reader of a photo set returns: both splits as tables, checked and counted."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.sets.photos import PhotoSource, PhotoTable

Box = tuple[float, float, float, float]

NO_BOX: Box = (math.nan, math.nan, math.nan, math.nan)


class Record(NamedTuple):
    """One image as the lists describe it; `name` is a path relative to the folder of images.

    `box` is (top, left, bottom, right), half-open, in pixels of the file as it is stored.

    Choice: a row of `PhotoTable` before the split is made.
    """

    name: str
    label: int
    train: bool
    box: Box = NO_BOX


class Annotations(NamedTuple):
    """What the lists of a data set say: both splits, and the class names in the order of labels.

    `official` holds the published numbers of training and test images, which the lists were found
    to match; None where there are none, as for a copy of some classes.

    Choice: apart from the image files, so that lists can be checked without them.
    """

    name: str
    train: PhotoTable
    test: PhotoTable
    class_names: tuple[str, ...]
    official: tuple[int, int] | None


def annotations(
    name: str,
    root: Path,
    records: Sequence[Record],
    class_names: Sequence[str],
    *,
    official: tuple[int, int] | None,
    source: str | Path,
    remedy: str,
) -> Annotations:
    """Returns both splits of the records, each sorted by name.

    Args:
      name: of the data set.
      root: folder of the images.
      records: of all images, in any order.
      class_names: `class_names[label]` names a class.
      official: numbers of training and test images that there must be, None where any will do.
      source: the file or folder that the records come from, for messages.
      remedy: the sentence that ends each message.

    Raises:
      ValueError: an image is listed twice, a split is empty, or the numbers are not the official
        ones.

    Choice: every reader ends here, so these checks are written once; and sorted by path, the same
    photos give the same batches whatever lists them: folders, a CSV file or the official lists.
    """
    twins = [
        path for path, count in Counter(record.name for record in records).items() if count > 1
    ]
    if twins:
        raise ValueError(
            f"{source}: {len(twins)} images are listed twice, the first: {twins[0]!r}: expected "
            f"each image once. {remedy}"
        )
    ordered = sorted(records, key=lambda record: record.name)
    splits = [[record for record in ordered if record.train == train] for train in (True, False)]
    counts = tuple(len(split) for split in splits)
    if official not in (None, counts):
        raise ValueError(
            f"{source} lists {counts[0]} training and {counts[1]} test images of "
            f"{len(class_names)} classes: expected {official[0]} and {official[1]}. {remedy}"
        )
    if 0 in counts:
        raise ValueError(
            f"{source} lists {counts[0]} training and {counts[1]} test images: expected at least "
            f"one of each. {remedy}"
        )
    train, test = (_table(root, split, len(class_names)) for split in splits)
    return Annotations(name, train, test, tuple(class_names), official)


def _table(root: Path, records: Sequence[Record], num_classes: int) -> PhotoTable:
    boxes = np.array([record.box for record in records], np.float32).reshape(-1, 4)
    return PhotoTable(
        root,
        tuple(record.name for record in records),
        tuple(record.label for record in records),
        num_classes,
        None if np.isnan(boxes).all() else boxes,
    )


def photo_dataset(lists: Annotations) -> Dataset:
    """Returns the data set over both tables, once every image file they list is known to exist.

    Raises:
      FileNotFoundError: image files are missing; the message counts them and names a few.

    Choice: a stat of every file at the start (0.1 s for CUB) beats a crash in the third epoch.
    """
    missing = lists.train.missing() + lists.test.missing()
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(lists.train) + len(lists.test)} images of {lists.name} are "
            f"not below {lists.train.root}, the first: {', '.join(missing[:3])}: expected every "
            "listed image. Unpack the archive again, or set data.dir to the folder that holds all "
            "of it."
        )
    return Dataset(lists.name, PhotoSource(lists.train), PhotoSource(lists.test), lists.class_names)
