"""What every reader of a photo set returns: both splits as tables, checked."""

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
MISSING_REMEDY = "Unpack the archive again, or set data.dir to the folder that holds all of it."


class Record(NamedTuple):
    """One image as the lists describe it; `name` is a path relative to the folder of images.

    `box` is (top, left, bottom, right), half-open, in pixels of the file as it is stored;
    `train` is False for an image of the test split.
    """

    name: str
    label: int
    train: bool
    box: Box = NO_BOX


class Annotations(NamedTuple):
    """What the lists of a data set say, read without looking for the image files.

    `class_names[label]` is the name of a class.

    `official` holds the published numbers of training and test images, which the lists match; None
    where there are none, as for a copy of some classes.
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

    Every reader of a photo set ends here. As names are sorted, the same photos give the same
    batches whatever lists them: folders, a CSV file or the official lists.

    Args:
      name: of the data set.
      root: folder of the images.
      records: of all images, in any order.
      class_names: `class_names[label]` names a class.
      official: numbers of training and test images that there must be; None accepts any.
      source: the file or folder that the records come from, for error messages.
      remedy: the sentence that ends each error message.

    Raises:
      ValueError: an image is listed twice, a split is empty, or the numbers are not the official
        ones.
    """
    repeated = [
        path for path, count in Counter(record.name for record in records).items() if count > 1
    ]
    if repeated:
        raise ValueError(
            f"{source}: {len(repeated)} images are listed twice, the first: {repeated[0]!r}: "
            f"expected each image once. {remedy}"
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


def photo_dataset(lists: Annotations, *, only_test: bool = False) -> Dataset:
    """Returns the data set of both tables, after checking that every listed image file exists.

    For an evaluation, `only_test`, those of the training split need not.

    Raises:
      FileNotFoundError: image files are missing; the message counts them and names a few.
    """
    missing = ([] if only_test else lists.train.missing()) + lists.test.missing()
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(lists.train) + len(lists.test)} images of {lists.name} are "
            f"not below {lists.train.root}, the first: {', '.join(missing[:3])}: expected every "
            f"listed image. {MISSING_REMEDY}"
        )
    return Dataset(lists.name, PhotoSource(lists.train), PhotoSource(lists.test), lists.class_names)
