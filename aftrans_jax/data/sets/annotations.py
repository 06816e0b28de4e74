"""What every reader of a photo set returns: its splits as tables, checked."""

import math
import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aftrans_jax.data.decoding.decode import MAX_PIXELS
from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.names import composed, locate
from aftrans_jax.data.sets.photos import PhotoSource, PhotoTable
from aftrans_jax.wording import counted, printable

Box = tuple[float, float, float, float]

NO_BOX: Box = (math.nan, math.nan, math.nan, math.nan)
_LARGEST = float(np.finfo(np.float32).max)
_MISSING_REMEDY = "Unpack the archive again, or set data.dir to the folder that holds all of it."


class Record(NamedTuple):
    """One image as the lists describe it; `name` is a path relative to the folder of images.

    `split` is "train", "validation" or "test"; `box` is (top, left, bottom, right), half-open, in
    pixels of the file as it is stored.
    """

    name: str
    label: int
    split: str
    box: Box = NO_BOX


def is_box(box: Box) -> bool:
    """Returns whether a box has an area within some photo, and edges that float32 holds."""
    top, left, bottom, right = box
    holds = all(abs(edge) <= _LARGEST for edge in box)  # not of NaN
    return holds and max(top, 0) < bottom and max(left, 0) < right


class Annotations(NamedTuple):
    """What the lists of a data set say, read without looking for the image files.

    `class_names[label]` is the name of a class.

    `official` holds the published numbers of training and test images, which the lists match; None
    where there are none, as for a copy of some classes.

    `validation` is the split of that name, None where the lists have none. `notes` are lines for
    the user: how splits were understood, what was left out. `missing_remedy` is the sentence for
    listed images without a file. `is_looked_through` tells that the images are all those of a
    folder, and `notes` what else it holds.
    """

    name: str
    train: PhotoTable
    test: PhotoTable
    class_names: tuple[str, ...]
    official: tuple[int, int] | None
    validation: PhotoTable | None = None
    notes: tuple[str, ...] = ()
    missing_remedy: str = _MISSING_REMEDY
    is_looked_through: bool = False

    def tables(self) -> dict[str, PhotoTable]:
        """Returns the splits by name, as `Dataset.splits` does."""
        tables = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: table for name, table in tables.items() if table is not None}


def annotations(
    name: str,
    root: Path,
    records: Sequence[Record],
    class_names: Sequence[str],
    *,
    official: tuple[int, int] | None,
    source: str | Path,
    remedy: str,
    notes: Sequence[str] = (),
    needs_training: bool = True,
) -> Annotations:
    """Returns the splits of the records, each sorted by name.

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
      notes: lines for the user.
      needs_training: whether there must be training images, without which a set can only be scored.

    Raises:
      ValueError: an image is listed twice, a split is empty, or the numbers are not the official
        ones.
    """
    _check_each_once(records, root, source, remedy)
    ordered = sorted(records, key=lambda record: (composed(record.name), record.name))
    train, validation, test = (
        _table(root, [record for record in ordered if record.split == split])
        for split in ("train", "validation", "test")
    )
    counts = len(train), len(test)
    least = (int(needs_training), 1)
    _check_counts(counts, least, len(class_names), official, source, remedy)
    return Annotations(
        name,
        train,
        test,
        tuple(class_names),
        official,
        validation if len(validation) else None,
        tuple(notes),
    )


def _check_each_once(
    records: Sequence[Record], root: Path, source: str | Path, remedy: str
) -> None:
    forms: dict[str, list[str]] = defaultdict(list)
    for record in records:
        forms[composed(record.name)].append(record.name)
    repeated = [
        names[0]
        for names in forms.values()
        if len(names) > 1 and len({_file(root, name) for name in names}) < len(names)
    ]
    if repeated:
        raise ValueError(
            f"{source}: {counted(len(repeated), 'image')} listed twice, the first: "
            f"{repeated[0]!r}: expected each image once. {remedy}"
        )


def _file(root: Path, name: str) -> tuple[int, int] | str:
    """Returns what tells the file of an image from others, the name where there is none."""
    try:
        status = locate(root, name).stat()
    except OSError:
        return name
    return status.st_dev, status.st_ino


def _check_counts(
    counts: tuple[int, int],
    least: tuple[int, int],
    num_classes: int,
    official: tuple[int, int] | None,
    source: str | Path,
    remedy: str,
) -> None:
    if official not in (None, counts):
        raise ValueError(
            f"{source} lists {counts[0]} training and {counts[1]} test images of "
            f"{num_classes} classes: expected {official[0]} and {official[1]}. {remedy}"
        )
    if counts[0] < least[0] or counts[1] < least[1]:
        raise ValueError(
            f"{source} lists {counts[0]} training and {counts[1]} test images: expected at least "
            f"one of each. {remedy}"
        )


def _table(root: Path, records: Sequence[Record]) -> PhotoTable:
    boxes = np.array([record.box for record in records], np.float32).reshape(-1, 4)
    return PhotoTable(
        root,
        tuple(record.name for record in records),
        tuple(record.label for record in records),
        None if np.isnan(boxes).all() else boxes,
    )


def photo_dataset(
    lists: Annotations, *, max_pixels: int = MAX_PIXELS, only_test: bool = False
) -> Dataset:
    """Returns the data set of the tables, after checking that every listed image file exists.

    Args:
      lists: what the lists say.
      max_pixels: an image of more is an error when it is read.
      only_test: for an evaluation; image files of the other splits need not be there.

    Raises:
      FileNotFoundError: image files are missing; the message counts them and names a few.
    """
    tables = lists.tables()
    checked = {"test": lists.test} if only_test else tables
    missing = [name for table in checked.values() for name in table.missing()]
    if missing:
        number = sum(map(len, checked.values()))
        without = ""
        if len(missing) < number:
            place = shlex.quote(str(lists.train.root / "clean.csv"))
            without = (
                " data.on_error='skip' is for images that cannot be decoded; a list without the "
                "missing ones is written by python -m aftrans_jax.check_data with the same "
                f"settings and --write={place}"
            )
        raise FileNotFoundError(
            f"{len(missing)} of {number} images of {lists.name} are not "
            f"below {lists.train.root}, the first: {printable(', '.join(missing[:3]))}: expected "
            f"every listed image. {lists.missing_remedy}{without}"
        )
    sources = {name: PhotoSource(table, max_pixels) for name, table in tables.items()}
    return Dataset(lists.name, class_names=lists.class_names, **sources)
