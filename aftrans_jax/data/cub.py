"""CUB-200-2011 in its official layout: lists joined by image id, and a folder of images."""

import math
import re
from pathlib import Path

from aftrans_jax.data.annotations import NO_BOX, Annotations, Box, Record, annotations
from aftrans_jax.data.lists import find_root, inside, read_rows

_OFFICIAL = {200: (5994, 5794)}  # number of classes -> images in train, in test
_REMEDY = "Restore the lists from CUB_200_2011.tgz (https://data.caltech.edu/records/65de6-vp158)."


def read_cub(directory: str | Path) -> Annotations:
    """Returns CUB-200-2011, or a copy of some of its classes, with boxes where annotated.

    Args:
      directory: the folder that holds `images.txt`, or the folder around it.

    Raises:
      FileNotFoundError: a list is absent; no image is looked for.
      ValueError: the lists are damaged or disagree; the message names file and row.

    Follows: CUB-200-2011 README.
    """
    root = find_root(directory, "CUB_200_2011", holds="images.txt", archive="CUB_200_2011.tgz")
    classes = read_rows(root / "classes.txt", int, _class_name, "a class name", remedy=_REMEDY)
    class_ids = sorted(classes)
    return annotations(
        "cub",
        root / "images",
        _records(root, class_ids),
        [classes[class_id] for class_id in class_ids],
        official=_OFFICIAL.get(len(classes)),
        source=root / "images.txt",
        remedy=_REMEDY,
    )


def _records(root: Path, class_ids: list[int]) -> list[Record]:
    """Returns all images in the order of their ids."""
    expected = "a path inside the folder images/"
    names = read_rows(root / "images.txt", int, inside, expected, remedy=_REMEDY)
    label_of = {class_id: label for label, class_id in enumerate(class_ids)}
    labels = read_rows(
        root / "image_class_labels.txt",
        int,
        lambda text: label_of[int(text)],
        f"one of the {len(class_ids)} class ids in classes.txt",
        remedy=_REMEDY,
        ids=names,
    )
    in_train = {"1": True, "0": False}.__getitem__
    expected = "1 (train) or 0 (test)"
    train = read_rows(
        root / "train_test_split.txt", int, in_train, expected, remedy=_REMEDY, ids=names
    )
    boxes = dict.fromkeys(names, NO_BOX)
    if (path := root / "bounding_boxes.txt").is_file():
        expected = "finite numbers x y width height, the last two above 0"
        boxes = read_rows(path, int, _box, expected, remedy=_REMEDY, ids=names)
    return [Record(names[key], labels[key], train[key], boxes[key]) for key in sorted(names)]


def _class_name(text: str) -> str:
    """Returns "Black footed Albatross" for "001.Black_footed_Albatross"."""
    return re.sub(r"^\d+\.", "", text).replace("_", " ")


def _box(text: str) -> Box:
    """Returns (top, left, bottom, right) for "x y width height"."""
    left, top, width, height = (float(number) for number in text.split())
    box = (top, left, top + height, left + width)
    if not (all(map(math.isfinite, box)) and width > 0 and height > 0):
        raise ValueError(text)
    return box
