"""CUB-200-2011 in its official layout: lists joined by image id, and a folder of images."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from aftrans_jax.data.sets.annotations import Annotations, Record, annotations
from aftrans_jax.data.sets.lists import (
    consecutive_labels,
    cub_records,
    find_root,
    read_rows,
    told_apart,
)

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
    classes = read_rows(root / "classes.txt", int, str, "a class name", remedy=_REMEDY)
    records = cub_records(root, int, classes, remedy=_REMEDY)
    _check_folders(root / "images.txt", records, classes)
    class_ids = sorted(classes)
    return annotations(
        "cub",
        root / "images",
        consecutive_labels(records, class_ids),
        told_apart((_class_name(classes[class_id]), class_id) for class_id in class_ids),
        official=_OFFICIAL.get(len(classes)),
        source=root / "images.txt",
        remedy=_REMEDY,
    )


def _check_folders(path: Path, records: Sequence[Record], classes: Mapping[int, str]) -> None:
    """Raises ValueError where an image lies in the folder of another class than its label's."""
    ids = {folder: class_id for class_id, folder in classes.items()}
    for record in records:
        if ids.get(PurePosixPath(record.name).parent.name, record.label) != record.label:
            raise ValueError(
                f"{path}: {record.name!r} is labelled {record.label}, which is "
                f"{classes[record.label]!r}: expected an image of that folder. {_REMEDY}"
            )


def _class_name(text: str) -> str:
    """Returns "Black footed Albatross" for "001.Black_footed_Albatross"."""
    return re.sub(r"^\d+\.", "", text).replace("_", " ")
